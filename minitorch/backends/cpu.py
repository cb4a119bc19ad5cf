"""The processor."""


def get_cpu_capability() -> str:
    """ "DEFAULT": NumPy and numba choose the processor's instructions by themselves."""
    return "DEFAULT"
