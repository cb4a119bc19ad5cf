"""All parameters as one vector, and back."""

import minitorch

from ...tensor import Tensor


def parameters_to_vector(parameters):
    """The parameters one after the other, flattened: (sum of their sizes,). Gradients flow through."""
    parameters = list(parameters)
    devices = {str(p.device) for p in parameters}
    if len(devices) > 1:
        raise TypeError(
            f"Found two parameters on different devices, this is currently not supported: {', '.join(sorted(devices))}"
        )
    return minitorch.cat([p.reshape(-1) for p in parameters])


def vector_to_parameters(vec, parameters):
    """The opposite of parameters_to_vector: give the parameters the vector's values."""
    if not isinstance(vec, Tensor):
        raise TypeError(f"expected Tensor, but got: {type(vec).__name__}")
    parameters = list(parameters)
    size = sum(p.numel() for p in parameters)
    if vec.numel() != size:
        raise ValueError(f"the vector has {vec.numel()} elements, the parameters have {size}")
    start = 0
    for p in parameters:
        p.data = vec[start : start + p.numel()].reshape(p.shape).data
        start += p.numel()
