"""Second names of operations, as PyTorch has them, and the small questions and answers of tensors that need no array.

An alias is the same function under another name; as a Tensor method it has the in-place form of the first name too.
"""

from __future__ import annotations

from typing import Any

from ..tensor import Tensor
from . import arithmetic, comparison, elementwise, linalg, matmul, shape
from ._method import in_place, tensor_method

arccos, arccosh, arcsin, arcsinh = elementwise.acos, elementwise.acosh, elementwise.asin, elementwise.asinh
arctan, arctan2, arctanh = elementwise.atan, elementwise.atan2, elementwise.atanh
absolute, fix, sgn = elementwise.abs, elementwise.trunc, elementwise.sign
multiply, divide, subtract, negative = arithmetic.mul, arithmetic.div, arithmetic.sub, arithmetic.neg
clip = arithmetic.clamp
greater, greater_equal, less, less_equal = comparison.gt, comparison.ge, comparison.lt, comparison.le
not_equal = comparison.ne
swapaxes = swapdims = shape.transpose
moveaxis, concat, concatenate, row_stack = shape.movedim, shape.cat, shape.cat, shape.vstack
ger, inverse = matmul.outer, linalg.inv

METHODS = {
    name: globals()[name]
    for name in (
        "absolute", "arccos", "arccosh", "arcsin", "arcsinh", "arctan", "arctan2", "arctanh", "clip", "divide", "fix",
        "ger", "greater", "greater_equal", "inverse", "less", "less_equal", "moveaxis", "multiply", "negative",
        "not_equal", "sgn", "subtract", "swapaxes", "swapdims",
    )
}  # fmt: skip
NEVER_IN_PLACE = {"ger", "inverse", "moveaxis"}  # their results have other shapes, or PyTorch has no such form
for _name, _function in METHODS.items():
    tensor_method(_function, name=_name, inplace=_name not in NEVER_IN_PLACE | {"swapaxes", "swapdims"})
Tensor.swapaxes_ = Tensor.swapdims_ = Tensor.transpose_  # type: ignore[attr-defined]

for _name in ("eq", "ne", "lt", "le", "gt", "ge", "logical_and", "logical_or", "logical_xor", "logical_not"):
    setattr(Tensor, _name + "_", in_place(getattr(comparison, _name), _name + "_"))


def adjoint(input):
    """The last two axes exchanged: the conjugate transpose of real matrices."""
    return shape.transpose(input, -2, -1)


def _h(self: Tensor) -> Tensor:
    if self.ndim not in (0, 2):
        raise RuntimeError(f"tensor.H is only supported on matrices (2-D tensors). Got {self.ndim}-D tensor.")
    return shape.t(self)


tensor_method(adjoint)
Tensor.H, Tensor.mH = property(_h), property(adjoint)  # type: ignore[attr-defined]


# --- of real, dense tensors ------------------------------------------------------------------------------------------


def positive(input):
    """input itself; not for booleans."""
    if input.dtype.category == 0:
        raise RuntimeError("The `+` operator, on a bool tensor is not supported.")
    return input


def real(input):
    """input itself: there are no complex tensors."""
    return input


conj = resolve_conj = resolve_neg = conj_physical = real


def is_nonzero(input):
    """Whether the only element is not zero."""
    return bool(input)


def is_same_size(input, other):
    """Whether the shapes are equal."""
    return input.shape == other.shape


def is_complex(input):
    """False: there are no complex tensors."""
    return input.is_complex()


def is_signed(input):
    """Whether the dtype has negative numbers."""
    return input.is_signed()


def is_inference(input):
    """False: tensors made in inference mode are tensors like others."""
    return False


def is_conj(input):
    """False: no tensor waits to be conjugated or negated."""
    return False


is_neg = is_conj


def argwhere(input):
    """The indices of the elements that are not zero, one row each."""
    from .index import nonzero

    return nonzero(input)


def get_device(input):
    """The number of the GPU that holds the tensor; -1 on the CPU."""
    return input.get_device()


def detach(input):
    """The same memory, outside the graph."""
    return input.detach()


for _name, _function in {
    "positive": positive, "conj": real, "conj_physical": real, "resolve_conj": real, "resolve_neg": real, "real": property(real),
    "is_nonzero": is_nonzero, "is_same_size": is_same_size, "is_inference": is_inference, "is_conj": is_conj,
    "is_neg": is_neg, "argwhere": argwhere, "ndimension": Tensor.dim,
    "is_pinned": is_conj, "is_shared": is_conj,
}.items():  # fmt: skip
    setattr(Tensor, _name, _function)
for _name in ("is_sparse", "is_quantized", "is_mkldnn", "is_meta", "is_nested", "is_mps", "is_xpu"):
    setattr(Tensor, _name, False)

# torch.exp_(x) is x.exp_(): the forms that PyTorch has as functions
IN_PLACE: dict[str, Any] = {
    name: getattr(Tensor, name)
    for name in (
        "abs_ acos_ acosh_ arccos_ arccosh_ arcsin_ arcsinh_ arctan_ arctanh_ asin_ asinh_ atan_ atanh_ ceil_ celu_ clamp_ "
        "clamp_max_ clamp_min_ clip_ cos_ cosh_ detach_ erf_ erfc_ exp2_ exp_ expm1_ fill_ fix_ floor_ frac_ index_put_ "
        "log10_ log1p_ log2_ log_ logit_ nan_to_num_ neg_ negative_ reciprocal_ relu_ round_ rsqrt_ selu_ sigmoid_ sin_ "
        "sinh_ sqrt_ square_ tan_ tanh_ threshold_ trunc_ xlogy_ zero_"
    ).split()
    if hasattr(Tensor, name)
}
FUNCTIONS = {
    **{name: value for name, value in globals().items() if callable(value) and getattr(value, "__module__", "").startswith(__package__)
       and not name.startswith("_") and name not in ("tensor_method", "in_place", "Tensor")},
    **IN_PLACE,
}  # fmt: skip
