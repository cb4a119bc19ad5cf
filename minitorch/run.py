"""Runs a program written for PyTorch on minitorch:

    python -m minitorch.run SCRIPT [ARGS]            python -m minitorch.run -m MODULE [ARGS]

`import torch` and `import torchvision` give minitorch's own modules under those names, whether PyTorch is installed or
not: one Tensor class, the same objects. Processes that the program starts inherit it, through PYTHONPATH. What
minitorch does not have raises an error that names it, and the nearest thing.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.abc
import importlib.machinery
import os
import runpy
import sys
import types
from pathlib import Path
from typing import Any

TORCH = "2.13.0"  # the version of PyTorch whose names and behaviour are offered
COMPAT = str(Path(__file__).parent / "compat")  # holds `torch` and `torchvision` for the processes of a program

# PyTorch's name -> minitorch's, longest first. A folder of PyTorch's that is one file here, and the other way round.
RENAMED = {
    "torch.utils.data._utils": "minitorch.utils.data",
    "torch.utils.hooks": "minitorch.nn.hooks",
    "torch.nn.common_types": "minitorch.types",
    "torch.multiprocessing": "multiprocessing",
    "torch.optim.adamw": "minitorch.optim.adam",
    "torch.autograd.variable": "minitorch.autograd",
    "torch.functional": "minitorch",
    "torchvision": "minitorch.vision",
    "torch": "minitorch",
}

# Programs import these at their top and use them late, if at all: the module is there and empty, its names are explained.
EMPTY = ("torch.hub", "torch.onnx", "torch.quantization", "torch.utils.model_zoo")

# dtypes that no tensor has here, with their bytes: they stand in programs' tables
DTYPES = {"complex32": 4, "complex64": 8, "complex128": 16, "float8_e4m3fn": 1, "float8_e4m3fnuz": 1, "float8_e5m2": 1,
          "float8_e5m2fnuz": 1, "uint16": 2, "uint32": 4, "uint64": 8}  # fmt: skip


def own_name(name: str) -> str | None:
    """minitorch's name of one of PyTorch's modules; None for anything else."""
    if name.startswith("torch.nn.modules."):  # its files are cut differently: every class is in nn
        return "minitorch.nn"
    for theirs, ours in RENAMED.items():
        if name == theirs or name.startswith(theirs + "."):
            return ours + name[len(theirs) :]
    return None


def _empty(name: str) -> types.ModuleType:
    """A module of which every name is missing, and says so."""
    from .missing import names

    module = types.ModuleType(name)
    module.__spec__, module.__loader__ = importlib.machinery.ModuleSpec(name, None), None
    vars(module)["__getattr__"] = names(name)
    sys.modules[name] = module
    return module


class Answer(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds `torch.anything`: loads minitorch's module, and gives that very object."""

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> importlib.machinery.ModuleSpec | None:
        ours = own_name(fullname)
        if ours is None:
            return None
        module: types.ModuleType | None
        try:
            module = importlib.import_module(ours)
        except ModuleNotFoundError as error:
            if error.name is None or not (ours + ".").startswith(error.name + "."):
                raise  # minitorch's module is there, something that it needs is not
            module = _empty(ours) if fullname in EMPTY else None
        spec = importlib.machinery.ModuleSpec(fullname, self, is_package=hasattr(module, "__path__"))
        spec.loader_state = module
        if module is None and not fullname.startswith(("torch.", "torchvision.")):
            return None
        return spec

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> types.ModuleType:
        module = spec.loader_state
        if module is None:
            from .missing import explain

            parent, _, name = spec.name.rpartition(".")
            home = sys.modules.get(own_name(parent) or "minitorch")
            raise ModuleNotFoundError(explain(name, home, own_name(parent) or parent), name=spec.name)
        self.own = module.__spec__, module.__loader__  # the import system is about to write its own on the module
        return module

    def exec_module(self, module: types.ModuleType) -> None:
        module.__spec__, module.__loader__ = self.own


class _Modules(types.ModuleType):
    """torch.nn.modules, also where a program only names it: torch.nn.modules.sparse.Embedding. See own_name."""

    FILES = (
        "adaptive", "channelshuffle", "fold", "instancenorm", "lazy", "pixelshuffle", "sparse", "utils"
    )  # fmt: skip

    def __getattr__(self, name: str) -> Any:
        from . import nn

        found = nn if name in self.FILES else getattr(nn, name)
        return nn if isinstance(found, types.ModuleType) else found


