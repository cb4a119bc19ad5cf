"""Where there is a GPU: the order of the tests, and what ends them all."""

from pathlib import Path

import pytest

HERE = Path(__file__).parent

BROKEN = (
    "cudaErrorIllegalAddress",
    "cudaErrorMisalignedAddress",
    "cudaErrorLaunchFailure",
    "cudaErrorHardwareStackError",
)


def pytest_collection_modifyitems(items):
    """What says most comes first; the op table on CuPy's own kernels, which takes the longest to compile, last. (pytest gives
    the whole session's tests, those of other folders too.)"""
    ours = [item for item in items if HERE in item.path.parents]
    for item in ours:
        item.add_marker(pytest.mark.gpu)
    ours.sort(key=lambda item: ("test_table" in item.nodeid, "equals_numpy" in item.nodeid))
    items[:] = [item for item in items if HERE not in item.path.parents] + ours


@pytest.hookimpl(trylast=True)
def pytest_runtest_logreport(report):
    """After such an error every call of this process fails: the first test is the one to look at."""
    text = str(report.longrepr) if report.failed else ""
    if any(word in text for word in BROKEN):
        pytest.exit(f"the GPU is in an error state since {report.nodeid}", returncode=1)


@pytest.fixture(scope="session", autouse=True)
def needs_a_gpu():
    from minitorch import cuda

    if not cuda.is_available():
        pytest.skip("there is no GPU here")
