"""Gradients of the first and second order against central differences, in float64, over the whole op table.

With f the operation, c a random cotangent and u a random direction:
    first   <grad_x <c, f(x)>, v>        against the change of <c, f(x)> as x moves along v
    second  <grad_(x,c) <g(x,c), u>, w>  against the change of <g(x,c), u> as (x, c) move along w,  g = grad_x <c, f(x)>
Never a cotangent of ones: with one many wrong formulas pass. The directions v and w are random in every element, so an
error anywhere shows; a failure is then repeated input by input, to say whose gradient it is.
"""

import numpy as np
import pytest

from tests.cases import CASES
from tests.cases.harness import (
    Library,
    describe,
    evaluate,
    is_float,
    leaves,
    noise,
    order_of,
    rebuild,
    same,
    substitute,
)
from tests.cases.table import Case, Sample, const

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
            numeric = slope(
                lambda h: function([v + h * directions[i] if i in some else v for i, v in enumerate(variables)])
            )
            return exact, numeric, inner([np.abs(gradients[i]) for i in some], [np.abs(directions[i]) for i in some])

        everything = range(len(variables))
        if not agree(*along(everything)):
            wrong = [
                f"{i}: {e} against {n} by differences"
                for i in everything
                for e, n, s in [along([i])]
                if not agree(e, n, s)
            ]
            raise AssertionError(
                f"{what}: {label} gradient with respect to variable " + "; ".join(wrong or ["? (in sum only)"])
            )

    compare(analytic.first, inputs, value, "first")
    for k, label, probed in ((2, "second", inputs), (3, "third", inputs + cotangents)):
        if k > order:
            break
        probes = noise(probed, seed=k - 1)

        def lower(variables, k=k, probes=probes):
            moved = substitute(sample, variables[: len(inputs)])
            below = evaluate(lib, case, moved, order=k - 1, cotangents=variables[len(inputs) :])
            return inner(probes, below.first if k == 2 else below.second)

        compare(getattr(analytic, label), inputs + cotangents, lower, label)


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
            check(lib, case, sample, order_of(case, sample), describe(case, index, sample))
            checked += 1
    assert checked or case.result is None, f"{case.name} has no sample where differences can be taken"


@pytest.mark.parametrize("case", [case for case in CASES if case.gradient], ids=lambda case: case.name)
def test_one_input_at_a_time(case):
    """An op may skip, and not even save, what nobody wants: each gradient alone equals the one in company."""
    for index, sample in enumerate(case.samples()):
        inputs = leaves(sample)
        if len(inputs) < 2 or sample.large or not order_of(case, sample):
            continue
        what = describe(case, index, sample)
        outputs = evaluate(Library(), case, sample).outputs
        cotangents = dict(
            zip(
                (i for i, y in enumerate(outputs) if is_float(y)),
                noise([y for y in outputs if is_float(y)], 0),
                strict=True,
            )
        )

        def run(some, order, cotangents=cotangents):
            targets = floating_outputs(Library(), case, some)
            return evaluate(Library(), case, some, order, [cotangents[i] for i in targets])

        together = run(sample, 1)
        for i, wanted in enumerate(inputs):
            alone = rebuild(
                sample, lambda array, wanted=wanted: array if array is wanted else const(array), constants=False
            )
            for order in {1, order_of(case, sample)}:
                result = run(alone, order)
                same(result.first[0], together.first[i], f"{what}: the gradient of input {i} alone", tol=0.1)


def padded_embedding(m, x):
    return m.nn.functional.embedding(m.tensor([0, 1, 1]), x.reshape(2, 1), padding_idx=0)


def ignoring_cross_entropy(m, x):
    return m.nn.functional.cross_entropy(x.reshape(1, 2), m.tensor([-100]))


def certain_cross_entropy(m, x):
    return m.nn.functional.binary_cross_entropy(x, m.tensor([1.0, 0.0, 0.0], dtype=x.dtype), reduction="sum")


