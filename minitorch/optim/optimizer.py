"""Optimizer: parameter groups, per-parameter state, and the loop that calls `update`."""

from collections import defaultdict
from copy import deepcopy
from itertools import chain

from ..autograd import enable_grad, no_grad
from ..backend import fastpath
from ..nn.module import clear_grad
from ..tensor import Tensor


class Optimizer:
    """The base class of all optimizers.

    params: tensors, (name, tensor) pairs, or dictionaries {"params": tensors, option: value, ...}: groups with options
    of their own; `defaults` fills in the others. `state[parameter]` is a dictionary of tensors (or numbers).

    A subclass defines `init_state`, `update`, and `check`; or `step`, as in PyTorch. A fast path for it is a subclass
    with an `update` of its own and `accepts(p, g, state, group)`, registered as an op's is (backend/fastpath.py).
    """

    def __init__(self, params, defaults):
        if isinstance(params, Tensor):
            raise TypeError(
                "params argument given to the optimizer should be an iterable of Tensors or dicts, but got a Tensor: "
                "write [tensor]"
            )
        self.defaults = defaults
        self._check(defaults)
        self.state = defaultdict(dict)
        self.param_groups = []
        groups = list(params)
        if not groups:
            raise ValueError("optimizer got an empty parameter list")
        if not isinstance(groups[0], dict):
            groups = [{"params": groups}]
        for group in groups:
            self.add_param_group(group)

    def add_param_group(self, param_group):
        """Add {"params": ..., option: value, ...}, for example a layer that has been unfrozen."""
        if not isinstance(param_group, dict):
            raise TypeError(f"param_group must be a dict, but got {type(param_group)}")
        if isinstance(param_group["params"], set):
            raise TypeError(
                "optimizer parameters need to be organized in ordered collections, but the ordering of tensors in sets "
                "will change between runs. Please use a list instead."
            )
        params = [param_group["params"]] if isinstance(param_group["params"], Tensor) else list(param_group["params"])
        names = [p[0] for p in params if isinstance(p, tuple)]
        params = [p[1] if isinstance(p, tuple) else p for p in params]
        if names and len(names) != len(params):
            raise ValueError("all optimizer params should be with/without names. Some param names are missing")
        for i, p in enumerate(params):
            if not isinstance(p, Tensor):
                raise TypeError(f"optimizer can only optimize Tensors, but params[{i}] is {type(p).__name__}")
            if not p.is_leaf:
                raise ValueError(f"can't optimize a non-leaf Tensor: params[{i}] is the result of an operation")
        if len(set(params)) != len(params):
            raise ValueError("optimizer contains a parameter group with duplicate parameters")
        group = {**param_group, "params": params}
        if names:
            group["param_names"] = names
        for name, value in self.defaults.items():
            group.setdefault(name, value)
        self._check(group)
        for other in self.param_groups:
            if ("param_names" in group) != ("param_names" in other):
                raise ValueError("all optimizer param groups should be with/without names")
            if not set(params).isdisjoint(other["params"]):
                raise ValueError("some parameters appear in more than one parameter group")
        self.param_groups.append(group)

    # ---- what a subclass defines ---------------------------------------------------------------------------------

    def check(self, options):
        """Raise ValueError for an option that makes no sense; called with the defaults and with every group."""

    def init_state(self, p, group):
        """The state of a parameter before its first update."""
        return {}

    def update(self, xp, p, g, state, group):
        """Change the array `p` in place, given the gradient's array `g` (negated if the group has maximize).

        `xp` is the arrays' library, NumPy or CuPy; `state` and `group` are the parameter's.
        """
        raise NotImplementedError(f"{type(self).__name__} defines neither update() nor step()")

    # ---- stepping ------------------------------------------------------------------------------------------------

    @no_grad()
    def step(self, closure=None):
        """Update every parameter that has a gradient. `closure` recomputes the loss, with gradients, and returns it."""
        loss = None
        if closure is not None:
            with enable_grad():
                loss = closure()
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is None:
                    continue
                state = self.state.get(p) or self.init_state(p, group)
                xp, g = p.xp, p.grad.array
                g = -g if group.get("maximize") else g
                fast = fastpath.ACTIVE[xp].get(type(self))
                rule = fast if fast is not None and fast.accepts(p.array, g, state, group) else type(self)
                rule.update(self, xp, p.array, g, state, group)
                if state:
                    self.state[p] = state
                p.bump_version()
        self._opt_called = True  # what lr_scheduler asks
        return loss

    def zero_grad(self, set_to_none=True):
        """Drop all gradients, or overwrite them with zeros."""
        for group in self.param_groups:
            for p in group["params"]:
                clear_grad(p, set_to_none)

    # ---- saving --------------------------------------------------------------------------------------------------

    def state_dict(self):
        """{"state": {number: {...}}, "param_groups": [{..., "params": [numbers]}]}; parameters are numbered in order.

        The tensors are the optimizer's own, not copies.
        """
        numbers = {p: i for i, p in enumerate(chain.from_iterable(g["params"] for g in self.param_groups))}
        groups = [
            {**{k: v for k, v in g.items() if k != "params"}, "params": [numbers[p] for p in g["params"]]}
            for g in self.param_groups
        ]
        return {"state": {numbers.get(p, p): state for p, state in self.state.items()}, "param_groups": groups}

    def load_state_dict(self, state_dict):
        """Take over a state_dict() of an optimizer with the same groups.

        Tensors are copied, to the parameters' dtypes and devices.
        """
        groups = self.param_groups
        saved = [
            {k: (list(v) if k == "params" else deepcopy(v)) for k, v in g.items()} for g in state_dict["param_groups"]
        ]
        if len(groups) != len(saved):
            raise ValueError(
                f"loaded state dict has a different number of parameter groups: {len(saved)}, "
                f"the optimizer has {len(groups)}"
            )
        for i, (group, other) in enumerate(zip(groups, saved)):
            if len(group["params"]) != len(other["params"]):
                raise ValueError(
                    "loaded state dict contains a parameter group that doesn't match the size of optimizer's group: "
                    f"group {i} has {len(other['params'])} parameters, the optimizer's has {len(group['params'])}"
                )
        by_number = dict(
            zip(chain.from_iterable(g["params"] for g in saved), chain.from_iterable(g["params"] for g in groups))
        )
        state = defaultdict(dict)
        for number, values in state_dict["state"].items():
            if number not in by_number:
                raise ValueError(f"loaded state dict has state for parameter {number!r}, which no group contains")
            p = by_number[number]
            state[p] = {name: self._take(value, name, p, number) for name, value in values.items()}
        for group, other in zip(groups, saved):
            other["params"] = group["params"]
            if "param_names" in group:
                other.setdefault("param_names", group["param_names"])
            for name, value in self.defaults.items():
                other.setdefault(name, value)
            self._check(other)
        self.state, self.param_groups = state, saved

    def _take(self, value, name, p, number):
        """A copy of one saved value; tensors get the parameter's dtype and device, except the step count."""
        if not isinstance(value, Tensor):
            return deepcopy(value)
        if name == "step":
            return value.detach().clone()
        if value.dim() > 0 and value.shape != p.shape and type(self).init_state is not Optimizer.init_state:
            raise ValueError(
                f"loaded state dict: {name} of parameter {number} has shape {tuple(value.shape)}, "
                f"the parameter has shape {tuple(p.shape)}"
            )
        return value.detach().to(device=p.device, dtype=p.dtype if p.is_floating_point() else value.dtype).clone()

    def _check(self, options):
        if isinstance(options.get("lr"), Tensor):
            raise TypeError("lr has to be a number; a Tensor as learning rate is not supported: pass lr.item()")
        if options.get("differentiable"):
            raise NotImplementedError("differentiable=True: minitorch's optimizers do not record their updates")
        self.check(options)

    def __repr__(self):
        lines = [f"{type(self).__name__} ("]
        for i, group in enumerate(self.param_groups):
            lines.append(f"Parameter Group {i}")
            lines += [f"    {name}: {group[name]}" for name in sorted(group) if name != "params"]
        return "\n".join(lines) + "\n)"


def check_range(options, *rules):
    """Each rule: an option's name, its name in the message, and optionally the value that it has to stay below."""
    for name, label, *below in rules:
        value = options[name]
        if not value >= 0.0 or (below and not value < below[0]):
            raise ValueError(f"Invalid {label}: {value}")


def count(state):
    """Add one to state["step"] and return it as a number."""
    step = state["step"].array
    step += 1
    return float(step)
