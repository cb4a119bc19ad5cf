"""What only a GPU can show: memory, late errors, the numbers of the device's random stream, the kernels' own tests."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import minitorch
from minitorch import cuda
from minitorch.backend.random import Generator
from tests.guard import GuardArray, guard

ROOT = Path(__file__).resolve().parent.parent.parent


def test_random_numbers_are_those_of_the_array_functions():
    minitorch.backend.register_namespace("guard", guard, GuardArray)
    for draw in (
        lambda g: g.uniform((1001,)),
        lambda g: g.bernoulli(0.3, (77, 13)),
        lambda g: g.randint(0, 1000, (500,)),
    ):
        there, here = draw(Generator("cuda").manual_seed(5)), draw(Generator("guard").manual_seed(5))
        np.testing.assert_array_equal(there.get(), here.get())
    there, here = (Generator(device).manual_seed(5).normal((2048,)) for device in ("cuda", "guard"))
    np.testing.assert_allclose(there.get(), here.get(), rtol=1e-5, atol=1e-5)


def test_an_allocation_that_is_too_large_says_how_much_there_is():
    free, total = cuda.mem_get_info()
    with pytest.raises(cuda.OutOfMemoryError, match=r"(?i)out of memory"):
        minitorch.empty(4 * total // 4, device="cuda")
    assert cuda.memory_allocated() <= total
    assert float(minitorch.ones(3, device="cuda").sum()) == 3


def test_an_index_out_of_range_is_found_at_the_next_synchronisation():
    weight = minitorch.ones(4, 3, device="cuda")
    with pytest.raises(IndexError, match="embedding"):
        minitorch.nn.functional.embedding(minitorch.tensor([1, 9], device="cuda"), weight)
        cuda.synchronize()


def test_the_doctor_finds_nothing_wrong():
    done = subprocess.run([sys.executable, "-m", "minitorch.doctor"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
