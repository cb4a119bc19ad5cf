"""autocast: inside, products run in half precision and what needs the range of float32 in float32."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

from ..autograd import autocast as engine
from ..autograd.grad_mode import _Switch
from ..backend import devices, dtypes

PRODUCTS = """
    matmul mm bmm addmm addbmm baddbmm linear einsum chain_matmul multi_dot vecdot conv1d conv2d conv3d conv_transpose1d
    conv_transpose2d conv_transpose3d scaled_dot_product_attention prelu lstm rnn_tanh rnn_relu rnn_tanh_cell rnn_relu_cell
"""
LOSSES = """
    mse_loss l1_loss smooth_l1_loss huber_loss nll_loss cross_entropy binary_cross_entropy_with_logits kl_div ctc_loss
    poisson_nll_loss hinge_embedding_loss soft_margin_loss margin_ranking_loss triplet_margin_loss cosine_embedding_loss
    multi_margin_loss multilabel_margin_loss
"""
# What each function does with its inputs, by device, as in PyTorch. "lower": cast to the block's dtype. "float32": half
# precision is cast up. "off": as they are, also in what it calls. "promote": half
# precision is cast up if another input is float32. "input": the result gets the first input's dtype. "refuse": an error.
# Names of functions, or of ops (Exp), whatever calls them. What is not here computes in the dtypes that it is given: add and
# mul promote, relu stays. (Every op rounds half precision only at its end, and its gradients as well.)
_CPU = {
    "lower": PRODUCTS + " tensordot inner",
    "float32": LOSSES
    + " binary_cross_entropy prod quantile nanquantile cdist trace grid_sample inv cholesky eigh svd qr solve",
    "input": "layer_norm group_norm batch_norm instance_norm rms_norm",
    "promote": "index_copy",
    "off": "mv dot vdot outer bilinear kron",
}
_CUDA = {
    "lower": PRODUCTS + " mv addmv addr gru lstm_cell gru_cell",
    "float32": LOSSES
    + """
    prod cdist dist pdist softmax log_softmax softmin layer_norm group_norm rms_norm dropout_add_layer_norm
    cosine_similarity renorm interpolate cholesky eigh svd qr solve inv
    Exp Expm1 Log Log2 Log10 Log1p Pow PowNumber Rsqrt Reciprocal Acos Asin ErfInv Cosh Sinh Tan Sum CumSum CumProd Prod Norm
    Softplus LogSumExp
    """,
    "input": "batch_norm instance_norm",
    "promote": "dot vdot tensordot inner bilinear grid_sample index_copy index_put scatter_add",
    "off": "outer kron",
    "refuse": "binary_cross_entropy",
}
TABLES: dict[str, dict[str, str]] = {
    device: {name: policy for policy, names in table.items() for name in names.split()}
    for device, table in (("cpu", _CPU), ("cuda", _CUDA))
}
_dtypes = {"cpu": dtypes.bfloat16, "cuda": dtypes.float16}
_cache_enabled = True


def _device_type(device_type: Any, name: str) -> str:
    if not isinstance(device_type, str):
        raise ValueError(f"Expected `device_type` of type `str`, got: `{type(device_type)}`")
    if device_type not in devices._KNOWN:
        known = " or ".join(sorted(repr(d) for d in TABLES))
        raise RuntimeError(
            f"{name}: User specified an unsupported autocast device_type '{device_type}'; expected {known}"
        )
    return device_type


def _has_cuda() -> bool:
    from .. import cuda

    return cuda.is_available()


class autocast(_Switch):
    """Inside `with autocast("cuda")`, or in a function decorated with it, matrix products and convolutions run in `dtype`
    (float16 on CUDA, bfloat16 on the CPU), losses in float32. Parameters stay as they are; gradients too.

    Forward passes belong inside, backward passes outside: every gradient has its tensor's dtype.
    """

    def __init__(self, device_type: Any, dtype: Any = None, enabled: bool = True, cache_enabled: bool | None = None):
        self.device = _device_type(device_type, "autocast()")
        self.fast_dtype = get_autocast_dtype(self.device) if dtype is None else dtype
        self._enabled = bool(enabled)
        self._cache_enabled = _cache_enabled if cache_enabled is None else bool(cache_enabled)
        if self.device == "cuda" and self._enabled and not _has_cuda():
            warnings.warn("User provided device_type of 'cuda', but CUDA is not available. Disabling", stacklevel=2)
            self._enabled = False
        if not isinstance(self.fast_dtype, dtypes.dtype):
            raise TypeError(f"autocast(): expected a dtype, got {type(self.fast_dtype).__name__}")
        if self._enabled and self.fast_dtype not in (dtypes.bfloat16, dtypes.float16):
            supported = "minitorch.bfloat16, minitorch.float16"
            warnings.warn(
                f"In {self.device.upper()} autocast, but the target dtype {self.fast_dtype} is not supported. Disabling "
                f"autocast.\n{self.device.upper()} Autocast only supports dtype of {supported} currently.",
                stacklevel=2,
            )
            self._enabled = False
        self._before: list[tuple] = []

    def _again(self) -> autocast:
        return self

    def __enter__(self) -> autocast:
        here = engine.here
        self._before.append((here.table, here.device, here.dtype, here.cache))
        here.table = TABLES.get(self.device, TABLES["cuda"]) if self._enabled else None
        here.device, here.dtype = self.device, self.fast_dtype
        here.cache = (here.cache if here.cache is not None else {}) if self._cache_enabled else None
        engine.count(1)
        return self

    def __exit__(self, *exc: Any) -> None:
        here = engine.here
        here.table, here.device, here.dtype, here.cache = self._before.pop()
        engine.count(-1)


def autocast_mode_is_available(device_type: str) -> bool:
    """Whether autocast exists for the device."""
    return _device_type(device_type, "is_autocast_available()") in TABLES


is_autocast_available = autocast_mode_is_available


def is_autocast_enabled(device_type: str | None = None) -> bool:
    """Whether the running code is inside an autocast block: of the device, or (None, as in PyTorch) of CUDA."""
    wanted = "cuda" if device_type is None else _device_type(device_type, "is_autocast_enabled()")
    return engine.here.table is not None and engine.here.device == wanted


def get_autocast_dtype(device_type: str) -> dtypes.dtype:
    """The dtype that products are cast to."""
    device = _device_type(device_type, "get_autocast_dtype()")
    if engine.here.table is not None and engine.here.device == device:
        return engine.here.dtype
    return _dtypes.get(device, dtypes.float16)


def set_autocast_dtype(device_type: str, dtype: dtypes.dtype) -> None:
    """The dtype of blocks that are not told one."""
    _dtypes[_device_type(device_type, "set_autocast_dtype()")] = dtype


def is_autocast_cache_enabled() -> bool:
    """Whether a parameter is cast once for a block."""
    return _cache_enabled


def set_autocast_cache_enabled(enabled: bool) -> None:
    """Whether a parameter is cast once for a block, where the block is not told."""
    global _cache_enabled
    _cache_enabled = bool(enabled)


def clear_autocast_cache() -> None:
    """Forgets the parameters that have been cast."""
    if engine.here.cache is not None:
        engine.here.cache.clear()


def get_autocast_gpu_dtype() -> dtypes.dtype:
    """get_autocast_dtype("cuda")"""
    return get_autocast_dtype("cuda")


def get_autocast_cpu_dtype() -> dtypes.dtype:
    """get_autocast_dtype("cpu")"""
    return get_autocast_dtype("cpu")


def custom_fwd(fwd: Callable | None = None, *, device_type: str = "cuda", cast_inputs: Any = None) -> Callable:
    """For `forward` of an autograd.Function: with cast_inputs its floating point inputs are cast to that dtype, and autocast
    is off inside; without, it runs as the block around it says."""
    if fwd is None:
        return lambda function: custom_fwd(function, device_type=device_type, cast_inputs=cast_inputs)
    function = fwd

    def wrapper(ctx: Any, *args: Any, **kwargs: Any) -> Any:
        enabled = is_autocast_enabled(device_type)
        ctx._dtype = get_autocast_dtype(device_type)
        ctx._fwd_used_autocast = enabled and cast_inputs is None
        if cast_inputs is None or not enabled:
            return function(ctx, *args, **kwargs)
        convert: Any = lambda t: t.to(cast_inputs) if getattr(t, "is_floating_point", bool)() else t  # noqa: E731
        with autocast(device_type, enabled=False):
            return function(ctx, *map(convert, args), **{key: convert(value) for key, value in kwargs.items()})

    wrapper.__doc__ = function.__doc__
    return wrapper


def custom_bwd(bwd: Callable | None = None, *, device_type: str = "cuda") -> Callable:
    """For `backward` of an autograd.Function: autocast is on or off as it was in `forward`."""
    if bwd is None:
        return lambda function: custom_bwd(function, device_type=device_type)
    function = bwd

    def wrapper(ctx: Any, *args: Any) -> Any:
        with autocast(device_type, enabled=ctx._fwd_used_autocast, dtype=ctx._dtype):
            return function(ctx, *args)

    wrapper.__doc__ = function.__doc__
    return wrapper
