"""minitorch.amp beside torch.amp: the dtype of every function's result under autocast, values and gradients, nesting,
threads; GradScaler step by step; the words of the errors."""

import threading
import warnings

import numpy as np
import pytest

import minitorch
from minitorch import amp, nn
from minitorch.autograd import autocast as engine


@pytest.fixture(scope="module")
def torch():
    return pytest.importorskip("torch", reason="compares with PyTorch, which is not installed")


def programs(L):
    """Calls under autocast: name -> function. x is float32, h bfloat16."""
    F = L.nn.functional
    rng = np.random.default_rng(0)

    def draw(*shape):
        return L.tensor(rng.normal(size=shape).astype(np.float32))

    x, m, w, b, image, kernel, square = (
        draw(2, 3, 8),
        draw(4, 8),
        draw(5, 8),
        draw(5),
        draw(1, 3, 8, 8),
        draw(4, 3, 3, 3),
        draw(3, 3),
    )
    h, low = x.bfloat16(), image.bfloat16()
    eye, classes = (square @ square.T + 3 * L.eye(3)).bfloat16(), L.tensor([1, 2, 3])
    one, zero = L.ones(8), L.zeros(8)
    return {
        "matmul": lambda: L.matmul(x, m.T),
        "@": lambda: x @ m.T,
        "mm": lambda: L.mm(m, m.T),
        "bmm": lambda: L.bmm(x, x.mT),
        "addmm": lambda: L.addmm(b, m, w.T),
        "baddbmm": lambda: L.baddbmm(draw(2, 3, 3), x, x.mT),
        "addbmm": lambda: L.addbmm(draw(3, 3), x, x.mT),
        "addmv": lambda: L.addmv(draw(4), m, w[0]),
        "addr": lambda: L.addr(draw(5, 5), b, b),
        "chain_matmul": lambda: L.linalg.multi_dot([m, m.T, m]),
        "vecdot": lambda: L.linalg.vecdot(m, m),
        "vdot": lambda: L.vdot(b, b),
        "rnn_tanh_cell": lambda: L.rnn_tanh_cell(m, draw(4, 5), w, draw(5, 5)),
        "mv": lambda: L.mv(m, m[0]),
        "dot": lambda: L.dot(m[0], m[1]),
        "vector @": lambda: m[0] @ m[1],
        "einsum": lambda: L.einsum("bij,kj->bik", x, m),
        "outer": lambda: L.outer(b, b),
        "tensordot": lambda: L.tensordot(x, m.T, 1),
        "inner": lambda: L.inner(m, m),
        "linear": lambda: F.linear(x, w, b),
        "linear of a vector": lambda: F.linear(w[0], w, b),
        "linear without bias": lambda: F.linear(x, w),
        "bilinear": lambda: F.bilinear(m, m, draw(2, 8, 8)),
        "mixed": lambda: h[0] @ m.T,
        "float64": lambda: m.double() @ m.double().T,
        "integers": lambda: L.tensor([[1]]) @ L.tensor([[2]]),
        "conv2d": lambda: F.conv2d(image, kernel, draw(4)),
        "conv1d": lambda: F.conv1d(x, draw(4, 3, 3)),
        "conv3d": lambda: F.conv3d(draw(1, 1, 3, 3, 3), draw(1, 1, 2, 2, 2)),
        "conv_transpose1d": lambda: F.conv_transpose1d(x, draw(3, 2, 3)),
        "conv_transpose2d": lambda: F.conv_transpose2d(image, draw(3, 4, 3, 3)),
        "prelu": lambda: F.prelu(x, L.tensor([0.1])),
        "attention": lambda: F.scaled_dot_product_attention(x[None], x[None], x[None]),
        "softmax": lambda: x.softmax(-1),
        "softmax of half": lambda: h.softmax(-1),
        "log_softmax": lambda: h.log_softmax(-1),
        "layer_norm": lambda: F.layer_norm(h, (8,)),
        "layer_norm, weights": lambda: F.layer_norm(h, (8,), one, zero),
        "group_norm": lambda: F.group_norm(h, 3, L.ones(3), L.zeros(3)),
        "rms_norm": lambda: F.rms_norm(h, (8,), one),
        "batch_norm": lambda: F.batch_norm(h, L.zeros(3), L.ones(3), L.ones(3), L.zeros(3), training=True),
        "instance_norm": lambda: F.instance_norm(h),
        "gelu": lambda: F.gelu(h),
        "relu": lambda: h.relu(),
        "exp": lambda: h.exp(),
        "pow": lambda: h**2,
        "sum": lambda: h.sum(),
        "mean": lambda: h.mean(),
        "prod": lambda: h.prod(),
        "cumsum": lambda: h.cumsum(0),
        "norm": lambda: h.norm(),
        "std": lambda: h.std(),
        "logsumexp": lambda: h.logsumexp(0),
        "quantile": lambda: h.flatten().quantile(0.5),
        "cross_entropy": lambda: F.cross_entropy(h[0], classes),
        "nll_loss": lambda: F.nll_loss(h[0], classes),
        "mse_loss": lambda: F.mse_loss(h, h * 2),
        "mse_loss, mixed": lambda: F.mse_loss(h, x),
        "l1_loss": lambda: F.l1_loss(h, h * 2),
        "smooth_l1_loss": lambda: F.smooth_l1_loss(h, h * 2),
        "huber_loss": lambda: F.huber_loss(h, h * 2),
        "bce": lambda: F.binary_cross_entropy(h.sigmoid(), h.sigmoid()),
        "bce with logits": lambda: F.binary_cross_entropy_with_logits(h, h.sigmoid()),
        "kl_div": lambda: F.kl_div(h, h, reduction="sum"),
        "margin_ranking_loss": lambda: F.margin_ranking_loss(h, h * 2, h.sign()),
        "triplet": lambda: F.triplet_margin_loss(h, h * 2, h * 3),
        "soft_margin_loss": lambda: F.soft_margin_loss(h, h.sign()),
        "hinge": lambda: F.hinge_embedding_loss(h, h.sign()),
        "poisson": lambda: F.poisson_nll_loss(h, h),
        "gaussian": lambda: F.gaussian_nll_loss(h, h, h.abs()),
        "cosine_embedding": lambda: F.cosine_embedding_loss(h[0], h[0] * 2, L.tensor([1, 1, -1])),
        "multi_margin": lambda: F.multi_margin_loss(h[0], classes),
        "multilabel_soft_margin": lambda: F.multilabel_soft_margin_loss(h[0], h[0].sigmoid()),
        "ctc": lambda: F.ctc_loss(
            draw(5, 1, 4).bfloat16().log_softmax(-1), L.tensor([[1, 2]]), L.tensor([5]), L.tensor([2])
        ),
        "cdist": lambda: L.cdist(h, h),
        "trace": lambda: h[0].trace(),
        "cosine_similarity": lambda: F.cosine_similarity(h, h),
        "pairwise_distance": lambda: F.pairwise_distance(h, h),
        "inv": lambda: L.linalg.inv(eye),
        "cholesky": lambda: L.linalg.cholesky(eye),
        "solve": lambda: L.linalg.solve(eye, eye[0]),
        "svd": lambda: L.linalg.svd(eye)[1],
        "eigh": lambda: L.linalg.eigh(eye)[0],
        "cat": lambda: L.cat([h, x]),
        "stack": lambda: L.stack([h, x]),
        "cat of half": lambda: L.cat([h, h]),
        "add": lambda: h + x,
        "where": lambda: L.where(h > 0, h, x),
        "embedding": lambda: F.embedding(classes, m),
        "max_pool2d": lambda: F.max_pool2d(low, 2),
        "avg_pool2d": lambda: F.avg_pool2d(low, 2),
        "pad": lambda: F.pad(low, (1, 1, 1, 1)),
        "dropout": lambda: F.dropout(h, 0.0),
        "interpolate": lambda: F.interpolate(low, scale_factor=2),
        "grid_sample": lambda: F.grid_sample(low, L.zeros(1, 2, 2, 2).bfloat16(), align_corners=False),
        "index_copy": lambda: L.zeros(2, 3, 8).index_copy(0, L.tensor([0]), h[:1]),
        "unfold": lambda: F.unfold(low, 2),
    }


