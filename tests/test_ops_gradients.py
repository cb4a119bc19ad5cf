"""Gradients of the first and second order against central differences, in float64, over the whole op table.

With f the operation, c a random cotangent and u a random direction:
    first   <grad_x <c, f(x)>, v>        against the change of <c, f(x)> as x moves along v
    second  <grad_(x,c) <g(x,c), u>, w>  against the change of <g(x,c), u> as (x, c) move along w,   g = grad_x <c, f(x)>
Never a cotangent of ones: with one many wrong formulas pass. The directions v and w are random in every element, so an
error anywhere shows; a failure is then repeated input by input, to say whose gradient it is.
"""

import numpy as np
import pytest

from tests.cases import CASES
from tests.cases.harness import Library, describe, evaluate, leaves, noise, substitute
from tests.cases.table import Case, Sample

STEP = 4e-4


def slope(value, h=STEP):
    """value'(0) by the four-point rule, whose error is of order h^4."""
    return (8.0 * (value(h) - value(-h)) - (value(2 * h) - value(-2 * h))) / (12.0 * h)


def inner(left, right) -> float:
    return float(sum((a * b).sum() for a, b in zip(left, right, strict=True)))


def agree(exact: float, numeric: float, scale: float) -> bool:
    return abs(exact - numeric) <= 2e-8 * max(1.0, scale)


def check(lib: Library, case: Case, sample: Sample, order: int, what: str) -> None:
    inputs = leaves(sample)
    plain = evaluate(lib, case, sample, order=1)
    if not plain.differentiable:
        return
    targets = floating_outputs(lib, case, sample)
    cotangents = noise([plain.outputs[i] for i in targets], seed=0)
    analytic = evaluate(lib, case, sample, order=order, cotangents=cotangents)

    def value(arrays):
        outputs = evaluate(lib, case, substitute(sample, arrays)).outputs
        return inner(cotangents, [outputs[i] for i in targets])

    def compare(gradients, variables, function, label):
        rng = np.random.default_rng(2)
        directions = [rng.uniform(0.5, 1.0, v.shape) * rng.choice([-1.0, 1.0], v.shape) for v in variables]

        def along(some):
            exact = inner([gradients[i] for i in some], [directions[i] for i in some])
            numeric = slope(lambda h: function([v + h * directions[i] if i in some else v for i, v in enumerate(variables)]))
            return exact, numeric, inner([np.abs(gradients[i]) for i in some], [np.abs(directions[i]) for i in some])

        everything = range(len(variables))
        if not agree(*along(everything)):
            wrong = [f"{i}: {e} against {n} by differences" for i in everything for e, n, s in [along([i])] if not agree(e, n, s)]
            raise AssertionError(f"{what}: {label} gradient with respect to variable " + "; ".join(wrong or ["? (in sum only)"]))

    compare(analytic.first, inputs, value, "first")
    if order > 1:
        probes = noise(inputs, seed=1)

        def first(variables):
            moved = substitute(sample, variables[: len(inputs)])
            return inner(probes, evaluate(lib, case, moved, order=1, cotangents=variables[len(inputs) :]).first)

        if analytic.second:
            compare(analytic.second, inputs + cotangents, first, "second")


def floating_outputs(lib: Library, case: Case, sample: Sample) -> list[int]:
    from tests.cases.harness import call, flatten

    value, _ = call(lib, case, sample, requires_grad=True)
    return [i for i, output in enumerate(flatten(value)) if lib.is_tensor(output) and output.requires_grad]


@pytest.mark.parametrize("case", [case for case in CASES if case.gradient], ids=lambda case: case.name)
def test_gradients_equal_differences(case):
    lib = Library()
    checked = 0
    for index, sample in enumerate(case.samples()):
        if sample.smooth and leaves(sample) and all(array.dtype == np.float64 for array in leaves(sample)):
            check(lib, case, sample, 2 if case.second else 1, describe(case, index, sample))
            checked += 1
    assert checked, f"{case.name} has no sample where differences can be taken"
