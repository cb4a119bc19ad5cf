"""Every operation that minitorch offers, on every sample of PyTorch's own operator database (see oracle.py)."""

import time

import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed: `make test-parity` installs it")
pytest.importorskip("expecttest", reason="PyTorch's test database needs expecttest: `make test-parity` installs it")

import minitorch  # noqa: E402
from tests import oracle  # noqa: E402
from tests.oracle import REPORT, Call, Excluded, Outcome, names_in, seed_of, spread, translate_function  # noqa: E402

pytestmark = [pytest.mark.parity, pytest.mark.filterwarnings("ignore")]


def resolve(name):
    """minitorch's function of PyTorch's name, or None; a method where there is no function."""
    for owner in (minitorch, minitorch.Tensor):
        found = owner
        for part in name.split("."):
            found = getattr(found, part) if part in dir(found) else None
        if found is not None:
            return found.fget if isinstance(found, property) else found
    return None


def is_offered(op):
    """By its name, one of its aliases, or, where PyTorch's database tries only that, by its form in place."""
    in_place = op.name + "_" in names_in(getattr(op.op, "__code__", None)) and resolve(op.name + "_")
    return resolve(op.name) or in_place or any(resolve(alias.name) for alias in op.aliases)


def title(op):
    return op.name + (f"[{op.variant_test_name}]" if op.variant_test_name else "")


OFFERED = [op for op in oracle.op_db if is_offered(op)]
REPORT.offered["operations"] = len(OFFERED)

SECOND_ORDER = 8  # samples an operation, for second gradients, method, in-place form and aliases
OTHER_DTYPES = 8  # samples an operation and dtype
REFERENCES = 40  # reference samples an operation and dtype
LARGE = 100_000  # elements in a reference sample
ERRORS = 40  # inputs that must fail, an operation


def ours_of(op, function):
    """minitorch's counterpart of one form of an operation; None where it has none."""
    if function is None:
        return None
    translated = translate_function(function)
    unknown = translated is function and not is_operator(function)
    return None if unknown or isinstance(translated, property) else translated


def is_operator(function):
    return getattr(function, "__module__", "") == "_operator"


def samples(op, dtype, requires_grad=False, kind="sample_inputs"):
    oracle.seed_all(seed_of(op.name, op.variant_test_name, dtype))
    with oracle.quiet():
        try:
            return list(getattr(op, kind)("cpu", dtype, requires_grad=requires_grad))
        except ValueError:  # some lists mix in integers, and cannot be made with gradients
            if not requires_grad or kind == "sample_inputs":
                raise
            return list(getattr(op, kind)("cpu", dtype, requires_grad=False))


def arguments_of(sample):
    return (sample.input, *sample.args), sample.kwargs


def describe(sample):
    def show(value):
        if isinstance(value, torch.Tensor):
            layout = "" if value.layout is not torch.strided or value.is_contiguous() else f" strides {value.stride()}"
            return f"{str(value.dtype)[6:]}{list(value.shape)}{layout}"
        if isinstance(value, (tuple, list)):
            return ("({})" if isinstance(value, tuple) else "[{}]").format(", ".join(map(show, value)))
        return repr(value)

    parts = [show(a) for a in (sample.input, *sample.args)] + [f"{k}={show(v)}" for k, v in sample.kwargs.items()]
    return f"({', '.join(parts)})"


def is_random(op):
    return "wrapper_set_seed" in getattr(getattr(op.op, "__code__", None), "co_names", ())


def run(op, outcome):
    function = ours_of(op, op.op) or resolve(op.name)
    floats = [d for d in (torch.float64, torch.float32) if d in op.dtypes]
    empty = "empty" in op.name
    for dtype in floats:
        gradient = op.supports_autograd and dtype in op.backward_dtypes
        drawn = samples(op, dtype, gradient)
        second = {id(s) for s in spread(drawn, SECOND_ORDER)} if op.supports_gradgrad and dtype == floats[0] else ()
        for index, sample in enumerate(drawn):
            call = Call(op.op, function, sample.output_process_fn_grad, gradient * (2 if id(sample) in second else 1))
            call.shapes_only = empty
            check(outcome, op, call, sample, f"{dtype} sample {index}")
    if op.reference_inputs_func:
        for dtype in (*floats, torch.int64):
            if dtype in op.dtypes:
                references(op, outcome, function, dtype, empty)
    if floats:
        forms(op, outcome, floats[0], empty)
    for dtype in (*oracle.INTEGERS, *oracle.HALVES):
        if dtype in op.dtypes:
            for index, sample in enumerate(spread(samples(op, dtype), OTHER_DTYPES)):
                call = Call(op.op, function, sample.output_process_fn_grad, shapes_only=empty)
                check(outcome, op, call, sample, f"{dtype} sample {index}")
    if op.error_inputs_func:
        errors(op, outcome, function)


# PyTorch leaves open in which order equal elements come, and so which index is given for them.
OPEN_ORDER = ("sort", "argsort", "topk", "kthvalue", "msort", "mode")
# Numbers of PyTorch's that are less exact than float64 or float32 are elsewhere: the factor on the tolerance.
SLACK = {
    "nn.functional.hardsigmoid": 1e3,  # the slope 1/6 is a float32 in PyTorch, also for float64
    "nn.functional.celu": 1e3,  # 1/alpha too
    **dict.fromkeys(("lgamma", "digamma", "polygamma"), 1e4),  # its trigamma has 9 digits for small numbers
}


def references(op, outcome, function, dtype, empty):
    """PyTorch's second, larger list: extreme and large values, broadcasting, layouts, promotion."""
    gradient = op.supports_autograd and dtype in op.backward_dtypes and dtype.is_floating_point
    for index, sample in enumerate(spread(samples(op, dtype, gradient, "reference_inputs"), REFERENCES)):
        call = Call(op.op, function, sample.output_process_fn_grad, int(gradient), empty)
        check(outcome, op, call, sample, f"{dtype} reference sample {index}")


