"""The tests that need a GPU: `make test-gpu`, or `python3 -m tests.gpu` from a bare checkout."""

import os

os.environ.setdefault("CUPY_NVRTC_USE_PCH", "1")  # CuPy's own kernels compile faster; it reads this when it is imported