NAMES = list(programs(minitorch))


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("name", NAMES)
def test_dtypes_and_values_are_pytorchs(torch, name, dtype):
    results = []
    for library in (minitorch, torch):
        call = programs(library)[name]
        with library.amp.autocast("cpu", dtype=getattr(library, dtype)):
            try:
                results.append(call())
            except RuntimeError as error:
                if library is torch and dtype == "float16":
                    pytest.skip(f"PyTorch has no float16 here: {error}")
                raise
    ours, theirs = results
    assert str(ours.dtype).split(".")[1] == str(theirs.dtype).split(".")[1]
    tol = 1e-6 if name == "float64" else 0.05
    np.testing.assert_allclose(ours.double().numpy(), theirs.double().numpy(), rtol=tol, atol=tol)


def network(L):
    L.manual_seed(0)
    return L.nn.Sequential(L.nn.Linear(8, 16), L.nn.LayerNorm(16), L.nn.GELU(), L.nn.Linear(16, 4))


def test_a_training_step_is_pytorchs(torch):
    x = np.random.default_rng(0).normal(size=(32, 8)).astype(np.float32)
    y = np.random.default_rng(1).integers(0, 4, 32)
    found = []
    for L in (minitorch, torch):
        model = network(L)
        with L.autocast("cpu") if L is torch else amp.autocast("cpu"):
            out = model(L.tensor(x))
            loss = L.nn.functional.cross_entropy(out, L.tensor(y))
        loss.backward()
        assert str(out.dtype).endswith("bfloat16") and str(loss.dtype).endswith("float32")
        assert all(str(p.grad.dtype).endswith("float32") for p in model.parameters())
        found.append([loss.detach().numpy()] + [p.grad.numpy() for p in model.parameters()])
    for ours, theirs in zip(*found):
        np.testing.assert_allclose(ours, theirs, rtol=0.05, atol=2e-3)


