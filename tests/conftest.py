"""Settings shared by all tests."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "2")  # before NumPy and PyTorch are imported: small arrays gain no more

import pytest  # noqa: E402


@pytest.hookimpl(tryfirst=True)  # before `-m` chooses
def pytest_collection_modifyitems(items):
    """A test that asks for PyTorch, by a fixture or by importorskip("torch"), is a parity test."""
    for item in items:
        code = item.function.__code__
        if {"torch", "torch_library", "hf"} & set(item.fixturenames) or (
            "importorskip" in code.co_names and "torch" in code.co_consts
        ):
            item.add_marker("parity")


def pytest_terminal_summary(terminalreporter):
    """What PyTorch's own sample databases said (tests/oracle.py), if they were run."""
    import sys

    oracle = sys.modules.get("tests.oracle")
    if oracle is not None and any(oracle.REPORT.outcomes.values()):
        terminalreporter.section("PyTorch's sample databases")
        for line in oracle.REPORT.lines():
            terminalreporter.line(line)


@pytest.fixture(scope="session")
def torch_library():
    """PyTorch behind the harness's methods."""
    pytest.importorskip("torch", reason="PyTorch is not installed: `make test-parity` installs it")
    from tests.cases.harness import Torch

    library = Torch()
    library.module.set_num_threads(1)
    return library


@pytest.fixture(scope="session", autouse=True)
def compiled_kernels():
    """The CPU kernels are compiled, once for a machine, before a test measures time or memory."""
    import numpy

    from minitorch.backend import fastpath

    fastpath.ACTIVE[numpy]
