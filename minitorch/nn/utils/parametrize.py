"""Parametrizations: a parameter that is computed from others, by a module, whenever it is read.

    class Symmetric(nn.Module):
        def forward(self, X):
            return X.triu() + X.triu(1).transpose(-2, -1)

    parametrize.register_parametrization(layer, "weight", Symmetric())

From then on `layer.weight` is the result, and `layer.parametrizations.weight.original` the parameter that is learnt.
A `right_inverse` beside `forward` makes assigning to `layer.weight` possible, and keeps its value at registration.
"""

from contextlib import contextmanager
from copy import deepcopy

from ...autograd import no_grad
from ...tensor import Tensor
from ..container import ModuleDict, ModuleList
from ..parameter import Parameter

_depth = 0  # of nested cached() blocks
_cache: dict = {}  # (id of a module, name) -> tensor


@contextmanager
def cached():
    """Inside this block every parametrized tensor is computed once, at its first use."""
    global _depth
    _depth += 1
    try:
        yield
    finally:
        _depth -= 1
        if not _depth:
            _cache.clear()


def _register(module, name, tensor):
    if isinstance(tensor, Parameter):
        module.register_parameter(name, tensor)
    else:
        module.register_buffer(name, tensor)


def _same_kind(what, before, after):
    """A parametrization keeps dtype and shape, unless it is called unsafe."""
    if not isinstance(after, Tensor):
        raise ValueError(f"{what} must return a tensor. Got {type(after).__name__}.")
    for quality in ("dtype", "shape"):
        old, new = getattr(before, quality), getattr(after, quality)
        if old != new:
            raise ValueError(
                f"{what} may not change the {quality} of the tensor, unless the `unsafe` flag is enabled: "
                f"it was {old}, and becomes {new}"
            )


class ParametrizationList(ModuleList):
    """The parametrizations of one tensor, one after the other, and `original` (or original0, original1, ...)."""

    def __init__(self, modules, original, unsafe=False):
        modules = list(modules)
        if not modules:
            raise ValueError("ParametrizationList requires one or more modules.")
        super().__init__(modules)
        self.unsafe = unsafe
        before = original.detach().clone()
        with no_grad():
            new = original
            for module in reversed(modules):
                if hasattr(module, "right_inverse"):
                    try:
                        new = module.right_inverse(new)
                    except NotImplementedError:
                        pass
        if not isinstance(new, (Tensor, list, tuple)):
            raise ValueError(
                "'right_inverse' must return a Tensor or a Sequence of tensors (list, tuple...). "
                f"Got {type(new).__name__}"
            )
        self.is_tensor = isinstance(new, Tensor)
        self.ntensors = 1 if self.is_tensor else len(new)
        if self.is_tensor:
            for quality in ("dtype", "device"):
                if getattr(new, quality) != getattr(original, quality):
                    raise ValueError(
                        f"When `right_inverse` outputs one tensor, it may not change the {quality}: "
                        f"{getattr(original, quality)} became {getattr(new, quality)}"
                    )
            if new is not original:
                original.data = new.detach()
            _register(self, "original", original)
        else:
            for i, part in enumerate(new):
                if not isinstance(part, Tensor):
                    raise ValueError(
                        "'right_inverse' must return a Tensor or a Sequence of tensors (list, tuple...). "
                        f"Got element {i} of the sequence with type {type(part).__name__}."
                    )
                part = part.detach()
                learnt = isinstance(original, Parameter)
                _register(self, f"original{i}", Parameter(part, original.requires_grad) if learnt else part)
        if not unsafe:
            _same_kind("Registering a parametrization", before, self())

    def _originals(self):
        return [self.original] if self.is_tensor else [getattr(self, f"original{i}") for i in range(self.ntensors)]

    def right_inverse(self, value):
        """Give the originals the values that make `forward` return `value`."""
        with no_grad():
            for module in reversed(list(self)):
                if not hasattr(module, "right_inverse"):
                    raise RuntimeError(f"parametrization {type(module).__name__} does not implement right_inverse.")
                value = module.right_inverse(value)
            values = [value] if self.is_tensor else value
            if len(values) != self.ntensors:
                raise ValueError(
                    f"'right_inverse' must return a sequence of tensors of length {self.ntensors}. "
                    f"Got a sequence of length {len(values)}."
                )
            for i, (original, new) in enumerate(zip(self._originals(), values)):
                if not isinstance(new, Tensor):
                    raise ValueError(f"`right_inverse` should return a tensor. Got {type(new).__name__}")
                if new.dtype != original.dtype:
                    name = "original" if self.is_tensor else f"original{i}"
                    raise ValueError(
                        f"The tensor returned by `right_inverse` has dtype {new.dtype} while `{name}` has dtype "
                        f"{original.dtype}"
                    )
                original.data = new.detach()

    def forward(self):
        first, *rest = self
        x = first(*self._originals())
        for module in rest:
            x = module(x)
        return x


