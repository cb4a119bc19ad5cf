import pytest


def pytest_collection_modifyitems(items):
    for item in items:
        item.add_marker(pytest.mark.gpu)


@pytest.fixture(scope="session", autouse=True)
def needs_a_gpu():
    from minitorch import cuda

    if not cuda.is_available():
        pytest.skip("there is no GPU here")
