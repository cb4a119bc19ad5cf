"""Intel's MKL: not used."""


def is_available() -> bool:
    """False: products are NumPy's."""
    return False
