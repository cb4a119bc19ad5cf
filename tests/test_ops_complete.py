"""Nothing is untested: every op with a gradient is reached by a row, every public function has one."""

import inspect

import numpy as np
import pytest

from tests.cases import CASES
from tests.cases.harness import Library, cast, evaluate, leaves, order_of

# Public, but not an operation: tested where they belong.
ELSEWHERE = set(
    """
    tensor Tensor manual_seed seed initial_seed get_rng_state set_rng_state is_tensor is_grad_enabled set_grad_enabled
    set_default_dtype get_default_dtype from_numpy no_grad enable_grad inference_mode promote_types result_type
    can_cast set_printoptions save load compile from_dlpack is_floating_point numel broadcast_shapes typename
    get_num_threads set_num_threads reference_ops is_inference_mode_enabled autocast finfo iinfo
    device dtype Size Generator Function explain new detach_ vmap
    """.split()
)


# no operations; tests/test_cuda_surface.py and tests/test_amp.py hold them
OTHER_TABLES = ("minitorch.backend.settings", "minitorch.ops.aliases", "minitorch.amp.autocast_mode")

# their gradients' gradients are ops that nothing else uses
THIRD = ("nn.functional.gelu", "prod", "getitem", "linalg.det", "nn.functional.conv1d", "nn.functional.avg_pool1d")


def subclasses(cls):
    for child in cls.__subclasses__():
        yield child
        yield from subclasses(child)


def test_every_op_is_reached_forward_backward_and_twice():
    """Runs the table with a note-taker in every `backward`: the ops that no row reaches are named."""
    from minitorch.autograd.engine import Op
    from minitorch.backend import reference_ops

    ops = [
        op
        for op in set(subclasses(Op))
        if op.__module__.startswith("minitorch.ops") and "backward" in vars(op) and op.reference is None
    ]
    ops = [op for op in ops if op.__name__ != "ToDevice"]  # test_ops_guard.py: it needs a second device
    assert len(ops) > 40
    reached: dict[str, set] = {"backward": set(), "backward under create_graph": set()}

    def note(op):
        original = op.backward

        def backward(self, *grads):
            reached["backward under create_graph" if self.xp.__name__ == "traced" else "backward"].add(op)
            return original(self, *grads)

        return backward

    originals = {op: op.backward for op in ops}
    for op in ops:
        op.backward = note(op)
    try:
        with reference_ops(), np.errstate(all="ignore"):
            for case in CASES:
                for sample in case.samples()[: 12 if case.call is None else 80] if case.gradient else ():
                    order = order_of(case, sample)
                    for k in {1, order, 3 if order == 2 and case.name in THIRD else order} if order else ():
                        evaluate(Library(), case, cast(sample, "float32"), k)
    finally:
        for op, original in originals.items():
            op.backward = original
    for how, seen in reached.items():
        missing = sorted(op.__name__ for op in ops if op not in seen)
        assert not missing, f"no row of tests/cases reaches these in {how}: {', '.join(missing)}"


def public_functions():
    """{function: its public names}, aliases together."""
    import minitorch
    import minitorch.nn.functional

    found: dict = {}
    for module in (minitorch, minitorch.nn.functional, minitorch.linalg, minitorch.Tensor):
        for name, value in vars(module).items():
            if inspect.isfunction(value) and not name.startswith("_") and value.__module__ not in OTHER_TABLES:
                if value.__module__.startswith("minitorch.ops" if module is minitorch.Tensor else "minitorch"):
                    found.setdefault(value, set()).add(name)
    return found


def test_every_public_function_has_a_row():
    named = {name for case in CASES for name in case.functions} | ELSEWHERE
    functions = public_functions()
    known = {name for names in functions.values() if names & named for name in names} | named
    missing = {name for names in functions.values() for name in names if not {name, name.removesuffix("_")} & known}
    assert not missing, f"public, and no row in tests/cases: {', '.join(sorted(missing))}"


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_row_is_well_formed(case):
    assert case.samples(), f"{case.name} has no samples"
    assert not case.gradient or any(leaves(sample) for sample in case.samples()), (
        f"{case.name} has nothing to differentiate"
    )
    assert sum(other.name == case.name for other in CASES) == 1, f"two rows are called {case.name}"
