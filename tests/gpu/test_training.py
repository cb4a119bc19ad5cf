"""Fifty training steps on the GPU, plain and as a CUDA graph, give the CPU's losses; in bfloat16 they come close."""

import numpy as np
import pytest

import minitorch
from benchmarks.gpu import place, train_step
from benchmarks.workloads import WORKLOADS

SMALL = {
    "tiny": {},
    "mlp": {"widths": (64, 48, 48, 10), "batch": 32},
    "cnn": {"batch": 8, "size": 12, "channels": (4, 8), "hidden": 16},
    "resnet": {"batch": 8, "size": 16, "width": 4},
    "lstm": {"steps": 12, "batch": 8, "inputs": 16, "hidden": 24},
    "gru": {"steps": 12, "batch": 8, "inputs": 16, "hidden": 24},
    "gpt": {"layers": 2, "heads": 2, "width": 32, "block": 24, "batch": 4},
    "bert": {"layers": 2, "width": 32, "heads": 2, "batch": 4, "length": 24, "vocab": 97, "masked": 14, "places": True},
}
STEPS = 50


def losses(name, device, graph=False, bfloat16=False):
    job = WORKLOADS[name](minitorch, dropout=False, **SMALL[name])
    if device != "cpu":
        place(job, device)
    step = train_step(job, minitorch, bfloat16)
    step = minitorch.cuda.graph(step) if graph else step
    return np.array([float(step(*job.batch())) for _ in range(STEPS)])


@pytest.mark.parametrize("graph", [False, True], ids=["plain", "graph"])
@pytest.mark.parametrize("name", SMALL)
def test_losses_are_the_cpus(name, graph):
    expected, actual = losses(name, "cpu"), losses(name, "cuda", graph)
    assert expected[-4:].mean() < expected[:4].mean()
    np.testing.assert_allclose(actual[:5], expected[:5], rtol=1e-4)
    np.testing.assert_allclose(actual, expected, rtol=2e-2, atol=2e-3)


@pytest.mark.parametrize("name", ["mlp", "resnet", "gpt", "bert"])
def test_bfloat16_comes_close(name):
    expected, actual = losses(name, "cuda"), losses(name, "cuda", bfloat16=True)
    np.testing.assert_allclose(actual[-10:].mean(), expected[-10:].mean(), rtol=0.1, atol=0.05)


@pytest.mark.parametrize("name", SMALL)
def test_a_step_does_not_wait(name):
    """No number goes back to the CPU during a step."""
    job = place(WORKLOADS[name](minitorch, **SMALL[name]), "cuda")
    step = train_step(job, minitorch, False)
    for _ in range(3):
        step(*job.batch())
    minitorch.cuda.set_sync_debug_mode("error")
    try:
        step(*job.batch())
    finally:
        minitorch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize("temporaries", [False, True], ids=["alone", "behind temporaries"])
def test_dropout_is_fresh_in_every_replay_and_goes_on_in_the_stream(temporaries):
    """The masks are those of plain calls from the same seed, also where the draw comes after arrays that are gone."""
    x = minitorch.ones(4096, device="cuda")

    def step(x):
        return minitorch.nn.functional.dropout((x + 1) * 2 - 3 if temporaries else x, 0.5)

    def run(function):
        minitorch.manual_seed(3)
        return [function(x).cpu().numpy() for _ in range(8)]

    plain, graph = run(step), run(minitorch.cuda.graph(step))
    for i, (a, b) in enumerate(zip(graph, plain)):
        np.testing.assert_array_equal(a, b, err_msg=f"call {i}")
        assert not any((a == earlier).all() for earlier in graph[:i])