def elements(value):
    return sum(t.numel() for t in oracle.flatten(value) if isinstance(t, torch.Tensor))


def is_integer(value):
    return isinstance(value, torch.Tensor) and not value.dtype.is_floating_point


def at_a_pole(x):
    return isinstance(x, torch.Tensor) and bool(((x <= 0) & (x.double() == x.double().floor())).any())


def check(outcome, op, call, sample, what):
    def compare():
        if sample.kwargs.get("sparse") is True:
            raise Excluded("sparse gradients")
        smooth = "interpolate" in op.name and not op.variant_test_name.startswith("nearest")
        if (smooth or op.name.endswith("upsample_bilinear")) and is_integer(sample.input):
            raise Excluded("integer images, interpolated other than by the nearest (documented)")
        if op.name.startswith("__") and not isinstance(sample.input, torch.Tensor):
            raise Excluded("an operator's method, called by hand on a number")
        if "reference" in what and elements(arguments_of(sample)) > LARGE:
            raise Excluded(f"reference samples of more than {LARGE} elements, for the time that they take")
        if sample.kwargs.get("antialias"):
            raise Excluded("antialias=True (documented)")
        if "in place" in what and op.name in ("squeeze", "unsqueeze", "transpose", "t") and call.order:
            raise Excluded("shapes changed in place in a graph (documented)")
        if op.name in ("digamma", "lgamma", "polygamma") and at_a_pole(sample.input):
            raise Excluded("0 and the negative integers, where the gamma function has its poles (documented)")
        if sample.kwargs.get("hermitian") and "pinv" in op.name:
            raise Excluded("matrices called symmetric that are not, whose gradient is an accident")
        if op.name == "matrix_exp" and "float16" in what:
            raise Excluded("matrix_exp in half precision, which minitorch refuses, as other linear algebra")
        call.compare(arguments_of(sample))

    call.slack = SLACK.get(op.name, 1.0)
    if op.name in OPEN_ORDER and not sample.kwargs.get("stable"):
        call.ties = sample.input
    outcome.run(f"{what} {describe(sample)}", compare)


def forms(op, outcome, dtype, empty):
    """The method, the in-place form, the operators, the aliases."""
    drawn = samples(op, dtype, op.supports_autograd and dtype in op.backward_dtypes)
    wanted = [("method", op.method_variant, True), ("in place", op.inplace_variant, False)]
    wanted += [("operator", op.operator_variant, True), ("in-place operator", op.inplace_operator_variant, False)]
    for alias in op.aliases:
        wanted += [(f"alias {alias.name}", alias.op, True), (f"alias method {alias.name}", alias.method_variant, True)]
        wanted += [(f"alias {alias.name} in place", alias.inplace_variant, False)]
    for name, theirs, pure in wanted:
        if theirs is None:
            continue
        try:
            mine = ours_of(op, theirs)
        except Excluded:
            mine = None
        if mine is None:
            REPORT.missing.add(f"{op.name}: {name}")
            continue
        for index, sample in enumerate(spread([s for s in drawn if isinstance(s.input, torch.Tensor)], SECOND_ORDER)):
            call = Call(theirs, mine, sample.output_process_fn_grad, int(op.supports_autograd), empty)
            if not pure:
                call.theirs, call.ours, call.both_refuse = changed(theirs), changed(mine), True
                call.seeded = is_random(op)
            check(outcome, op, call, sample, f"{name}, sample {index}")


def changed(method):
    def on_a_copy(tensor, *args, **kwargs):
        tensor = tensor.clone()
        return method(tensor, *args, **kwargs), tensor

    return on_a_copy


def errors(op, outcome, function):
    """What PyTorch's database says to be an error is one here."""
    oracle.seed_all(seed_of(op.name))
    with oracle.quiet():
        found = list(op.error_inputs("cpu"))
    for index, error in enumerate(spread(found, ERRORS)):
        sample = error.sample_input

        def refused(sample=sample):
            if "out" in sample.kwargs:
                raise Excluded("out= arguments")
            if op.name.startswith("__") and not isinstance(sample.input, torch.Tensor):
                raise Excluded("an operator's method, called by hand on a number")
            call = Call(op.op, function, both_refuse=True)
            call.refuse(arguments_of(sample))

        outcome.run(f"error input {index} {describe(sample)}", refused)


@pytest.mark.parametrize("op", OFFERED, ids=title)
def test_operation(op):
    torch.set_num_threads(1)
    start = time.perf_counter()
    outcome = REPORT.outcomes["operations"][title(op)] = Outcome(title(op))
    run(op, outcome)
    outcome.seconds = time.perf_counter() - start
    if outcome.failures:
        shown = "\n".join(outcome.failures[:12])
        pytest.fail(f"{len(outcome.failures)} of {outcome.tried} samples differ:\n{shown}", pytrace=False)


def uncovered():
    """Functions of minitorch that PyTorch's database does not hold."""
    covered = {op.name for op in OFFERED} | {alias.name for op in OFFERED for alias in op.aliases}
    functions = {name for name in vars(minitorch) if name in minitorch.ops.PUBLIC and hasattr(torch, name)}
    functions |= {f"nn.functional.{name}" for name in minitorch.nn.functional.__all__}
    functions |= {f"linalg.{name}" for name in minitorch.linalg.__all__ if name[0].islower()}
    same = {id(resolve(name)) for name in covered}
    return sorted(name for name in functions - covered if id(resolve(name)) not in same)


def test_nearly_all_operations_pass():
    REPORT.uncovered["operations"] = uncovered()
    REPORT.nearly_all("operations")
