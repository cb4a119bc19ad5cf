"""The sources of ops/ keep to what lets one backward formula serve NumPy, CuPy and the tape.

A backward uses array functions from a closed list, changes nothing in place, and calls other ops by `self.run`; neither
pass names NumPy or asks which device it is on. Layers that may not know each other do not import each other.
"""

import ast
from functools import cache
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "minitorch"
OPS = sorted((PACKAGE / "ops").glob("*.py"))

# What a backward may call on `self.xp`, and as a method of an array. traced.py knows each; a longer list is a decision.
FUNCTIONS = set(
    """
    exp log log1p expm1 sqrt square sin cos tan sinh cosh tanh abs sign reciprocal negative add subtract multiply divide
    power matmul maximum minimum where sum mean cumsum flip reshape transpose swapaxes moveaxis expand_dims squeeze
    broadcast_to concatenate stack take_along_axis triu tril
    """.split()
)
CONSTANT = set(
    """
    zeros ones full arange eye zeros_like ones_like isnan isinf isfinite argmax argmin float32 float64 asarray finfo
    iinfo inf nan pi __name__
    """.split()
)
METHODS = set("sum mean reshape transpose swapaxes astype".split())
ARRAY_METHODS = set(
    """
    all any argmax argmin argsort choose clip compress copy cumprod cumsum diagonal dot fill flatten get item max min
    nonzero partition prod ptp put ravel repeat resize round searchsorted sort squeeze std take tobytes tolist trace var
    view
    """.split()
)


@cache
def tree(path):
    return ast.parse(path.read_text())


def passes(*names):
    """(file, class, method) of every method of that name in ops/."""
    for path in OPS:
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.ClassDef):
                for item in node.body:
                    if isinstance(item, ast.FunctionDef) and item.name in names:
                        yield path, node, item


def where(path, item, node):
    return f"{path.name}:{node.lineno} in {item.name}"


def assignments(function):
    """(name, value) of every assignment inside a function, those of tuples one by one."""
    for node in ast.walk(function):
        if isinstance(node, ast.Assign):
            pairs = [(target, node.value) for target in node.targets]
            for target, value in pairs:
                if isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple):
                    pairs += list(zip(target.elts, value.elts, strict=False))
                elif isinstance(target, ast.Name):
                    yield target.id, value


def aliases(function):
    """Names that stand for self.xp inside a function: `xp = self.xp`."""
    return {name for name, value in assignments(function) if is_self_xp(value)}


def is_plain(value):
    """A Python number, list or dictionary, as opposed to an array: [], 0, [slice(None)] * n."""
    if isinstance(value, ast.BinOp):
        return isinstance(value.left, ast.List)
    return isinstance(value, (ast.List, ast.ListComp, ast.Dict, ast.Constant))


def is_self_xp(node):
    return (
        isinstance(node, ast.Attribute)
        and node.attr == "xp"
        and isinstance(node.value, ast.Name)
        and node.value.id == "self"
    )


@cache
def helpers_of(path):
    """The functions of a file, by name: those that a backward calls are under the same rules."""
    return {node.name: node for node in tree(path).body if isinstance(node, ast.FunctionDef)}


def backwards_and_their_helpers():
    for path, cls, item in passes("backward"):
        yield path, cls, item
    for path, cls, item in list(passes("backward")):
        helpers = helpers_of(path)
        for node in ast.walk(item):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in helpers:
                yield path, cls, helpers[node.func.id]


def test_there_is_something_to_read():
    assert len(OPS) > 5 and len(list(passes("backward"))) > 40


def test_backward_uses_the_closed_list_of_functions():
    for path, _, item in backwards_and_their_helpers():
        names = aliases(item) | {"xp"}
        for node in ast.walk(item):
            if isinstance(node, ast.Attribute) and (
                is_self_xp(node.value) or (isinstance(node.value, ast.Name) and node.value.id in names)
            ):
                assert node.attr in FUNCTIONS | CONSTANT, (
                    f"{where(path, item, node)}: xp.{node.attr} is not on the list"
                )


def test_backward_uses_the_closed_list_of_methods():
    for path, _, item in backwards_and_their_helpers():
        names = aliases(item) | {"xp"}
        for node in ast.walk(item):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                owner = node.func.value
                if is_self_xp(owner) or (
                    isinstance(owner, ast.Name) and owner.id in names | {"self", "math", "operator"}
                ):
                    continue
                assert node.func.attr not in ARRAY_METHODS, (
                    f"{where(path, item, node)}: .{node.func.attr}() is not on the list"
                )


