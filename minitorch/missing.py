"""Names of PyTorch that minitorch does not have: the AttributeError says so, and names the nearest thing."""

from __future__ import annotations

import difflib
import importlib
import sys
from collections.abc import Callable
from typing import Any

PUBLIC = (
    "",
    ".nn",
    ".nn.functional",
    ".nn.init",
    ".nn.utils",
    ".linalg",
    ".optim",
    ".optim.lr_scheduler",
    ".utils.data",
)

COMPLEX = "complex dtypes are out of scope; keep the real and the imaginary part in two tensors"
NOT_COMPILED = "there is no compiler: minitorch.compile returns its argument, and a function runs as it is written"
ADVICE = {
    "fft": COMPLEX, "stft": COMPLEX, "istft": COMPLEX, "complex": COMPLEX, "polar": COMPLEX, "real": COMPLEX,
    "imag": COMPLEX, "view_as_real": COMPLEX, "view_as_complex": COMPLEX,
    **dict.fromkeys(("complex32", "complex64", "complex128", "cfloat", "cdouble"), COMPLEX),
    **dict.fromkeys(("sparse", "sparse_coo_tensor", "sparse_csr_tensor", "to_sparse", "sparse_coo", "sparse_csr"),
                    "tensors are dense"),
    **dict.fromkeys(("quantization", "quantize_per_tensor", "qint8", "quint8", "ao"), "tensors are not quantized"),
    **dict.fromkeys(("onnx", "hub", "export", "fx", "package"),
                    "save the weights with minitorch.save(model.state_dict(), file)"),
    **dict.fromkeys(("share_memory", "share_memory_"),
                    "memory is not shared between processes: minitorch trains in one process, on one device"),
    **dict.fromkeys(("_dynamo", "_inductor"), NOT_COMPILED),
    "register_backward_hook": "use register_full_backward_hook, which sees all gradients",
}  # fmt: skip


def nearest(name: str, home: Any) -> str:
    """Where the name is offered, or names like it: 'minitorch.linalg.inv'. '' when nothing is near."""
    own = {n for n in dir(home) if not n.startswith("_")}
    close = difflib.get_close_matches(name, own, n=3, cutoff=0.75)
    elsewhere = []
    for part in PUBLIC:
        module = sys.modules.get("minitorch" + part)
        if module is not None and module is not home and name in vars(module):
            elsewhere.append(f"minitorch{part}.{name}")
    tensor = getattr(sys.modules["minitorch"], "Tensor", None)
    if tensor is not None and tensor is not home and name in vars(tensor):
        elsewhere.append(f"the method Tensor.{name}")
    return ", ".join(elsewhere[:2] or ([] if name in ADVICE else close))


def explain(name: str, home: Any, where: str) -> str:
    """The whole message for a name that `home`, called `where`, lacks."""
    near, advice = nearest(name, home), ADVICE.get(name, "")
    message = f"{where} has no {name!r}"
    if near:
        message += f"; the nearest is {near}" if ", " not in near else f"; the nearest are {near}"
    return message + (f" ({advice})" if advice else "")


class Message:
    """`explain(...)`, put into words only when somebody reads it: `hasattr` does not."""

    def __init__(self, *what: Any):
        self.what = what

    def __str__(self) -> str:
        return explain(*self.what)

    __repr__ = __str__


def names(module_name: str, lazy: tuple = ()) -> Callable[[str], Any]:
    """A module's `__getattr__`: imports the submodules in `lazy` when they are asked for, and explains what is missing."""

    def __getattr__(name: str) -> Any:
        if name in lazy:
            return importlib.import_module(f"{module_name}.{name}")
        if name.startswith("__"):
            raise AttributeError(f"module {module_name!r} has no attribute {name!r}")
        module = sys.modules[module_name]
        raise AttributeError(Message(name, module, module_name), name=name, obj=module)

    return __getattr__
