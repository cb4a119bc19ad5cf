"""docs/ops.md says what the code says, and the code says what it computes."""

import inspect

import pytest

from docs import make_ops

OPS = [op for family in make_ops.families() for op in make_ops.op_classes(family)]


def test_the_list_of_operations_is_up_to_date():
    assert make_ops.PAGE.read_text() == make_ops.page(), "docs/ops.md: run `make docs`"


@pytest.mark.parametrize("op", [op for op in OPS if "backward" in vars(op)], ids=lambda op: op.__name__)
def test_a_differentiable_op_states_its_gradient(op):
    assert make_ops.GRADIENT.search(inspect.cleandoc(vars(op)["__doc__"] or "")), (
        f"{op.__module__}.{op.__name__}: the docstring has no line `dx = ...`"
    )


def test_every_public_function_of_ops_is_on_the_page():
    page = make_ops.PAGE.read_text()
    for names in make_ops.public_names().values():
        assert all(f"`{name}`" in page for name in names), names