def _property(name):
    def read(self):
        parametrization = self.parametrizations[name]
        if not _depth:
            return parametrization()
        key = id(self), name
        if key not in _cache:
            _cache[key] = parametrization()
        return _cache[key]

    def write(self, value):
        self.parametrizations[name].right_inverse(value)

    return property(read, write)


def _parametrized_class(cls, names=()):
    """A subclass for one module alone: its properties are the parametrized tensors."""

    def getstate(self):
        raise RuntimeError(
            "Serialization of parametrized modules is only supported through state_dict(): save and load that"
        )

    def copied(self, memo):
        if id(self) not in memo:
            own = _parametrized_class(cls, self.parametrizations)  # what is removed from one stays on the other
            memo[id(self)] = replica = own.__new__(own)
            replica.__dict__ = deepcopy(self.__dict__, memo)
        return memo[id(self)]

    members = {"__getstate__": getstate, "__deepcopy__": copied, **{name: _property(name) for name in names}}
    return type(f"Parametrized{cls.__name__}", (cls,), members)


def register_parametrization(module, tensor_name, parametrization, *, unsafe=False):
    """Compute module.tensor_name by `parametrization` from now on, after those that it already has. Returns the module.

    `unsafe`: the parametrization may change shape and dtype, and is not run to see.
    """
    parametrization.train(module.training)
    if is_parametrized(module, tensor_name):
        if not unsafe:
            now = getattr(module, tensor_name)
            value = parametrization(now)
            _same_kind("A parametrization", now, value)
            if hasattr(parametrization, "right_inverse"):
                try:
                    _same_kind("parametrization.right_inverse", now, parametrization.right_inverse(value))
                except NotImplementedError:
                    pass
        module.parametrizations[tensor_name].append(parametrization)
        module.parametrizations[tensor_name].unsafe |= unsafe
    elif tensor_name in module._buffers or tensor_name in module._parameters:
        parametrizations = ParametrizationList([parametrization], getattr(module, tensor_name), unsafe=unsafe)
        delattr(module, tensor_name)
        if not is_parametrized(module):
            module.__class__ = _parametrized_class(type(module))
            module.parametrizations = ModuleDict()
        setattr(type(module), tensor_name, _property(tensor_name))
        module.parametrizations[tensor_name] = parametrizations
    else:
        raise ValueError(
            f"Module '{module}' does not have a parameter, a buffer, or a parametrized element with name "
            f"'{tensor_name}'"
        )
    return module


def is_parametrized(module, tensor_name=None):
    """Whether a tensor of the module, or any of them, is parametrized."""
    parametrizations = getattr(module, "parametrizations", None)
    if not isinstance(parametrizations, ModuleDict):
        return False
    return len(parametrizations) > 0 if tensor_name is None else tensor_name in parametrizations


def remove_parametrizations(module, tensor_name, leave_parametrized=True):
    """Make module.tensor_name an ordinary parameter or buffer again, with its present value. Returns the module.

    leave_parametrized=False: with the original's value, where there is one original.
    """
    if not is_parametrized(module, tensor_name):
        raise ValueError(f"Module {module} does not have a parametrization on {tensor_name}")
    parametrizations = module.parametrizations[tensor_name]
    if parametrizations.is_tensor:
        original = parametrizations.original  # stays the same object, so that an optimizer goes on with it
        if leave_parametrized:
            with no_grad():
                original.data = getattr(module, tensor_name).detach()
    elif leave_parametrized:
        value = getattr(module, tensor_name)
        original = Parameter(value.detach()) if value.requires_grad else value
    else:
        raise ValueError(
            "Cannot leave unparametrized (`leave_parametrized=False`) a tensor "
            "that is parametrized in terms of a sequence of tensors."
        )
    delattr(type(module), tensor_name)
    del module.parametrizations[tensor_name]
    _register(module, tensor_name, original)
    if not is_parametrized(module):
        delattr(module, "parametrizations")
        module.__class__ = type(module).__bases__[0]
    return module


def type_before_parametrizations(module):
    """The module's class before anything of it was parametrized."""
    return type(module).__bases__[0] if is_parametrized(module) else type(module)
