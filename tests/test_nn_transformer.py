"""Transformer, its decoder and layers: values, gradients, dropout and masks beside PyTorch's; meaning; errors."""

import copy
import math

import numpy as np
import pytest

import minitorch
from minitorch import nn
from tests.guard import GuardArray, guard
from tests.test_nn_attention import bools, intel, numbers


@pytest.fixture(scope="module")
def torch():
    return pytest.importorskip("torch", reason="compares with PyTorch, which is not installed")


B, S, T, E, H = 3, 5, 4, 8, 2


def causal(n):
    return np.triu(np.ones((n, n), bool), 1)


def minus_infinity(n):
    return np.where(causal(n), -np.inf, 0.0).astype(np.float32)


DECODER_MASKS = {
    "no mask": {},
    "causal": {"tgt_mask": causal(T)},
    "causal, as a hint": {"tgt_mask": causal(T), "tgt_is_causal": True},
    "causal, in numbers": {"tgt_mask": minus_infinity(T), "tgt_is_causal": True},
    "causal with padding": {"tgt_mask": causal(T), "tgt_is_causal": True, "tgt_key_padding_mask": bools(B, T)},
    "memory": {"memory_mask": bools(T, S), "memory_key_padding_mask": bools(B, S, seed=3)},
    "memory for each head": {"memory_mask": bools(B * H, T, S), "tgt_mask": bools(B * H, T, T, seed=2)},
    "numbers": {"tgt_mask": numbers(T, T), "memory_mask": numbers(T, S), "memory_key_padding_mask": numbers(B, S)},
    "padding": {"tgt_key_padding_mask": bools(B, T), "memory_key_padding_mask": bools(B, S)},
}
LAYERS = {
    "plain": {},
    "norm first": {"norm_first": True},
    "batch first": {"batch_first": True, "activation": "gelu"},
    "no bias": {"bias": False, "norm_first": True, "batch_first": True},
    "options": {"layer_norm_eps": 1e-2, "activation": lambda x: x * x},
}


def convert(lib, value):
    return lib.from_numpy(np.array(value)) if isinstance(value, np.ndarray) else value


def run(lib, module, arrays, options):
    """The output, and the gradients of inputs and parameters for one cotangent."""
    tensors = [lib.from_numpy(np.array(a)).requires_grad_() for a in arrays]
    out = module(*tensors, **{name: convert(lib, value) for name, value in options.items()})
    (out * lib.from_numpy(numbers(*out.shape, seed=7))).sum().backward()
    return [out.detach().numpy()] + [t.grad.numpy() for t in (*tensors, *module.parameters())]


def compare(torch, make, arrays, options, random=True):
    """From one seed the same weights; then, with larger ones, the same outputs and gradients."""
    modules = []
    for lib in (minitorch, torch):
        lib.manual_seed(0)
        modules.append(make(lib.nn))
    ours, theirs = modules
    assert repr(ours) == repr(theirs).replace("NonDynamicallyQuantizableLinear", "Linear")
    assert list(ours.state_dict()) == list(theirs.state_dict())
    for p, q in zip(ours.parameters(), theirs.parameters()):
        np.testing.assert_array_equal(p.detach().numpy(), q.detach().numpy())
    if random:
        for p, q in zip(ours.parameters(), theirs.parameters()):
            torch.nn.init.normal_(q, std=0.3)
            p.data = minitorch.from_numpy(q.detach().numpy().copy())
    results = []
    for lib, module in ((minitorch, ours), (torch, theirs)):
        lib.manual_seed(5)
        results.append(run(lib, module, arrays, options))
    for a, b in zip(*results):
        assert a.shape == b.shape
        np.testing.assert_allclose(a, b, rtol=5e-5, atol=2e-5)
    return ours, theirs


def inputs(batch_first, *lengths):
    shapes = [(B, n, E) if batch_first else (n, B, E) for n in lengths]
    return [numbers(*shape, seed=i) for i, shape in enumerate(shapes)]


@pytest.mark.parametrize("masks", DECODER_MASKS)
@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parity
@pytest.mark.filterwarnings("ignore")
def test_decoder_layer_equals_pytorch(torch, layer, masks):
    options = LAYERS[layer]
    arrays = inputs(options.get("batch_first"), T, S)

    def make(nn):
        return nn.TransformerDecoderLayer(E, H, 16, dropout=0.0, **options)

    compare(torch, make, arrays, DECODER_MASKS[masks])


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parity
@pytest.mark.filterwarnings("ignore")
def test_encoder_layer_with_every_option_equals_pytorch(torch, layer):
    options = LAYERS[layer]
    (x,) = inputs(options.get("batch_first"), S)
    for masks in ({"src_mask": causal(S), "is_causal": True}, {"src_key_padding_mask": bools(B, S)}):
        compare(torch, lambda nn: nn.TransformerEncoderLayer(E, H, 16, dropout=0.0, **options), [x], masks)


