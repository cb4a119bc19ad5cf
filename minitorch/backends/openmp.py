"""OpenMP: not used."""


def is_available() -> bool:
    """False: threads are Python's and numba's."""
    return False
