"""The benchmarks run, on tiny sizes, and compare like with like."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import minitorch
from benchmarks import floor, memory, profile, scaling, timing
from benchmarks.__main__ import machine, milliseconds, same, table
from benchmarks.workloads import WORKLOADS, chosen

NAMES = list(WORKLOADS)
ROOT = Path(__file__).resolve().parent.parent


@pytest.mark.parametrize("name", NAMES)
def test_two_steps(name):
    workload = WORKLOADS[name]
    job = workload(minitorch, **workload.tiny)
    first = np.array(job.step().numpy())
    second = np.array(job.step().numpy())
    assert np.isfinite(first).all() and np.isfinite(second).all()
    if name != "scalar":
        assert not np.array_equal(first, second)  # other batches, other weights


@pytest.mark.parametrize("name", NAMES)
def test_same_as_pytorch(name):
    torch = pytest.importorskip("torch")
    workload = WORKLOADS[name]
    if workload.lacks():
        pytest.skip(f"{workload.needs} is not installed")
    assert len(same(workload, [minitorch, torch], workload.tiny)) == 3


def test_difference_is_noticed():
    class Other:  # minitorch, but with another learning rate
        __name__, nn, optim = "minitorch", minitorch.nn, type("optim", (), {})
        tensor, manual_seed = staticmethod(minitorch.tensor), staticmethod(minitorch.manual_seed)

    Other.optim.Adam = staticmethod(lambda parameters, lr: minitorch.optim.Adam(parameters, lr=2 * lr))
    workload = WORKLOADS["mlp"]
    with pytest.raises(AssertionError, match="mlp, step 1: the sides differ"):
        same(workload, [minitorch, Other()], workload.tiny)


def test_chosen():
    assert [w.name for w in chosen("gpt,tiny")] == ["tiny", "gpt", "gpt-large"]
    assert len(chosen("")) == len(WORKLOADS)
    with pytest.raises(SystemExit, match="no workload 'nothing'"):
        chosen("nothing")


def test_floor():
    products = floor.linear(6, 2, 3) + floor.attention(4, 5, 2)
    floor.program(products)()
    assert floor.operations(products) == 3 * 2 * 6 * 2 * 3 + 6 * 2 * 4 * 5 * 5 * 2


@pytest.mark.parametrize("name", [n for n in NAMES if n.startswith(("bert", "gpt", "minilm"))])
def test_floor_is_the_products_of_the_step(name):
    """As many operations as PyTorch counts in its own step."""
    torch = pytest.importorskip("torch")
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.utils.flop_counter import FlopCounterMode

    if WORKLOADS[name].lacks():
        pytest.skip(f"{WORKLOADS[name].needs} is not installed")
    job = WORKLOADS[name](torch, **WORKLOADS[name].tiny)
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        job.step()
    assert floor.operations(job.products) == counter.get_total_flops()


def test_alternate_and_table():
    order = []
    blocks = timing.alternate({"minitorch": lambda: order.append("a"), "torch": lambda: order.append("b")}, 1, steps=2)
    assert order == ["a", "a", "b", "b"] and [len(b) for b in blocks["torch"]] == [2]
    low, middle, high = timing.quartiles([4.0, 1.0, 3.0, 2.0, 5.0])
    assert (low, middle, high) == (2, 3, 4)
    assert milliseconds((0.001, 0.002, 0.003)) == "2.00 (1.00 to 3.00)"
    results = {"x": {"times": {"minitorch": [[2.0]], "torch": [[3.0]], "products": [[1.0]]}, "memory": {"torch": 5.0}}}
    assert table(results).splitlines()[-1] == (
        "| x | 2000 (2000 to 2000) | 3000 (3000 to 3000) | 1.50 (1.50 to 1.50) | 5.0 | 50% |"
    )
    assert f"NumPy {np.__version__}" in machine(2, None)


def test_alternate_takes_turns(monkeypatch):
    monkeypatch.setattr(timing, "BLOCK", 0.001)
    monkeypatch.setattr(timing, "PAUSE", 0.0)
    blocks = timing.alternate({"a": lambda: None, "b": lambda: None}, 0.001)
    assert len(blocks["a"]) == len(blocks["b"]) >= timing.ROUNDS


def test_profile():
    from minitorch.autograd.engine import Op

    before = vars(Op)["apply"], vars(Op)["backward_arrays"]
    workload = WORKLOADS["mlp"]
    job = workload(minitorch, **workload.tiny)
    rows, watched, _ = profile.profile(job, 2)
    assert (vars(Op)["apply"], vars(Op)["backward_arrays"]) == before
    assert rows["Adam.step", "", "", ""][0] == 2
    names = {key[:2] for key in rows}
    assert {("CrossEntropy", "forward"), ("CrossEntropy", "backward")} <= names
    assert 0 < sum(seconds for _, seconds in rows.values()) <= 2 * watched


def test_scaling():
    base = scaling.sizes(scaling.TINY, None, 1)
    for dimension in scaling.DIMENSIONS:
        growth = scaling.arithmetic(scaling.sizes(scaling.TINY, dimension, 2)) / scaling.arithmetic(base)
        assert 1 < growth < 4
    double = scaling.sizes(scaling.TINY, "batch", 2)
    line = scaling.rows("batch", [(base, {"minitorch": (1.0, 1.0)}), (double, {"minitorch": (9.0, 1.5)})])[1]
    assert line.endswith("minitorch: time |")


def test_memory():
    """A step over a million parameters holds four arrays of them: 16 MB."""
    megabytes = memory.in_child("optim", "minitorch", 1, {"tensors": 10})
    assert 15 < megabytes < 60


def test_side():
    """A process answers with as many times as it is asked for, and says why it cannot."""
    from benchmarks.sides import Side

    workload = WORKLOADS["mlp"]
    side = Side("reference", "mlp", workload.tiny, workload(minitorch, **workload.tiny).weights(), [], 1)
    assert side.failed is None or "threads" in side.failed  # started with another number of threads
    if side.failed is None:
        assert len(side.ask(3)) == 3
    side.close()
    assert "nothing" in Side("minitorch", "nothing", {}, {}, [], 1).failed


@pytest.mark.parametrize("module", ["benchmarks.gpu", "benchmarks.crossover", "tests.gpu"])
def test_without_a_gpu_nothing_is_run(module, tmp_path):
    """They start, say so, and write nothing."""
    import minitorch

    if minitorch.cuda.is_available():
        pytest.skip("there is a GPU")
    before = {path: path.stat().st_mtime for path in (ROOT / "benchmarks").iterdir()}
    done = subprocess.run([sys.executable, "-m", module], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0 and "There is no GPU" in done.stdout and "nothing was run" in done.stdout, done.stderr
    assert {path: path.stat().st_mtime for path in (ROOT / "benchmarks").iterdir()} == before


def test_the_gpu_tables_from_made_up_times():
    from benchmarks.crossover import verdict
    from benchmarks.gpu import table

    times = {("minitorch", "eager"): [2e-3], ("torch", "eager"): [3e-3], ("minitorch", "graph"): [1e-3]}
    text = table({"tiny": {"times": times, "launches": {"minitorch": 12}, "memory": {}}})
    row = [cell.strip() for cell in text.splitlines()[-1].strip("|").split("|")]
    assert row == ["tiny", "2.000", "3.000", "1.000", "", "1.50", "3.00", "", "12 / ?", "? / ?"]
    rows = [["16", "1", "2", "2", "0.50", "2.00"], ["64", "4", "2", "1", "2.00", "4.00"], ["128", "", "9", "9", "", ""]]
    assert verdict(rows, 4) == "64" and verdict(rows, 5) == "16"