@pytest.mark.parity
def test_decoder_equals_pytorch(torch):
    def make(nn):
        return nn.TransformerDecoder(nn.TransformerDecoderLayer(E, H, 16, dropout=0.0), 2, nn.LayerNorm(E))

    compare(torch, make, inputs(False, T, S), DECODER_MASKS["causal"])
    compare(torch, make, inputs(False, T, S), {**DECODER_MASKS["causal"], "tgt_is_causal": False})
    compare(torch, make, [numbers(T, E), numbers(S, E)], {"tgt_mask": minus_infinity(T)})  # without a batch


TRANSFORMERS = {
    "plain": {},
    "norm first, gelu": {"norm_first": True, "activation": "gelu"},
    "batch first, no bias": {"batch_first": True, "bias": False},
}
TRANSFORMER_MASKS = {
    "no mask": {},
    "causal": {"tgt_mask": minus_infinity(T)},
    "hints": {"tgt_mask": causal(T), "tgt_is_causal": True, "src_mask": causal(S), "src_is_causal": True},
    "all": {
        "src_mask": bools(S, S), "tgt_mask": causal(T), "memory_mask": bools(T, S, seed=1),
        "src_key_padding_mask": bools(B, S, seed=2), "tgt_key_padding_mask": bools(B, T, seed=3),
        "memory_key_padding_mask": bools(B, S, seed=4),
    },
}  # fmt: skip


@pytest.mark.parametrize("masks", TRANSFORMER_MASKS)
@pytest.mark.parametrize("options", TRANSFORMERS)
@pytest.mark.parity
@pytest.mark.filterwarnings("ignore")
def test_transformer_equals_pytorch(torch, options, masks):
    options = TRANSFORMERS[options]
    arrays = inputs(options.get("batch_first"), S, T)

    def make(nn):
        return nn.Transformer(E, H, 2, 2, 16, dropout=0.0, **options)

    compare(torch, make, arrays, TRANSFORMER_MASKS[masks], random=False)


@pytest.mark.parametrize("norm_first", [False, True])
@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parity
@pytest.mark.filterwarnings("ignore")
def test_training_with_dropout_equals_pytorch(torch, batch_first, norm_first):
    if intel():
        pytest.skip("on Intel processors PyTorch draws dropout with MKL, which gives other numbers")
    arrays = inputs(batch_first, S, T)

    def make(nn):
        return nn.Transformer(E, H, 1, 2, 16, dropout=0.3, batch_first=batch_first, norm_first=norm_first)

    ours, theirs = compare(torch, make, arrays, TRANSFORMER_MASKS["causal"])
    np.testing.assert_array_equal(minitorch.rand(2).numpy(), torch.rand(2).numpy())
    unbatched = [numbers(S, E), numbers(T, E)]
    compare(torch, make, unbatched, {})
    for module in (ours, theirs):
        module.eval()
    a, b = (run(lib, m, arrays, {}) for lib, m in ((minitorch, ours), (torch, theirs)))
    np.testing.assert_allclose(a[0], b[0], rtol=2e-5, atol=1e-5)


@pytest.mark.parity
@pytest.mark.filterwarnings("ignore")
def test_evaluation_equals_pytorchs_fast_path(torch):
    """Without gradients PyTorch takes one fused function, and skips padded positions."""
    make = lambda nn: nn.TransformerEncoder(  # noqa: E731
        nn.TransformerEncoderLayer(E, H, 16, batch_first=True, activation="gelu"), 2, enable_nested_tensor=True
    )
    ours, theirs = make(nn).eval(), make(torch.nn).eval()
    ours.load_state_dict({key: value.numpy() for key, value in theirs.state_dict().items()})
    x = numbers(B, S, E)
    padding = np.arange(S) >= np.array([[5], [3], [2]])
    for masks in ({}, {"mask": causal(S)}, {"src_key_padding_mask": padding}):
        with minitorch.no_grad(), torch.no_grad():
            a, b = (
                m(lib.from_numpy(x), **{k: lib.from_numpy(v) for k, v in masks.items()}).numpy()
                for lib, m in ((minitorch, ours), (torch, theirs))
            )
        kept = ~padding if "src_key_padding_mask" in masks else np.ones((B, S), bool)
        np.testing.assert_allclose(a[kept], b[kept], rtol=2e-5, atol=5e-6)


