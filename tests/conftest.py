"""Settings shared by all tests."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "2")  # before NumPy and PyTorch are imported: small arrays gain nothing from more

import pytest  # noqa: E402


def pytest_configure(config):
    config.addinivalue_line("markers", "parity: compares with PyTorch; skipped with a reason where it is not installed")
    config.addinivalue_line("markers", "gpu: needs a CUDA device and CuPy")


@pytest.fixture(scope="session")
def torch_library():
    """PyTorch behind the harness's methods."""
    pytest.importorskip("torch", reason="PyTorch is not installed: `make test-parity` installs it")
    from tests.cases.harness import Torch

    library = Torch()
    library.module.set_num_threads(1)
    return library