CONVENTIONS = [  # at a point without a derivative: which value is the gradient, given dy = 1
    ("abs", lambda m, x: x.abs(), [0.0, -2.0], [0.0, -1.0]),
    ("relu", lambda m, x: x.relu(), [0.0, 1.0], [0.0, 1.0]),
    ("leaky_relu", lambda m, x: m.nn.functional.leaky_relu(x, 0.5), [0.0], [0.5]),
    ("sign", lambda m, x: x.sign(), [0.0], [0.0]),
    ("clamp at its bounds", lambda m, x: x.clamp(-1, 1), [-1.0, 1.0, 1.5], [1.0, 1.0, 0.0]),
    ("hardtanh at its bounds", lambda m, x: m.nn.functional.hardtanh(x), [-1.0, 1.0, 0.5], [0.0, 0.0, 1.0]),
    ("hardsigmoid at its corners", lambda m, x: m.nn.functional.hardsigmoid(x), [-3.0, 3.0, 4.0], [0.0, 0.0, 0.0]),
    ("maximum of equals", lambda m, x: m.maximum(x, m.ones_like(x)), [1.0, 2.0, 0.0], [0.5, 1.0, 0.0]),
    ("minimum of equals", lambda m, x: m.minimum(x, m.ones_like(x)), [1.0, 2.0, 0.0], [0.5, 0.0, 1.0]),
    ("amax: ties share", lambda m, x: x.amax(), [3.0, 1.0, 3.0], [0.5, 0.0, 0.5]),
    ("amin: ties share", lambda m, x: x.amin(0), [3.0, 1.0, 1.0, 1.0], [0.0, 1 / 3, 1 / 3, 1 / 3]),
    ("max of all: ties share", lambda m, x: x.max(), [3.0, 3.0, 3.0], [1 / 3, 1 / 3, 1 / 3]),
    ("max along an axis: the first", lambda m, x: x.max(0)[0], [3.0, 1.0, 3.0], [1.0, 0.0, 0.0]),
    ("norm at 0", lambda m, x: x.norm(), [0.0, 0.0], [0.0, 0.0]),
    ("norm of order 3 at 0", lambda m, x: x.norm(3), [0.0, 0.0], [0.0, 0.0]),
    ("std of equals", lambda m, x: x.std(), [2.0, 2.0], [0.0, 0.0]),
    ("x ** 0", lambda m, x: x**0, [0.0, 2.0], [0.0, 0.0]),
    ("x ** 2 at 0", lambda m, x: x**2, [0.0], [0.0]),
    ("x ** (tensor of 0)", lambda m, x: x ** m.zeros_like(x), [0.0, 2.0], [0.0, 0.0]),
    ("0 ** x", lambda m, x: m.zeros_like(x) ** x, [2.0, 0.0], [0.0, 0.0]),
    ("sqrt at 0", lambda m, x: x.sqrt(), [0.0], [np.inf]),
    ("xlogy(0, x)", lambda m, x: m.xlogy(m.zeros_like(x), x), [0.0, 2.0], [np.nan, 0.0]),
    ("xlogy(x, 1/2) at 0", lambda m, x: m.xlogy(x, m.ones_like(x) / 2), [0.0], [np.log(0.5)]),
    ("xlogy(x, 0) at 0", lambda m, x: m.xlogy(x, m.zeros_like(x)), [0.0], [0.0]),
    ("atan2 at the origin", lambda m, x: m.atan2(x, m.zeros_like(x)), [0.0], [0.0]),
    ("prod with a zero", lambda m, x: x.prod(), [0.0, 2.0, 3.0], [6.0, 0.0, 0.0]),
    ("prod with two zeros", lambda m, x: x.prod(), [0.0, 0.0, 3.0], [0.0, 0.0, 0.0]),
    ("cumprod with a zero", lambda m, x: x.cumprod(0).sum(), [2.0, 0.0, 3.0], [1.0, 8.0, 0.0]),
    ("logsumexp of -inf", lambda m, x: x.logsumexp(0), [-np.inf, 0.0], [0.0, 1.0]),
    ("logsumexp of nothing but -inf", lambda m, x: x.logsumexp(0), [-np.inf, -np.inf], [0.0, 0.0]),
    ("logcumsumexp of nothing but -inf", lambda m, x: x.logcumsumexp(0), [-np.inf, -np.inf], [0.0, 0.0]),
    ("softmax with -inf", lambda m, x: x.softmax(0)[1], [-np.inf, 0.0, 0.0], [0.0, 0.25, -0.25]),
    ("a change of dtype", lambda m, x: (x.double() * 3).float() * 2, [1.0], [6.0]),
    ("embedding's padding row", padded_embedding, [5.0, 7.0], [0.0, 2.0]),
    ("binary cross-entropy at 0 and 1", certain_cross_entropy, [0.0, 1.0, 0.0], [-1e12, 1e12, 0.0]),
    ("cross-entropy, every target ignored", ignoring_cross_entropy, [1.0, 2.0], [0.0, 0.0]),
]  # fmt: skip


@pytest.mark.parametrize(
    ("function", "at", "expected"), [row[1:] for row in CONVENTIONS], ids=[row[0] for row in CONVENTIONS]
)
def test_conventions_where_there_is_no_derivative(function, at, expected):
    """PyTorch's choices, written out; the parity tests hold PyTorch to them."""
    check_convention(Library(), function, at, expected)


@pytest.mark.parity
@pytest.mark.parametrize(
    ("function", "at", "expected"), [row[1:] for row in CONVENTIONS], ids=[row[0] for row in CONVENTIONS]
)
def test_conventions_are_pytorchs(function, at, expected, torch_library):
    if all(np.isneginf(at)):
        pytest.skip("PyTorch gives NaN, which would poison a masked row; minitorch gives 0")
    check_convention(torch_library, function, at, expected)


def check_convention(lib, function, at, expected):
    for dtype in (np.float32, np.float64):
        x = lib.tensor(np.array(at, dtype), requires_grad=True)
        y = function(lib.module, x)
        (g,) = lib.grad([y.sum()], [x], None)
        np.testing.assert_allclose(lib.array(g), np.array(expected, dtype), rtol=1e-6)


@pytest.mark.parametrize(
    "name",
    [
        "exp",
        "tanh",
        "mul",
        "div",
        "matmul",
        "softmax",
        "nn.functional.layer_norm",
        "nn.functional.gelu",
        "prod",
        "getitem",
        "std",
        "batch_norm",
        "nn.functional.conv1d",
        "nn.functional.conv_transpose2d",
        "nn.functional.avg_pool1d",
    ],
)
def test_third_order(name):
    (case,) = [case for case in CASES if case.name == name]
    for index, sample in enumerate(case.samples()[:6]):
        if sample.smooth:
            check(Library(), case, sample, 3, describe(case, index, sample))