def dtype_of_product():
    x = minitorch.ones(2, 2)
    return (x @ x).dtype


def test_blocks_nest_and_end():
    assert dtype_of_product() is minitorch.float32
    with amp.autocast("cpu"):
        assert dtype_of_product() is minitorch.bfloat16 and amp.is_autocast_enabled("cpu")
        with amp.autocast("cpu", enabled=False):
            assert dtype_of_product() is minitorch.float32 and not amp.is_autocast_enabled("cpu")
            with amp.autocast("cpu", dtype=minitorch.float16):
                assert dtype_of_product() is minitorch.float16
        assert dtype_of_product() is minitorch.bfloat16
        with pytest.raises(KeyError), amp.autocast("cpu", enabled=False):
            raise KeyError
        assert dtype_of_product() is minitorch.bfloat16
    assert dtype_of_product() is minitorch.float32 and engine.blocks == 0 and engine.here.cache is None


def test_decorator_and_generators():
    @amp.autocast("cpu")
    def f():
        return dtype_of_product()

    @amp.autocast("cpu")
    def g():
        yield dtype_of_product()

    assert f() is minitorch.bfloat16 and f.__name__ == "f" and dtype_of_product() is minitorch.float32
    assert list(g()) == [minitorch.bfloat16]


def test_other_threads_are_left_alone():
    seen = []
    with amp.autocast("cpu"):
        thread = threading.Thread(target=lambda: seen.append(dtype_of_product()))
        thread.start()
        thread.join()
    assert seen == [minitorch.float32]


def test_a_parameter_is_cast_once():
    layer, x = nn.Linear(4, 4), minitorch.ones(1, 4)
    with amp.autocast("cpu"):
        a = layer(x)
        kept = [entry[3] for entry in engine.here.cache.values()]
        b = layer(a)
        assert [entry[3] for entry in engine.here.cache.values()] == kept and len(kept) == 2
        with minitorch.no_grad():
            layer.weight.mul_(2)
        c = layer(x)  # changed in place: cast again
        assert not np.allclose(c.detach().float().numpy(), a.detach().float().numpy())
        amp.clear_autocast_cache()
        assert not engine.here.cache
    with amp.autocast("cpu", cache_enabled=False):
        layer(x)
        assert engine.here.cache is None
    b.float().sum()


def test_gradients_of_a_cast_parameter_without_and_with_grad():
    layer, x = nn.Linear(4, 2), minitorch.ones(1, 4)
    with amp.autocast("cpu"):
        with minitorch.no_grad():
            layer(x)
        loss = layer(x).float().sum()
    loss.backward()
    assert layer.weight.grad.tolist() == [[1.0] * 4] * 2


def test_cuda_is_disabled_with_a_warning_where_there_is_none(torch):
    if minitorch.cuda.is_available():
        pytest.skip("there is a GPU")
    from minitorch.cuda.amp import GradScaler, autocast

    for call in (lambda: amp.autocast("cuda"), autocast):
        with pytest.warns(UserWarning, match="CUDA is not available"):
            block = call()
        with block:
            assert dtype_of_product() is minitorch.float32
    with pytest.warns(UserWarning, match="CUDA is not available"):
        assert not GradScaler().is_enabled()
    with pytest.warns(UserWarning, match="CUDA is not available"):
        torch.autocast("cuda")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        amp.autocast("cuda", enabled=False)
        amp.GradScaler("cuda", enabled=False)


