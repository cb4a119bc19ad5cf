"""`minitorch.version.cuda`: there is no CUDA version to report, CuPy brings its own (`minitorch.cuda` asks it)."""

from typing import Any

cuda: Any = None
hip: Any = None
debug = False