@pytest.mark.parity
def test_signatures_equal_pytorchs(torch):
    import inspect

    names = ("Transformer", "TransformerDecoder", "TransformerDecoderLayer", "TransformerEncoder")
    for name in (*names, "TransformerEncoderLayer", "MultiheadAttention"):
        for method in ("__init__", "forward"):
            ours, theirs = (inspect.signature(getattr(getattr(m, name), method)) for m in (nn, torch.nn))
            found, expected = ([(p.name, p.default) for p in s.parameters.values()] for s in (ours, theirs))
            plain = [
                [(n, d) for n, d in s if not callable(d) or d is inspect.Parameter.empty] for s in (found, expected)
            ]
            assert plain[0] == plain[1] and [n for n, _ in found] == [n for n, _ in expected], name


# --- meaning ---------------------------------------------------------------------------------------------------------


def test_decoder_layer_from_its_parts():
    minitorch.manual_seed(0)
    x, memory = minitorch.randn(T, B, E), minitorch.randn(S, B, E)
    for norm_first in (False, True):
        layer = nn.TransformerDecoderLayer(E, H, 16, dropout=0.0, norm_first=norm_first)
        for p in layer.parameters():
            nn.init.normal_(p, std=0.5)
        blocks = (
            lambda x: layer.self_attn(x, x, x)[0],  # noqa: B023
            lambda x: layer.multihead_attn(x, memory, memory)[0],  # noqa: B023
            lambda x: layer.linear2(layer.linear1(x).relu()),  # noqa: B023
        )
        y = x
        for block, norm in zip(blocks, (layer.norm1, layer.norm2, layer.norm3)):
            y = y + block(norm(y)) if norm_first else norm(y + block(y))
        np.testing.assert_allclose(layer(x, memory).tolist(), y.tolist(), atol=1e-5)


def test_the_square_mask():
    mask = nn.Transformer.generate_square_subsequent_mask(3)
    assert mask.tolist() == [[0.0, -math.inf, -math.inf], [0.0, 0.0, -math.inf], [0.0, 0.0, 0.0]]
    assert mask.dtype is minitorch.float32
    assert nn.Transformer.generate_square_subsequent_mask(2, dtype=minitorch.float64).dtype is minitorch.float64


def test_no_position_sees_the_future():
    minitorch.manual_seed(0)
    model = nn.Transformer(E, H, 1, 2, 16, dropout=0.0, batch_first=True)
    src, tgt = minitorch.randn(B, S, E), minitorch.randn(B, T, E, requires_grad=True)
    out = model(src, tgt, tgt_mask=model.generate_square_subsequent_mask(T))
    out[:, 1].square().sum().backward()
    seen = tgt.grad.abs().sum((0, 2))
    assert seen[0].item() > 0 and seen[1].item() > 0 and seen[2:].tolist() == [0.0, 0.0]


def test_padding_of_the_memory_does_not_matter():
    minitorch.manual_seed(0)
    model = nn.Transformer(E, H, 1, 1, 16, dropout=0.0, batch_first=True)
    src, tgt = minitorch.randn(B, S, E), minitorch.randn(B, T, E)
    padding = minitorch.from_numpy(np.array([[False] * (S - 2) + [True] * 2] * B))
    changed = src.clone()
    changed[:, -2:] = 9.0
    a, b = (model(x, tgt, src_key_padding_mask=padding, memory_key_padding_mask=padding) for x in (src, changed))
    np.testing.assert_allclose(a.tolist(), b.tolist(), atol=1e-6)
    shorter = model(src[:, :-2], tgt)
    np.testing.assert_allclose(a.tolist(), shorter.tolist(), atol=1e-5)


def test_own_parts():
    class Mean(nn.Module):
        def forward(self, src, mask=None, src_key_padding_mask=None, is_causal=None):
            return src.mean(0, keepdim=True)

    class Sum(nn.Module):
        def forward(self, tgt, memory, **masks):
            assert masks["memory_is_causal"] is False and masks["tgt_mask"] is None
            return tgt + memory

    model = nn.Transformer(E, H, custom_encoder=Mean(), custom_decoder=Sum())
    assert not list(model.parameters())
    src, tgt = minitorch.ones(S, B, E), minitorch.zeros(T, B, E)
    assert model(src, tgt).tolist() == minitorch.ones(T, B, E).tolist()
    layers = nn.TransformerDecoder(nn.TransformerDecoderLayer(E, H, 16), 3).layers
    assert len(layers) == 3 and layers[0].linear1.weight is not layers[1].linear1.weight
    assert layers[0].linear1.weight.tolist() == layers[2].linear1.weight.tolist()
    assert isinstance(nn.TransformerEncoderLayer(E, H, activation=nn.GELU()).activation, nn.GELU)
    assert "activation" in dict(nn.TransformerDecoderLayer(E, H, 16, activation=nn.GELU()).named_children())
    assert copy.deepcopy(model).d_model == E


