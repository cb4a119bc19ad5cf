"""minitorch: deep learning from scratch, under PyTorch's names. This file holds the public names and nothing else."""

# ruff: noqa: A004
# fmt: off
import warnings as _warnings

from . import autograd, ops
from .autograd import enable_grad, inference_mode, is_grad_enabled, is_inference_mode_enabled, no_grad, set_grad_enabled
from .backend import device, get_default_dtype, promote_types, reference_ops, set_default_dtype
from .backend.dtypes import (
    bfloat16,
    dtype,
    finfo,
    float16,
    float32,
    float64,
    iinfo,
    int8,
    int16,
    int32,
    int64,
    uint8,
)
from .backend.dtypes import bool_ as bool
from .backend.random import Generator
from .ops.activation import (
    celu,
    hardshrink,
    logit,
    prelu,
    relu,
    selu,
    sigmoid,
    tanh,
    threshold,
)
from .ops.arithmetic import (
    add,
    addcdiv,
    addcmul,
    clamp,
    clamp_max,
    clamp_min,
    clone,
    div,
    floor_divide,
    fmod,
    lerp,
    masked_fill,
    maximum,
    minimum,
    mul,
    neg,
    pow,
    remainder,
    rsub,
    square,
    sub,
    true_divide,
    where,
)
from .ops.comparison import (
    allclose,
    bitwise_and,
    bitwise_left_shift,
    bitwise_not,
    bitwise_or,
    bitwise_right_shift,
    bitwise_xor,
    eq,
    equal,
    ge,
    gt,
    isclose,
    isfinite,
    isinf,
    isnan,
    le,
    logical_and,
    logical_not,
    logical_or,
    logical_xor,
    lt,
    ne,
)
from .ops.creation import (
    arange,
    as_tensor,
    asarray,
    empty,
    empty_like,
    eye,
    from_dlpack,
    from_numpy,
    full,
    full_like,
    is_floating_point,
    is_tensor,
    linspace,
    logspace,
    meshgrid,
    numel,
    ones,
    ones_like,
    result_type,
    tensor,
    tril_indices,
    triu_indices,
    zeros,
    zeros_like,
)
from .ops.distance import (
    cdist,
    cosine_similarity,
    dist,
    pairwise_distance,
)
from .ops.elementwise import (
    abs,
    acos,
    acosh,
    asin,
    asinh,
    atan,
    atan2,
    atanh,
    ceil,
    cos,
    cosh,
    erf,
    erfc,
    erfinv,
    exp,
    exp2,
    expm1,
    floor,
    frac,
    log,
    log1p,
    log2,
    log10,
    logaddexp,
    nan_to_num,
    reciprocal,
    round,
    rsqrt,
    sign,
    sin,
    sinh,
    sqrt,
    tan,
    trunc,
    xlogy,
)
from .ops.index import (
    argsort,
    gather,
    index_add,
    index_select,
    masked_select,
    nonzero,
    scatter,
    scatter_add,
    sort,
    take_along_dim,
    topk,
)
from .ops.linalg import (
    det,
    logdet,
    slogdet,
)
from .ops.matmul import (
    addmm,
    baddbmm,
    bmm,
    cross,
    dot,
    einsum,
    inner,
    kron,
    matmul,
    mm,
    mv,
    outer,
    tensordot,
    trace,
    vdot,
)
from .ops.random import (
    alpha_dropout,
    bernoulli,
    dropout,
    feature_alpha_dropout,
    feature_dropout,
    get_rng_state,
    initial_seed,
    manual_seed,
    multinomial,
    normal,
    rand,
    rand_like,
    randint,
    randint_like,
    randn,
    randn_like,
    randperm,
    seed,
    set_rng_state,
)
from .ops.recurrent import (
    gru,
    gru_cell,
    lstm,
    lstm_cell,
    rnn_relu,
    rnn_relu_cell,
    rnn_tanh,
    rnn_tanh_cell,
)
from .ops.reduce import (
    all,
    amax,
    amin,
    aminmax,
    any,
    argmax,
    argmin,
    count_nonzero,
    cumprod,
    cumsum,
    max,
    mean,
    median,
    min,
    nanmean,
    nansum,
    norm,
    prod,
    std,
    std_mean,
    sum,
    var,
    var_mean,
)
from .ops.scan import (
    cummax,
    cummin,
    diff,
    logcumsumexp,
)
from .ops.scatter import (
    index_copy,
    index_fill,
    index_put,
    masked_scatter,
    put,
    scatter_reduce,
    take,
)
from .ops.search import (
    bincount,
    bucketize,
    histc,
    kthvalue,
    nanquantile,
    quantile,
    searchsorted,
    unique,
    unique_consecutive,
)
from .ops.shape import (
    atleast_1d,
    atleast_2d,
    broadcast_shapes,
    broadcast_tensors,
    broadcast_to,
    cat,
    chunk,
    column_stack,
    diag,
    diagonal,
    dstack,
    flatten,
    flip,
    fliplr,
    flipud,
    hstack,
    movedim,
    narrow,
    permute,
    ravel,
    repeat_interleave,
    reshape,
    roll,
    rot90,
    select,
    split,
    split_with_sizes,
    squeeze,
    stack,
    t,
    tile,
    transpose,
    tril,
    triu,
    unbind,
    unflatten,
    unsqueeze,
    vstack,
)
from .ops.softmax import (
    log_softmax,
    logsumexp,
    softmax,
)
from .printing import set_printoptions
from .tensor import Size, Tensor

