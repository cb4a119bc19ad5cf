"""Spellings and modules that published PyTorch programs use, besides the operations themselves."""

import pytest

import minitorch
from tests.test_run import run

IMPORTS = """
    import torch, torch.onnx, torch.hub, torch.functional, torch.special
    import torch.nn.modules.loss as losses
    from torch.nn.common_types import _size_2_t
    from torch.nn.modules import rnn
    from torch.nn.modules.loss import _Loss, _WeightedLoss
    from torch.nn.modules.utils import _pair
    from torch.optim.optimizer import Optimizer, required
    from torch.profiler import ProfilerActivity, profile, record_function
    from torch.testing import assert_close
    from torch.types import Device, Number
    from torch.utils._pytree import tree_flatten, tree_map, tree_unflatten
    from torch.utils.checkpoint import get_device_states, set_device_states
    from torch.utils.data._utils.collate import default_collate
    from torch.utils.hooks import RemovableHandle

    print(torch.nn.modules.sparse.Embedding is torch.nn.Embedding, losses.MSELoss is torch.nn.MSELoss, _pair(3))
    print(issubclass(torch.nn.CrossEntropyLoss, _WeightedLoss), rnn.LSTM is torch.nn.LSTM, torch.complex64.is_complex)
    print(torch.accelerator.is_available(), torch.xpu.is_available(), torch.mps.is_available())
    with torch.serialization.safe_globals([torch.nn.Linear]):
        torch.zeros(2, dtype=torch.complex64)
"""


def test_what_published_programs_import(tmp_path):
    result = run(tmp_path, IMPORTS, check=False)
    assert result.stdout == "True True (3, 3)\nTrue True True\nFalse False False\n"
    assert "TypeError: there are no tensors of dtype torch.complex64" in result.stderr


def test_numpy_keywords():
    x = minitorch.arange(6.0).reshape(2, 3)
    assert x.sum(axis=1, keepdims=True).tolist() == [[3.0], [12.0]]
    assert minitorch.cat([x, x], axis=1).shape == minitorch.concatenate((x, x), axis=-1).shape == (2, 6)
    assert x.max(axis=0)[1].tolist() == [1, 1, 1] and x.softmax(axis=0).sum().item() == pytest.approx(3)
    with pytest.raises(TypeError):
        x.exp(axis=1)


def test_out():
    x, y = minitorch.ones(2, 2), minitorch.empty(0)
    result = minitorch.matmul(x, x, out=y)
    assert result is y and y.tolist() == [[2.0, 2.0], [2.0, 2.0]]
    values, indices = minitorch.empty(2), minitorch.empty(2, dtype=minitorch.int64)
    assert minitorch.max(x, 0, out=(values, indices)).values is values
    assert minitorch.eye(2, out=y).dtype is minitorch.float32 and y[0, 1] == 0
    with pytest.raises(RuntimeError, match="no gradient"):
        minitorch.mul(x.requires_grad_(), 2, out=y)


def test_new_tensors_take_the_size_by_name():
    assert minitorch.zeros(size=(2, 3), layout=minitorch.strided, pin_memory=True).shape == (2, 3)
    assert minitorch.randint(10, size=(4,)).shape == (4,) and minitorch.randn(size=(2,)).shape == (2,)
    assert minitorch.ones(1).new_full(size=(2,), fill_value=3).tolist() == [3.0, 3.0]


def test_older_forms_with_the_number_first():
    x = minitorch.ones(2)
    assert x.add(3, x).tolist() == [4.0, 4.0] and x.sub(3, x).tolist() == [-2.0, -2.0]
    assert x.addcmul(2, x, x).tolist() == x.addcdiv(2, x, x).tolist() == [3.0, 3.0]


def test_results_lie_in_memory_as_in_pytorch():
    torch = pytest.importorskip("torch")
    for name in ("softmax(x, -1)", "log_softmax(x, 0)", "cumsum(x, 0)", "cat([x, x], 1)", "stack([x, x])", "tril(x)",
                 "masked_fill(x, x > 0, 0.)", "roll(x, 1, 1)", "layer_norm(x, (3,))", "exp(x)"):  # fmt: skip
        theirs = eval(f"torch.{name}", {"torch": torch, "x": torch.randn(4, 3, 5).permute(2, 0, 1)})
        ours = eval(f"torch.{name}", {"torch": minitorch, "x": minitorch.randn(4, 3, 5).permute(2, 0, 1)})
        assert ours.stride() == theirs.stride(), name


def test_dropout_of_attention_that_was_permuted():
    torch = pytest.importorskip("torch")
    masks = []
    for library in (torch, minitorch):
        library.manual_seed(0)
        q = library.randn(5, 2, 2, 4)
        weights = library.nn.functional.softmax(library.einsum("ibhd,jbhd->ijbh", q, q), dim=1)
        masks.append((library.nn.functional.dropout(weights, 0.5) == 0).tolist())
    assert masks[0] == masks[1]


def test_assert_close():
    from minitorch.testing import assert_close

    x = minitorch.ones(3)
    assert_close([x, {"a": 1.0}], [x + 1e-6, {"a": 1.0}])
    for other, kind in (
        (x * 1.1, AssertionError),
        (x[:2], AssertionError),
        (x.double(), AssertionError),
        (1.0, TypeError),
    ):
        with pytest.raises(kind):
            assert_close(x, other)
    with pytest.raises(AssertionError, match=r"greatest difference is 1 at index \(1,\)"):
        assert_close(x, minitorch.tensor([1.0, 2.0, 1.0]))


def test_pytree():
    from collections import namedtuple

    from minitorch.utils._pytree import tree_flatten, tree_map, tree_unflatten

    Pair = namedtuple("Pair", "a b")
    tree = {"b": [1, (2, 3)], "a": Pair(4, None)}
    leaves, spec = tree_flatten(tree)
    assert leaves == [1, 2, 3, 4, None] and tree_unflatten(leaves, spec) == tree and spec.num_leaves == 5
    assert tree_map(lambda a, b: a - b, [5, {"y": 3, "z": 9}], [1, {"z": 4, "y": 1}]) == [4, {"y": 2, "z": 5}]
    with pytest.raises(ValueError):
        tree_map(max, [1, 2], [1, 2, 3])


def test_profiler():
    from minitorch.profiler import profile, record_function, schedule

    seen = []
    with profile(schedule=schedule(wait=1, warmup=0, active=2, repeat=1), on_trace_ready=seen.append) as p:
        for _ in range(5):
            with record_function("step"):
                minitorch.ones(2).sum()
            p.step()
    assert seen == [p] and "function calls" in p.key_averages().table(sort_by="self_cpu_time_total", row_limit=5)


def test_required_options_of_a_group():
    from minitorch.optim.optimizer import Optimizer, required

    with pytest.raises(ValueError, match="'lr'"):
        Optimizer([minitorch.ones(1, requires_grad=True)], {"lr": required})


def test_storage():
    x = minitorch.zeros(4, 4)
    assert x[1:].untyped_storage().data_ptr() == x.untyped_storage().data_ptr() == x.data_ptr()
    assert x[1:].untyped_storage().nbytes() == 64