@pytest.mark.parity
def test_second_derivatives_equal_pytorchs(torch):
    grads = []
    arrays = [a.astype(np.float64) for a in inputs(False, T, S)]
    for lib in (minitorch, torch):
        lib.manual_seed(0)
        layer = lib.nn.TransformerDecoderLayer(E, H, 8, dropout=0.0, activation="gelu", dtype=lib.float64)
        x, memory = (lib.from_numpy(a).requires_grad_() for a in arrays)
        weights = [layer.self_attn.in_proj_weight, layer.linear1.weight]
        scale = lib.from_numpy(numbers(T, B, E, seed=7).astype(np.float64))
        # the one of PyTorch's paths that has second derivatives
        with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
            y = layer(x, memory, tgt_mask=lib.from_numpy(bools(T, T)))
            first = lib.autograd.grad((y * y * y * scale).sum(), [x, memory, *weights], create_graph=True)
            sum((g * g).sum() for g in first).backward()
        grads.append([t.grad.numpy() for t in (x, memory, *layer.parameters()) if t.grad is not None])
    assert len(grads[0]) == len(grads[1])
    for a, b in zip(*grads):
        np.testing.assert_allclose(a, b, rtol=1e-7, atol=1e-8)


def test_runs_on_the_guard():
    minitorch.backend.register_namespace("guard", guard, GuardArray)
    minitorch.manual_seed(0)
    model = nn.Transformer(E, H, 1, 1, 16, dropout=0.0)
    src, tgt = minitorch.randn(S, B, E), minitorch.randn(T, B, E)
    mask, padding = model.generate_square_subsequent_mask(T), minitorch.from_numpy(bools(B, S))
    expected = model(src, tgt, tgt_mask=mask, memory_key_padding_mask=padding)
    model = model.to("guard")
    mask = model.generate_square_subsequent_mask(T, device="guard")
    y = model(src.to("guard"), tgt.to("guard"), tgt_mask=mask, memory_key_padding_mask=padding.to("guard"))
    y.sum().backward()
    np.testing.assert_allclose(y.cpu().tolist(), expected.tolist(), atol=1e-6)
    assert str(model.decoder.layers[0].multihead_attn.in_proj_weight.grad.device) == "guard"


