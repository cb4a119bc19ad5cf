"""A model file of minitorch's, loaded with PyTorch in minitorch's place: the same code is then its own oracle."""

from __future__ import annotations

import importlib
import sys
import types
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SHARED = "models/pretrained.py"  # what the other model files import


def load_under_torch(path: str) -> types.ModuleType:
    """The module at `path` (for instance "models/bert.py"), its `import minitorch` answered by torch."""
    import torch

    answers = {"minitorch": torch, "minitorch.nn": torch.nn, "minitorch.nn.functional": torch.nn.functional}
    if path.startswith("models/") and path != SHARED:
        answers["minitorch.models.pretrained"] = load_under_torch(SHARED)
    before = {name: sys.modules.get(name) for name in answers}
    name = "under_torch_" + Path(path).stem
    spec = importlib.util.spec_from_file_location(name, ROOT / path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look themselves up
    sys.modules.update(answers)
    try:
        spec.loader.exec_module(module)
    finally:
        for key, value in before.items():
            if value is None:
                del sys.modules[key]
            else:
                sys.modules[key] = value
    return module