from . import linalg, nn, optim, storage, utils, version  # isort: skip
from .explain import explain
from .serialization import load, save

double, float, half, int, long, short = float64, float32, float16, int32, int64, int16
from .amp import GradScaler, autocast  # noqa: E402
from .amp.autocast_mode import (  # noqa: E402
    clear_autocast_cache,
    get_autocast_cpu_dtype,
    get_autocast_dtype,
    get_autocast_gpu_dtype,
    is_autocast_cache_enabled,
    is_autocast_enabled,
    set_autocast_cache_enabled,
    set_autocast_dtype,
)
from .backend.random import default_generator  # noqa: E402
from .backend.settings import (  # noqa: E402
    are_deterministic_algorithms_enabled,
    can_cast,
    channels_last,
    channels_last_3d,
    compile,
    contiguous_format,
    get_default_device,
    get_deterministic_debug_mode,
    get_float32_matmul_precision,
    get_num_interop_threads,
    get_num_threads,
    is_anomaly_check_nan_enabled,
    is_anomaly_enabled,
    is_deterministic_algorithms_warn_only_enabled,
    is_storage,
    layout,
    memory_format,
    preserve_format,
    set_anomaly_enabled,
    set_default_device,
    set_default_tensor_type,
    set_deterministic_debug_mode,
    set_float32_matmul_precision,
    set_flush_denormal,
    set_num_interop_threads,
    set_num_threads,
    strided,
    typename,
    use_deterministic_algorithms,
)
from .legacy import (  # noqa: E402
    BFloat16Tensor,
    BoolTensor,
    ByteTensor,
    CharTensor,
    DoubleTensor,
    FloatTensor,
    HalfTensor,
    IntTensor,
    LongTensor,
    ShortTensor,
)
from .ops.aliases import FUNCTIONS as _second_names  # noqa: E402

globals().update(_second_names)  # arccos, concat, exp_ ...
from math import e, inf, nan, pi  # noqa: E402

from .nn.functional import (  # noqa: E402  as PyTorch has them twice
    adaptive_avg_pool1d,
    avg_pool1d,
    bilinear,
    conv1d,
    conv2d,
    conv3d,
    conv_transpose1d,
    conv_transpose2d,
    conv_transpose3d,
    embedding,
    group_norm,
    layer_norm,
    max_pool1d,
    max_pool2d,
    max_pool3d,
    pixel_shuffle,
    pixel_unshuffle,
    rms_norm,
)

from .func import vmap  # noqa: E402

__version__ = "0.1.0"

from .missing import names as _names  # noqa: E402

# imported when they are asked for
__getattr__ = _names(__name__, lazy=(
    "accelerator", "amp", "backends", "compiler", "cuda", "datasets", "distributed", "distributions", "func", "jit",
    "models", "mps", "profiler", "random", "special", "testing", "text", "types", "vision", "viz", "xpu",
))  # fmt: skip

# Overflow, 0/0 and log(0) give inf and NaN in silence, as PyTorch does; NumPy's warnings stay on in other modules.
_warnings.filterwarnings("ignore", category=RuntimeWarning, module=r"minitorch\.(ops|autograd|backend|kernels|nn|optim)\b")