def test_errors():
    model = nn.Transformer(E, H, 1, 1, 16)
    layer = nn.TransformerDecoderLayer(E, H, 16)
    first = nn.Transformer(E, H, 1, 1, 16, batch_first=True)
    src, tgt = minitorch.zeros(S, B, E), minitorch.zeros(T, B, E)
    attention = nn.MultiheadAttention(E, H)
    narrow = nn.MultiheadAttention(E, H, kdim=5)
    yes = minitorch.zeros(T, T, dtype=minitorch.bool)
    for call, error, words in (
        (lambda: model(src, tgt[:, :2]), RuntimeError, "the batch number of src and tgt must be equal, got 3 and 2"),
        (lambda: first(src, tgt), RuntimeError, "the batch number of src and tgt must be equal, got 5 and 4"),
        (lambda: model(src[..., :4], tgt), RuntimeError, "equal to d_model, got 4 and 8 for d_model=8"),
        (lambda: model(src, tgt[..., :2]), RuntimeError, "equal to d_model, got 8 and 2 for d_model=8"),
        (lambda: model(src[0, 0], tgt), AssertionError, "2D or batched 3D tensor but received 1-D"),
        (lambda: model(src[0], tgt), AssertionError, "`key` and `value` to be 3-D but found 2-D"),
        (lambda: nn.TransformerDecoderLayer(E, H, activation="elu"), RuntimeError, "should be relu/gelu, not elu"),
        (lambda: nn.TransformerDecoderLayer(E, H, activation=3), TypeError, "a function, got int"),
        (lambda: nn.TransformerDecoderLayer(E, 3), AssertionError, "embed_dim must be divisible by num_heads"),
        (lambda: nn.Transformer(E, 3), AssertionError, "embed_dim must be divisible by num_heads"),
        (lambda: nn.Transformer(E, H, 1, 1, dropout=1.5), ValueError, "between 0 and 1"),
        (lambda: layer(tgt, src, tgt_is_causal=True), RuntimeError, "Need attn_mask if specifying the is_causal hint"),
        (lambda: layer(tgt, src, memory_is_causal=True), RuntimeError, "Need attn_mask if specifying the is_causal"),
        (lambda: layer(tgt, src, tgt_mask=yes[:2]), RuntimeError, r"2D attn_mask is \(2, 4\), but should be \(4, 4\)"),
        (lambda: layer(tgt, src, memory_mask=yes), RuntimeError, r"2D attn_mask is \(4, 4\), but should be \(4, 5\)"),
        (lambda: layer(tgt, src, tgt_mask=yes[None]), RuntimeError, r"but should be \(6, 4, 4\)"),
        (lambda: layer(tgt, src, tgt_mask=yes[0]), RuntimeError, "attn_mask's dimension 1 is not supported"),
        (lambda: layer(tgt, src, tgt_mask=yes[None, None]), RuntimeError, "attn_mask's dimension 4 is not supported"),
        (lambda: layer(tgt, src, tgt_mask=yes.int()), AssertionError, "only bool and floating types of attn_mask"),
        (lambda: layer(tgt, src, tgt_mask=yes.double()), RuntimeError, "attn_mask has dtype minitorch.float64"),
        (
            lambda: layer(tgt, src, tgt_key_padding_mask=yes[:3, :3]),
            AssertionError,
            r"`key_padding_mask` to have shape \(3, 4\) but got \(3, 3\)",
        ),
        (
            lambda: layer(tgt, src, memory_key_padding_mask=yes[:3]),
            AssertionError,
            r"`key_padding_mask` to have shape \(3, 5\) but got \(3, 4\)",
        ),
        (
            lambda: layer(tgt, src, tgt_key_padding_mask=yes[:3].int()),
            AssertionError,
            "only bool and floating types of key_padding_mask",
        ),
        (lambda: layer(tgt, src[:, :2]), AssertionError, "query has batch size 3, key and value have 2"),
        (lambda: layer(tgt, src[..., :2]), AssertionError, "embedding dimension of 8 for key, but got 2"),
        (lambda: attention(tgt, src, src[:2]), AssertionError, "do not match value's"),
        (lambda: narrow(tgt, src, src), AssertionError, "embedding dimension of 5 for key, but got 8"),
        (lambda: nn.MultiheadAttention(E, -1), ValueError, "must be greater than 0"),
        (lambda: nn.TransformerDecoder(layer, -1)(tgt), TypeError, "memory"),
    ):
        with pytest.raises(error, match=words):
            call()


def test_a_replaced_forward_is_called():
    layer, calls = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0), []
    before = layer.norm1.forward
    layer.norm1.forward = lambda x: calls.append(1) or before(x)
    layer(minitorch.randn(3, 2, 8))
    assert calls


@pytest.mark.parametrize("extra", ["none", "a hook", "no bias", "bfloat16 under autocast"])
def test_bias_and_gelu_in_one_op_change_nothing(extra, monkeypatch):
    """Where there is a fast path for it: here the formula stands for one."""
    from minitorch.backend import fastpath
    from minitorch.ops.activation import BiasGELU

    minitorch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, activation="gelu", bias=extra != "no bias")
    x, probe, calls = minitorch.randn(5, 3, 8), minitorch.randn(5, 3, 8), []
    if extra == "a hook":
        layer.linear1.register_forward_hook(lambda *_: calls.append(1))

    def run():
        layer.zero_grad()
        with minitorch.autocast("cpu", enabled=extra.startswith("bfloat16")):
            y = layer(x)
        (y.float() * probe).sum().backward()
        return [y.detach().float().numpy(), *(p.grad.numpy().copy() for p in layer.parameters())]

    class Here(BiasGELU):
        reference, used = BiasGELU, 0

        @staticmethod
        def accepts(x, b):
            return True

        def forward(self, x, b):
            Here.used += 1
            return BiasGELU.forward(self, x, b)

    expected = run()
    monkeypatch.setitem(fastpath.ACTIVE[np], BiasGELU, Here)
    actual = run()
    assert Here.used == (extra in ("none", "bfloat16 under autocast"))
    assert len(calls) == (2 if extra == "a hook" else 0)
    tol = 3e-2 if extra.startswith("bfloat16") else 1e-5
    for a, b in zip(actual, expected):
        np.testing.assert_allclose(a, b, rtol=tol, atol=tol * max(1.0, np.abs(b).max()))
