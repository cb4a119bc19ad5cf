"""Every layer that minitorch offers, on every sample of PyTorch's own module database (see oracle.py)."""

import time

import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed: `make test-parity` installs it")
pytest.importorskip("expecttest", reason="PyTorch's test database needs expecttest: `make test-parity` installs it")

import minitorch  # noqa: E402
from tests import oracle  # noqa: E402
from tests.oracle import REPORT, Arguments, Call, Mismatch, Outcome, seed_of  # noqa: E402

pytestmark = [pytest.mark.parity, pytest.mark.filterwarnings("ignore")]


def ours_of(info):
    name = info.module_cls.__name__
    return getattr(minitorch.nn, name) if name in dir(minitorch.nn) else None


OFFERED = [info for info in oracle.module_db if ours_of(info)]
REPORT.offered["layers"] = len(OFFERED)


def uncovered():
    """Layers of minitorch that PyTorch's database does not hold."""
    covered = {info.module_cls.__name__ for info in OFFERED}
    found = [n for n in dir(minitorch.nn) if isinstance(getattr(minitorch.nn, n), type) and n[0].isupper()]
    return sorted(set(found) - covered)


def layer(cls, arguments, dtype, seed):
    """A layer from the seed. Its arguments name a dtype and a device where its constructor takes them."""
    args, kwargs = arguments
    library = torch if issubclass(cls, torch.nn.Module) else minitorch
    (oracle.seed_all if library is torch else minitorch.manual_seed)(seed)
    module = cls(*args, **kwargs)
    return module.to(getattr(library, dtype)) if dtype == "float64" else module


class Layer(Call):
    """One layer on one input, under both libraries: outputs, gradients of inputs and parameters, running statistics."""

    def __init__(self, info, sample, dtype, training):
        super().__init__(None, None, order=1)
        self.info, self.sample, self.training = info, sample, training
        self.dtype = str(dtype)[6:]
        self.slack = 2.0

    def run(self):
        made = self.sample.constructor_input
        made = Arguments((made.args, made.kwargs))
        theirs = layer(self.info.module_cls, made.theirs, self.dtype, 5)
        try:
            ours = layer(ours_of(self.info), made.ours, self.dtype, 5)
        except Exception as error:
            raise Mismatch(f"constructor: {type(error).__name__}: {error}") from error
        self.same_state(theirs, ours)
        ours.load_state_dict({k: minitorch.from_numpy(oracle.array_of(v)) for k, v in theirs.state_dict().items()})
        theirs.train(self.training), ours.train(self.training)
        expected = repr(theirs).replace("NonDynamicallyQuantizableLinear", "Linear")  # documented
        if repr(ours) != expected:
            raise Mismatch(f"printed as {ours!r}, expected {expected}")
        self.theirs, self.ours = self.calling(theirs), self.calling(ours)
        given = self.sample.forward_input
        self.parameters = [
            (a, b) for a, b in zip(theirs.parameters(), ours.parameters(), strict=True) if a.requires_grad
        ]
        self.seeded = True
        self.compare((given.args, given.kwargs))
        self.same_state(theirs, ours)

    @staticmethod
    def calling(module):
        return lambda *args, **kwargs: module(*args, **kwargs)

    def truth(self, kind, index):
        return None

    def compare_gradients(self, arguments, actual, expected):
        arguments.leaves += self.parameters
        super().compare_gradients(arguments, actual, expected)

    def same_state(self, theirs, ours):
        a, b = theirs.state_dict(), ours.state_dict()
        if list(a) != list(b):
            raise Mismatch(f"state_dict has {list(b)}, expected {list(a)}")
        for name in a:
            if found := oracle.difference(b[name], a[name], self.slack):
                raise Mismatch(f"state_dict()[{name!r}]: {found}")


def inputs(info, dtype, training):
    oracle.seed_all(seed_of(info.name, dtype, training))
    with oracle.quiet():
        return list(info.module_inputs_func(info, device="cpu", dtype=dtype, requires_grad=True, training=training))


def run(info, outcome):
    for dtype in (torch.float64, torch.float32):
        for training in (True, False):
            for index, sample in enumerate(inputs(info, dtype, training)):
                made = sample.constructor_input
                arguments = ", ".join(str(a).partition("\n")[0] for a in (*made.args, *made.kwargs.items()))
                what = f"{dtype} training={training} sample {index} ({arguments}) {sample.desc}"
                outcome.run(what, Layer(info, sample, dtype, training).run)


@pytest.mark.parametrize("info", OFFERED, ids=lambda info: info.module_cls.__name__)
def test_layer(info):
    torch.set_num_threads(1)
    start = time.perf_counter()
    outcome = REPORT.outcomes["layers"][info.module_cls.__name__] = Outcome(info.module_cls.__name__)
    run(info, outcome)
    outcome.seconds = time.perf_counter() - start
    if outcome.failures:
        shown = "\n".join(outcome.failures[:12])
        pytest.fail(f"{len(outcome.failures)} of {outcome.tried} samples differ:\n{shown}", pytrace=False)


def test_nearly_all_layers_pass():
    REPORT.uncovered["layers"] = uncovered()
    REPORT.nearly_all("layers")
