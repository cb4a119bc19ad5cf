"""The mutation testing itself (tests/mutants): known mutants are made and caught, the reviewed list is in order."""

import pytest

from tests.mutants import equivalents
from tests.mutants.generate import mutants, targets


@pytest.fixture(scope="module")
def functions():
    return {f"{target.family}.{target.name}": target for target in targets()}


KNOWN = [
    ("softmax.Softmax.backward", "return y * (dy + (dy * y).sum(axis, keepdims=True))"),  # another sign
    ("softmax.Softmax.backward", "return y * dy"),  # a term dropped
    ("softmax.Softmax.backward", "return y * (dy - dy.sum(axis, keepdims=True))"),  # a factor dropped
    ("softmax.Softmax.backward", "return y * (dy - (dy * y).sum(axis, keepdims=False))"),
    ("softmax.Softmax.backward", "return y * (dy - (dy * y).sum(-1, keepdims=True))"),  # another axis
    ("softmax.Softmax.backward", "axis, y = self.saved"),
    ("arithmetic.Mul.backward", "da = dy * b if self.needs[1] else None"),
    ("arithmetic.Div.backward", "da = b / dy"),
    ("arithmetic.Maximum.backward", "share = (a >= b) + 0.5 * (a == b)"),
    ("arithmetic.Maximum.backward", "share = (a > b) + 1.0 * (a == b)"),
    ("arithmetic.Where.forward", "return self.xp.where(condition, b, a)"),
    ("reduce.Amax.forward", "y = x.min(axis, keepdims=keepdims)"),
    ("linalg.Inv.backward", "return -self.xp.matmul(self.xp.matmul(y, dy), _t(y))"),  # a transpose dropped
    ("reduce._spread", "return dy"),
    ("_windows.output_size", "return (size + sum(padding) - dilation * (kernel - 1) - 1) // stride + 2"),
]


@pytest.mark.parametrize(("name", "after"), KNOWN)
def test_known_mutants_are_made(name, after, functions):
    assert after in {mutant.after for mutant in mutants(functions[name])}


def test_every_op_has_its_passes_among_the_targets(functions):
    from tests.mutants.generate import op_classes

    for op in op_classes():
        for method in {"forward", "backward"} & set(vars(op)):
            assert f"{op.__module__.rpartition('.')[2]}.{op.__name__}.{method}" in functions


def test_a_mutant_computes_something_else(functions):
    """In memory only, wherever the function is referred to."""
    import minitorch

    x = minitorch.tensor([1.0, 2.0], requires_grad=True)
    function = functions["reduce._spread"].function
    before = function.__code__, function.__defaults__, function.__kwdefaults__
    mutant = next(m for m in mutants(functions["reduce._spread"]) if m.after == "return dy")
    try:
        mutant.apply()
        with pytest.raises(RuntimeError):
            x.sum().backward()
    finally:
        function.__code__, function.__defaults__, function.__kwdefaults__ = before
    x.sum().backward()
    assert x.grad.tolist() == [1.0, 1.0]


def test_the_reviewed_list_has_no_stale_entries():
    """An entry whose code has changed must be read again: `make mutants` says whether the new form is caught."""
    assert not equivalents.stale(), "tests/mutants/equivalent.txt"


def test_every_reviewed_entry_has_a_reason():
    assert all(len(reason) > 20 for reason in equivalents.read().values())