def test_cudas_table_on_the_cpus_arrays(monkeypatch):
    """The policies of CUDA's list, which need no GPU to be looked at."""
    with amp.autocast("cpu", dtype=minitorch.float16), monkeypatch.context() as patch:
        patch.setattr(engine.here, "table", amp.autocast_mode.TABLES["cuda"])
        h = minitorch.ones(2, 3).half()
        for call in (h.exp, h.log, h.sum, lambda: h**2, lambda: h.softmax(-1), lambda: h.cumsum(0), h.norm, h.tan):
            assert call().dtype is minitorch.float32
        assert (h @ h.T).dtype is minitorch.float16 and h.relu().dtype is minitorch.float16
        assert minitorch.mv(minitorch.ones(2, 2), minitorch.ones(2)).dtype is minitorch.float16


NAMED_OTHERWISE = {  # PyTorch's name -> ours, of a function or of an op
    "_convolution": "conv2d", "convolution": "conv2d", "linalg_vecdot": "vecdot", "linalg_multi_dot": "multi_dot",
    "_thnn_fused_lstm_cell": "lstm_cell", "_thnn_fused_gru_cell": "gru_cell", "logsumexp": "LogSumExp", "erfinv": "ErfInv",
    "_scaled_dot_product_flash_attention": "scaled_dot_product_attention", "native_layer_norm": "layer_norm",
    "nll_loss2d": "nll_loss", "grid_sampler": "grid_sample", "cumsum": "CumSum", "cumprod": "CumProd", "conv_tbc": None,
    "linalg_vector_norm": "Norm", "linalg_matrix_norm": "Norm", "frobenius_norm": "Norm", "nuclear_norm": None,
    "addcmul": None, "addcdiv": None, "atan2": None, "cross": None,  # promote, whatever calls them
}  # fmt: skip


def test_cudas_table_has_what_pytorchs_has(torch):
    """PyTorch's lists are macros in a header that comes with it."""
    import re
    from pathlib import Path

    text = (Path(torch.__file__).parent / "include/ATen/autocast_mode.h").read_text()
    table, seen = amp.autocast_mode.TABLES["cuda"], 0
    for macro, policy in [
        ("LOWER_PRECISION_FP", "lower"), ("FP32", "float32"), ("FP32_SET_OPT_DTYPE", "float32"), ("PROMOTE", "promote"),
    ]:  # fmt: skip
        body = re.search(rf"#define AT_FORALL_{macro}\(_\)((?:.*\\\n)*.*\n)", text)[1]
        for name in re.findall(r"_\((\w+)", body):
            ours = "interpolate" if "upsample" in name else NAMED_OTHERWISE.get(name, name)
            if ours is not None:
                assert table.get(ours, table.get(ours.capitalize())) == policy, f"{name}: {policy}"
                seen += 1
    assert seen > 100


def test_cudas_table_has_no_idle_name():
    """Every name is that of a function that asks the table, or of an op."""
    import ast
    from pathlib import Path

    from minitorch.autograd.engine import Op

    names = {op.__name__ for op in _below(Op)}
    for path in Path(minitorch.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef) and any(
                isinstance(d, ast.Name) and d.id == "casts" for d in node.decorator_list
            ):
                names.add(node.name)
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Attribute)
                and node.func.attr == "cast"
                and node.args
            ):
                names.update(a.value for a in node.args[:1] if isinstance(a, ast.Constant))
    for device, table in amp.autocast_mode.TABLES.items():
        assert not set(table) - names, device


def _below(cls):
    return {cls}.union(*map(_below, cls.__subclasses__()))


def test_what_is_unsafe_in_half_precision_is_refused_as_on_cuda(monkeypatch):
    x = minitorch.ones(2) / 2
    with amp.autocast("cpu"), monkeypatch.context() as patch:
        assert nn.functional.binary_cross_entropy(x, x).dtype is minitorch.float32
        patch.setattr(engine.here, "table", amp.autocast_mode.TABLES["cuda"])
        with pytest.raises(RuntimeError, match="binary_cross_entropy.*unsafe.*binary_cross_entropy_with_logits"):
            nn.functional.binary_cross_entropy(x, x)


