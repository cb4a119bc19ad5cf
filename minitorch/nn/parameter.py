"""Parameters: the tensors that a model learns."""

from ..tensor import Tensor, wrap


class Parameter(Tensor):
    """A tensor that a Module lists among its parameters when it becomes one of its attributes.

    Shares memory with `data`; a leaf of the graph, whatever `data` was.
    """

    def __init__(self, data=None, requires_grad=True):
        if data is None:
            import minitorch

            data = minitorch.empty(0)
        if not isinstance(data, Tensor):
            raise TypeError(f"Parameter() needs a Tensor, got {type(data).__name__}; wrap it: Parameter(tensor(data))")
        if requires_grad and not data.is_floating_point():
            raise RuntimeError(
                f"Only Tensors of floating point dtype can require gradients, got {data.dtype}: "
                "pass requires_grad=False for an integer parameter"
            )
        vars(self).update(vars(wrap(data.array, requires_grad)))
        self._counter = data._counter  # one memory, one version counter

    def __deepcopy__(self, memo):
        if id(self) not in memo:
            memo[id(self)] = type(self)(self.detach().clone(), self.requires_grad)
        return memo[id(self)]

    def __repr__(self):
        return "Parameter containing:\n" + super().__repr__()


class Buffer(Tensor):
    """A tensor that a Module keeps without learning it; `persistent` says whether state_dict() holds it."""

    persistent = True

    def __init__(self, data=None, *, persistent=True):
        if data is None:
            import minitorch

            data = minitorch.empty(0)
        if not isinstance(data, Tensor):
            raise TypeError(f"Buffer() needs a Tensor, got {type(data).__name__}")
        vars(self).update(vars(wrap(data.array, data.requires_grad)))
        self._counter = data._counter
        self.persistent = persistent