def answer_torch() -> None:
    """From here on `import torch` and `import torchvision` give minitorch, in this process and in those it starts."""
    if any(isinstance(finder, Answer) for finder in sys.meta_path):
        return
    import minitorch

    from .backend import dtypes
    from .nn import bases

    for name in [n for n in sys.modules if n.partition(".")[0] in ("torch", "torchvision")]:
        del sys.modules[name]
    sys.meta_path.insert(0, Answer())
    minitorch.__version__ = f"{TORCH}+minitorch.{minitorch.__version__}"  # programs ask for PyTorch's version
    dtypes.NAMESPACE = "torch"  # dtypes and sizes print as PyTorch's
    sys.modules["torch"] = minitorch
    for name, size in DTYPES.items():
        setattr(minitorch, name, dtypes.absent(name, size))
    minitorch.cfloat, minitorch.cdouble = minitorch.complex64, minitorch.complex128
    minitorch.nn.modules = sys.modules["minitorch.nn.modules"] = _Modules("minitorch.nn.modules")
    minitorch.nn.modules.__path__ = []  # a package
    for name in bases.__all__:
        setattr(minitorch.nn, name, getattr(bases, name))
    sys.path.insert(1, COMPAT)  # multiprocessing hands sys.path on
    paths = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    if COMPAT not in paths:
        root = str(Path(__file__).parents[1])  # a checkout that is not installed stays importable
        os.environ["PYTHONPATH"] = os.pathsep.join([COMPAT, *filter(None, paths), root])


def _hint(error: BaseException) -> str:
    """What `from torch import name` leaves out of its message."""
    if isinstance(error, ImportError) and not isinstance(error, ModuleNotFoundError) and error.name:
        ours = own_name(error.name) or error.name
        name = getattr(error, "name_from", None)  # Python 3.12
        name = name or error.msg.split("'")[1] if "'" in error.msg else name
        if ours.partition(".")[0] == "minitorch" and name and ours in sys.modules:
            from .missing import explain

            return explain(name, sys.modules[ours], ours)
    return ""


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m minitorch.run",
        description="Run a program written for PyTorch on minitorch: `import torch` gives minitorch.",
        epilog="What differs from PyTorch stands in docs/differences.md.",
    )
    parser.add_argument("-m", dest="module", metavar="MODULE", help="run a module by its name, like python -m")
    parser.add_argument(
        "program", nargs=argparse.REMAINDER, metavar="SCRIPT [ARGS]", help="the script and its arguments"
    )
    options = parser.parse_args(arguments)
    if not options.module and not options.program:
        parser.error("which program? Give a script: python -m minitorch.run train.py --epochs 1")

    if options.module:
        script, rest = None, options.program
    else:
        script, *rest = options.program
        if not os.path.isfile(script):
            parser.error(f"cannot open {script!r}: there is no such file")
    answer_torch()
    try:
        if script is None:
            sys.argv = [options.module, *rest]
            sys.path[0] = os.getcwd()
            runpy.run_module(options.module, run_name="__main__", alter_sys=True)
        else:
            sys.argv = [script, *rest]
            sys.path[0] = os.path.dirname(os.path.abspath(script))
            # a module of its own, as `python SCRIPT` makes one: processes that the program spawns read its file again
            program = types.ModuleType("__main__")
            program.__file__ = script
            program.__dict__["__builtins__"] = __builtins__
            sys.modules["__main__"] = program
            with open(script, "rb") as file:
                code = compile(file.read(), script, "exec")
            exec(code, program.__dict__)
    except Exception as error:
        # the traceback from the program's first line on, without this file's own
        trace = error.__traceback__
        while (
            trace
            and trace.tb_next
            and trace.tb_frame.f_code.co_filename in (__file__, runpy.__file__, "<frozen runpy>")
        ):
            trace = trace.tb_next
        sys.excepthook(type(error), error.with_traceback(trace), trace)
        hint = _hint(error)
        if hint:
            print(hint, file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    # under its own name, so that there is one copy of this module
    importlib.import_module("minitorch.run").main()