def test_an_unsupported_dtype_is_disabled_with_a_warning(torch):
    for L, block in ((minitorch, amp.autocast), (torch, torch.autocast)):
        with pytest.warns(UserWarning, match="(?s)autocast, but the target dtype .*is not supported. Disabling"):
            made = block("cpu", dtype=L.float64)
        with made:
            x = L.ones(2, 2)
            assert (x @ x).dtype is L.float32


def test_questions(torch):
    for module, L in ((amp, minitorch), (torch.amp, torch)):
        get = module.get_autocast_dtype if L is minitorch else torch.get_autocast_dtype
        enabled = module.is_autocast_enabled if L is minitorch else torch.is_autocast_enabled
        assert get("cpu") is L.bfloat16 and get("cuda") is L.float16
        assert not enabled("cpu") and not enabled()
        with module.autocast("cpu", dtype=L.float16):
            assert get("cpu") is L.float16 and enabled("cpu") and not enabled("cuda") and not enabled()
        assert module.is_autocast_available("cpu")
    amp.set_autocast_dtype("cpu", minitorch.float16)
    try:
        with amp.autocast("cpu"):
            assert dtype_of_product() is minitorch.float16
    finally:
        amp.set_autocast_dtype("cpu", minitorch.bfloat16)


def test_custom_functions():
    class Product(minitorch.autograd.Function):
        @staticmethod
        @amp.custom_fwd(device_type="cpu", cast_inputs=minitorch.float32)
        def forward(ctx, x):
            ctx.save_for_backward(x)
            seen.append((x.dtype, dtype_of_product()))
            return x * 2

        @staticmethod
        @amp.custom_bwd(device_type="cpu")
        def backward(ctx, dy):
            seen.append(dtype_of_product())
            return dy * 2

    seen = []
    x = minitorch.ones(2, requires_grad=True)
    with amp.autocast("cpu"):
        y = Product.apply(x.bfloat16())
    y.sum().backward()
    assert seen == [(minitorch.float32, minitorch.float32), minitorch.float32] and x.grad.tolist() == [2.0, 2.0]


# --- GradScaler ------------------------------------------------------------------------------------------------------


def scaled_run(L, gradients, **options):
    """The scaler's scale, tracker and the parameter after each of the steps with these gradients."""
    scaler = L.amp.GradScaler("cpu", **options)
    p = L.nn.Parameter(L.tensor([1.0, 2.0]))
    optimizer = L.optim.SGD([p], lr=0.1)
    seen = []
    for g in gradients:
        optimizer.zero_grad()
        loss = (p * L.tensor([g, 1.0])).sum()
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
        seen.append((scaler.get_scale(), scaler.state_dict()["_growth_tracker"], p.detach().numpy().copy()))
    return scaler, seen


def test_scaler_is_pytorchs(torch):
    gradients = [1.0, 2.0, float("inf"), 1.0, float("nan"), 0.5, 0.5, 0.5, 0.5]
    options = {"init_scale": 1024.0, "growth_factor": 3.0, "backoff_factor": 0.25, "growth_interval": 2}
    (ours, a), (theirs, b) = scaled_run(minitorch, gradients, **options), scaled_run(torch, gradients, **options)
    for x, y in zip(a, b):
        assert x[:2] == y[:2]
        np.testing.assert_allclose(x[2], y[2], rtol=1e-6)
    assert ours.state_dict() == theirs.state_dict()
    for name in ("get_scale", "get_growth_factor", "get_backoff_factor", "get_growth_interval", "is_enabled"):
        assert getattr(ours, name)() == getattr(theirs, name)()
    again = amp.GradScaler("cpu")
    again.load_state_dict(ours.state_dict())
    assert again.state_dict() == ours.state_dict()


def test_unscale_before_clipping():
    scaler, p = amp.GradScaler("cpu", init_scale=256.0), nn.Parameter(minitorch.tensor([3.0, 4.0]))
    optimizer = minitorch.optim.SGD([p], lr=1.0)
    scaler.scale((p * p).sum() / 2).backward()
    assert p.grad.tolist() == [768.0, 1024.0]
    scaler.unscale_(optimizer)
    assert p.grad.tolist() == [3.0, 4.0]
    nn.utils.clip_grad_norm_([p], 1.0)
    scaler.step(optimizer)
    np.testing.assert_allclose(p.detach().numpy(), [2.4, 3.2], rtol=1e-5)
    scaler.update(128.0)
    assert scaler.get_scale() == 128.0


