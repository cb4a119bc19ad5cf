"""Averaged weights: beside PyTorch's, and by hand."""

import numpy as np
import pytest

import minitorch
from minitorch import nn
from minitorch.optim import swa_utils


@pytest.fixture(scope="module")
def torch():
    return pytest.importorskip("torch", reason="compares with PyTorch, which is not installed")


AVERAGES = {
    "mean": lambda s: {},
    "mean with buffers": lambda s: {"use_buffers": True},
    "ema": lambda s: {"multi_avg_fn": s.get_ema_multi_avg_fn(0.9), "use_buffers": True},
    "ema, one by one": lambda s: {"avg_fn": s.get_ema_avg_fn(0.8)},
    "swa": lambda s: {"multi_avg_fn": s.get_swa_multi_avg_fn()},
    "swa, one by one": lambda s: {"avg_fn": s.get_swa_avg_fn()},
    "own": lambda s: {"avg_fn": lambda averaged, current, n: current * n},
}


@pytest.mark.parametrize("name", AVERAGES)
@pytest.mark.parity
def test_averages_equal_pytorch(torch, name):
    states = []
    for lib in (minitorch, torch):
        swa = __import__(lib.__name__ + ".optim.swa_utils", fromlist=["swa_utils"])
        lib.manual_seed(0)
        model = lib.nn.Sequential(lib.nn.Linear(3, 4), lib.nn.BatchNorm1d(4), lib.nn.Linear(4, 1))
        averaged = swa.AveragedModel(model, **AVERAGES[name](swa))
        optimizer = lib.optim.SGD(model.parameters(), lr=0.1)
        batches = [lib.from_numpy(np.random.default_rng(i).normal(size=(8, 3)).astype(np.float32)) for i in range(5)]
        for x in batches:
            optimizer.zero_grad()
            model(x).square().mean().backward()
            optimizer.step()
            averaged.update_parameters(model)
        before = {key: value.numpy().copy() for key, value in averaged.state_dict().items()}
        averaged.eval()
        swa.update_bn([(x, None) for x in batches], averaged)
        assert not averaged.training and averaged.module[1].momentum == 0.1
        after = {key: value.numpy() for key, value in averaged.state_dict().items()}
        states.append((before, after, {"y": averaged(batches[0]).detach().numpy()}))
    for a, b in zip(*states):
        assert list(a) == list(b)
        for key, value in b.items():
            np.testing.assert_allclose(a[key], value, rtol=1e-5, atol=1e-6, err_msg=key)


def test_the_mean_by_hand():
    model = nn.Linear(1, 1, bias=False)
    averaged = swa_utils.AveragedModel(model)
    for value in (1.0, 2.0, 6.0):
        nn.init.constant_(model.weight, value)
        averaged.update_parameters(model)
    assert averaged.module.weight.item() == 3.0 and averaged.n_averaged.item() == 3 and model.weight.item() == 6.0
    assert averaged(minitorch.ones(1, 1)).item() == 3.0
    other = swa_utils.AveragedModel(model)
    other.load_state_dict(averaged.state_dict())
    other.update_parameters(model)
    assert other.module.weight.item() == 3.75
    swa_utils.update_bn([minitorch.ones(1, 1)], model)  # nothing to do
    assert model.training


def test_errors():
    for call, error, words in (
        (lambda: swa_utils.get_ema_avg_fn(1.5), ValueError, "Invalid decay value 1.5 provided"),
        (lambda: swa_utils.get_ema_multi_avg_fn(-0.1), ValueError, "Invalid decay value -0.1 provided"),
        (
            lambda: swa_utils.AveragedModel(nn.Linear(1, 1), avg_fn=abs, multi_avg_fn=abs),
            AssertionError,
            "Only one of avg_fn and multi_avg_fn should be provided",
        ),
    ):
        with pytest.raises(error, match=words):
            call()