def test_backward_changes_nothing_in_place():
    for path, cls, item in backwards_and_their_helpers():
        if cls.name == "WriteView" or item.name == "_zeroed":
            continue  # they write zeros into an array of ones of their own: a constant
        plain = {name for name, value in assignments(item) if is_plain(value)}
        for node in ast.walk(item):
            if isinstance(node, ast.AugAssign):
                name = node.target.id if isinstance(node.target, ast.Name) else None
                assert name in plain, f"{where(path, item, node)}: an in-place operator"
            if isinstance(node, ast.Assign):
                for target in node.targets:
                    if isinstance(target, ast.Subscript):
                        owner = target.value.id if isinstance(target.value, ast.Name) else None
                        assert owner in plain, f"{where(path, item, node)}: assignment to a part of an array"
            if isinstance(node, ast.Call) and ast.unparse(node.func) != "self.run":  # whose options are the op's own
                assert all(k.arg != "out" for k in node.keywords), (
                    f"{where(path, item, node)}: out= writes into an array"
                )


def test_passes_do_not_name_numpy():
    """Dtypes and iinfo are NumPy's under every library; functions must come from self.xp."""
    harmless = {
        "dtype",
        "iinfo",
        "finfo",
        "float32",
        "float64",
        "int64",
        "int32",
        "bool_",
        "uint8",
        "float16",
        "intp",
        "ndarray",
        "integer",
    }
    for path, _, item in passes("forward", "backward", "reference_saved"):
        for node in ast.walk(item):
            if (
                isinstance(node, ast.Attribute)
                and isinstance(node.value, ast.Name)
                and node.value.id in ("np", "numpy", "cupy", "cp")
            ):
                assert node.attr in harmless, (
                    f"{where(path, item, node)}: {node.value.id}.{node.attr} where self.xp.{node.attr} is meant"
                )
            assert not isinstance(node, (ast.Import, ast.ImportFrom)) or "numpy" not in ast.dump(node), where(
                path, item, node
            )


EXCEPTIONS = ("ops/random.py", "ops/special.py", "nn/container.py")


@pytest.mark.parametrize("room", ["ops", "nn", "models", "optim"])
def test_no_branches_on_the_device(room):
    """But for random numbers (a stream a device), erf (which CuPy keeps elsewhere), and text that names a device."""
    root = PACKAGE.parent / "models" if room == "models" else PACKAGE / room
    for path in sorted(root.rglob("*.py")):
        for node in ast.walk(tree(path)):
            if isinstance(node, (ast.If, ast.IfExp)) and f"{room}/{path.name}" not in EXCEPTIONS:
                names = {n.attr for n in ast.walk(node.test) if isinstance(n, ast.Attribute)} | {
                    n.id for n in ast.walk(node.test) if isinstance(n, ast.Name)
                }
                strings = {
                    n.value for n in ast.walk(node.test) if isinstance(n, ast.Constant) and isinstance(n.value, str)
                }
                assert not names & {"is_cuda", "cupy"} and not strings & {"cuda", "cupy", "numpy", "guard"}, (
                    f"{path.name}:{node.lineno}: asks which device it is on"
                )


def imports(path):
    """The absolute names that a file of the package imports, wherever in the file."""
    parts = ("minitorch", *path.relative_to(PACKAGE).with_suffix("").parts)
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(parts[: len(parts) - node.level]) if node.level else ""
            module = ".".join(part for part in (base, node.module or "") if part)
            yield module
            yield from (f"{module}.{alias.name}" for alias in node.names)


FORBIDDEN = [
    ("ops", ("minitorch.nn", "minitorch.optim", "minitorch.kernels", "minitorch.models")),
    ("autograd", ("minitorch.nn", "minitorch.optim", "minitorch.kernels")),
    ("nn", ("minitorch.kernels", "minitorch.models", "minitorch.optim")),
    ("optim", ("minitorch.models",)),
    (".", ("torch", "cupy", "numba")),
]


@pytest.mark.parametrize(("room", "names"), FORBIDDEN, ids=[room for room, _ in FORBIDDEN])
def test_layers_do_not_import_upwards(room, names):
    for path in sorted((PACKAGE / room).rglob("*.py")):
        if room == "." and ("kernels" in path.parts or path.name in ("devices.py", "doctor.py", "run.py")):
            continue  # the only ones who may know CuPy, numba and PyTorch
        for module in imports(path):
            for name in names:
                assert module != name and not module.startswith(name + "."), (
                    f"{path.relative_to(PACKAGE.parent)} imports {module}"
                )


def test_models_build_on_the_public_api():
    for path in sorted((PACKAGE.parent / "models").glob("*.py")):
        for node in ast.walk(tree(path)):
            if isinstance(node, (ast.Import, ast.ImportFrom)):
                module = node.module or "" if isinstance(node, ast.ImportFrom) else node.names[0].name
                for inner in (
                    "minitorch.ops",
                    "minitorch.backend",
                    "minitorch.kernels",
                    "minitorch.tensor",
                    "minitorch.autograd.engine",
                    "numpy",
                    "cupy",
                ):
                    assert not module.startswith(inner), f"{path.name}:{node.lineno} imports {module}"


def test_an_op_with_two_passes_says_what_it_computes():
    """Forward and backward stand side by side under a docstring with the equation."""
    for path, cls, _ in passes("backward"):
        if any(isinstance(n, ast.FunctionDef) and n.name == "forward" for n in cls.body):
            assert ast.get_docstring(cls), f"{path.name}:{cls.lineno}: {cls.name} has no docstring"
