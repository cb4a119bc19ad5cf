"""Apple's GPUs: not used."""


def is_available() -> bool:
    """False: arrays are NumPy's or CuPy's."""
    return False


def is_built() -> bool:
    """False, as `is_available`."""
    return False
