"""Hooks on modules, and the gates that catch gradients at a module's edges."""

import warnings

import minitorch

from ..autograd import Function, is_grad_enabled
from ..backend import capture
from ..tensor import RemovableHandle, Tensor


def add_hook(hooks, entry, prepend=False):
    """Put a hook into an OrderedDict, last or first; the handle takes it out again."""
    handle = RemovableHandle(hooks, entry)
    if prepend:
        hooks.move_to_end(handle.id, last=False)
    return handle


def has_no_extras(module, kind):
    """Whether a call of the module runs the forward of the class `kind` and nothing beside it: no subclass, no hook, no forward of
    its own. Then its work may be part of a fused op, and nobody sees the difference; a capture is told of the call here."""
    hooks = module._forward_pre_hooks, module._forward_hooks, module._backward_pre_hooks, module._backward_hooks
    if type(module) is not kind or any(hooks) or "forward" in vars(module):
        return False
    capture.saw_module(module)
    return True


class _Gate(Function):
    """The identity; on the way back it hands the gradients to `receive`, which may replace them."""

    @staticmethod
    def forward(ctx, receive, *tensors):
        ctx.receive = receive
        ctx.set_materialize_grads(False)
        return tensors

    @staticmethod
    def backward(ctx, *grads):
        return (None, *ctx.receive(grads))


class BackwardHooks:
    """The full backward hooks of one call of one module.

    A gate at the inputs and a gate at the outputs. The output gate's backward runs first and keeps dL/d(outputs);
    the input gate's backward runs when dL/d(inputs) is ready and calls the hooks with both.
    As in PyTorch, an input tensor that no gradient reaches has zeros in grad_input, an unused output None.
    If no input requires a gradient, the hooks run at the output gate, with None for every input.
    """

    def __init__(self, module, hooks, pre_hooks):
        self.module, self.hooks, self.pre_hooks = module, hooks, pre_hooks
        self.grad_output = None
        self.input_places = self.output_places = None
        self.input_count = self.output_count = 0
        self.input_kinds = {}

    def gate_inputs(self, args):
        self.input_count = len(args)
        self.input_kinds = {i: (a.shape, a.dtype, a.device) for i, a in enumerate(args) if isinstance(a, Tensor)}
        args, self.input_places = self._gate(args, self._receive_grad_input)
        return args

    def gate_outputs(self, result):
        if not isinstance(result, (Tensor, tuple)):
            warnings.warn(
                "For backward hooks to be called, module output should be a Tensor or a tuple of Tensors "
                f"but received {type(result)}",
                stacklevel=4,
            )
            return result
        outputs = result if isinstance(result, tuple) else (result,)
        self.output_count = len(outputs)
        outputs, self.output_places = self._gate(outputs, self._receive_grad_output)
        return outputs if isinstance(result, tuple) else outputs[0]

    def _gate(self, values, receive):
        """Pass the tensors that require a gradient through one gate; also return their positions, None without any."""
        places = [i for i, v in enumerate(values) if isinstance(v, Tensor) and v.requires_grad]
        if not places or not is_grad_enabled():
            return values, None
        gated = list(values)
        for i, tensor in zip(places, _Gate.apply(receive, *(values[i] for i in places))):
            gated[i] = tensor
        return (tuple(gated) if type(values) is tuple else type(values)(*gated)), places

    def _receive_grad_output(self, grads):
        self.grad_output = _spread(grads, self.output_places, self.output_count)
        for hook in self.pre_hooks:
            replacement = hook(self.module, self.grad_output)
            if replacement is not None:
                self.grad_output = _checked(replacement, self.output_count, "Backward pre hook", "grad_output")
        grad_output = self.grad_output
        if self.input_places is None:
            grad_input = (None,) * self.input_count
            for hook in self.hooks:
                replacement = hook(self.module, grad_input, grad_output)
                if replacement is not None and any(g is not None for g in replacement):
                    raise RuntimeError(
                        "Backward hook for Modules where no input requires gradient should always return None "
                        "or None for all gradients."
                    )
            self.grad_output = None
        return tuple(grad_output[i] for i in self.output_places)

    def _receive_grad_input(self, grads):
        if self.grad_output is None:  # a gradient that reached the inputs without passing the outputs (double backward)
            return grads
        grad_input = list(_spread(grads, self.input_places, self.input_count))
        for i, (shape, dtype, device) in self.input_kinds.items():
            if grad_input[i] is None:
                grad_input[i] = minitorch.zeros(shape, dtype=dtype, device=device)
        grad_input = tuple(grad_input)
        for hook in self.hooks:
            replacement = hook(self.module, grad_input, self.grad_output)
            if replacement is not None:
                grad_input = _checked(replacement, self.input_count, "Backward hook", "grad_input")
        self.grad_output = None
        return tuple(grad_input[i] for i in self.input_places)


def _spread(grads, places, count):
    spread = [None] * count
    for i, grad in zip(places, grads):
        spread[i] = grad
    return tuple(spread)


def _checked(replacement, count, kind, name):
    replacement = replacement if isinstance(replacement, tuple) else (replacement,)
    if len(replacement) != count:
        raise RuntimeError(f"{kind} returned an invalid number of {name}, got {len(replacement)}, but expected {count}")
    return replacement