def test_disabled_scaler_does_nothing():
    scaler, p = amp.GradScaler("cpu", enabled=False), nn.Parameter(minitorch.tensor([1.0]))
    optimizer = minitorch.optim.SGD([p], lr=0.1)
    loss = p.sum()
    assert scaler.scale(loss) is loss and scaler.state_dict() == {} and scaler.get_scale() == 1.0
    loss.backward()
    scaler.unscale_(optimizer)
    scaler.step(optimizer)
    scaler.update()
    np.testing.assert_allclose(p.detach().numpy(), [0.9], rtol=1e-6)


def test_scale_of_several():
    scaler = amp.GradScaler("cpu", init_scale=4.0)
    a, b = minitorch.ones(1), minitorch.ones(2)
    assert [t.tolist() for t in scaler.scale([a, (b, a)])[1]] == [[4.0, 4.0], [4.0]]
    assert scaler.scale(minitorch.ones(2).bfloat16()).dtype is minitorch.bfloat16


def bad(L):
    def ready(**options):
        p = L.nn.Parameter(L.tensor([1.0]))
        optimizer = L.optim.SGD([p], lr=0.1)
        scaler = L.amp.GradScaler("cpu", **options)
        scaler.scale(p.sum()).backward()
        return scaler, optimizer

    def twice(first, second):
        scaler, optimizer = ready()
        getattr(scaler, first)(optimizer)
        getattr(scaler, second)(optimizer)

    def without_gradients():
        scaler, optimizer = ready()
        optimizer.zero_grad()
        scaler.step(optimizer)

    return [
        (lambda: L.amp.autocast("tpu9"), RuntimeError, "(?i)unsupported autocast device_type|Invalid device"),
        (lambda: L.amp.autocast(3), ValueError, "Expected `device_type` of type `str`"),
        (lambda: L.amp.GradScaler("cpu", growth_factor=1.0), AssertionError, "growth factor must be > 1.0"),
        (lambda: L.amp.GradScaler("cpu", backoff_factor=1.0), AssertionError, "backoff factor must be < 1.0"),
        (lambda: L.amp.GradScaler("cpu").scale(3), ValueError, "Tensor or an iterable"),
        (lambda: twice("unscale_", "unscale_"), RuntimeError, "already been called on this optimizer"),
        (lambda: twice("step", "unscale_"), RuntimeError, r"unscale_\(\) is being called after step"),
        (lambda: twice("step", "step"), RuntimeError, r"step\(\) has already been called"),
        (without_gradients, AssertionError, "No inf checks were recorded for this optimizer"),
        (lambda: ready()[0].update(), AssertionError, "No inf checks were recorded prior to update"),
        (lambda: L.amp.GradScaler("cpu").update(), AssertionError, "(?i)scale"),
        (lambda: L.amp.GradScaler("cpu").unscale_(ready()[1]), AssertionError, "(?i)scale"),
        (lambda: ready()[0].step(ready()[1], closure=lambda: 0), RuntimeError, "Closure use"),
        (lambda: L.amp.GradScaler("cpu").load_state_dict({}), RuntimeError, "source state dict is empty"),
    ]  # fmt: skip


@pytest.mark.parametrize("i", range(14))
def test_errors(i):
    call, kind, words = bad(minitorch)[i]
    with pytest.raises(kind, match=words):
        call()


def test_a_dtype_is_a_dtype():
    with pytest.raises(TypeError, match="expected a dtype, got int"):
        amp.autocast("cpu", dtype=3)


def test_errors_are_pytorchs(torch):
    assert len(bad(torch)) == 14
    for call, kind, words in bad(torch):
        with pytest.raises(kind, match=words):
            call()


def test_nothing_is_asked_outside_of_blocks():
    """The functions look at one number; the table is not consulted."""
    engine.here.table = {"matmul": "an unknown policy", "softmax": "an unknown policy"}
    try:
        assert dtype_of_product() is minitorch.float32
        minitorch.ones(2).softmax(0)
    finally:
        engine.here.table = None


def test_a_scaler_pickled_by_an_earlier_version_goes_on():
    scaler = amp.GradScaler("cpu", init_scale=8.0)
    del_there = {name: value for name, value in vars(scaler).items() if name != "_there"}
    old = amp.GradScaler.__new__(amp.GradScaler)
    vars(old).update(del_there)
    assert old.scale(minitorch.ones(1)).item() == 8 and old.state_dict()["scale"] == 8
