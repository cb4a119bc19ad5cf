"""Optimizer: parameter groups, per-parameter state, and the loop that calls `update`."""

from collections import OrderedDict, defaultdict
from collections.abc import Iterable
from copy import deepcopy
from functools import wraps
from itertools import chain
from typing import Any, TypeAlias

import numpy as np

import minitorch

from ..autograd import enable_grad, no_grad
from ..backend import capture, devices, fastpath
from ..backend.devices import namespace_of
from ..nn.hooks import add_hook
from ..nn.module import clear_grad
from ..nn.utils.clip_grad import Clipping
from ..tensor import Tensor

required = object()  # in an optimizer's defaults: a group has to say it
ParamsT: TypeAlias = Iterable[Any]
_step_pre_hooks: OrderedDict = OrderedDict()  # of all optimizers
_step_post_hooks: OrderedDict = OrderedDict()


def register_optimizer_step_pre_hook(hook):
    """`hook(optimizer, args, kwargs)` runs before every optimizer's step; it may return new (args, kwargs)."""
    return add_hook(_step_pre_hooks, hook)


def register_optimizer_step_post_hook(hook):
    """`hook(optimizer, args, kwargs)` runs after every optimizer's step."""
    return add_hook(_step_post_hooks, hook)


def _with_hooks(step):
    """A class's `step` between the hooks."""

    @wraps(step)
    def run(self, *args, **kwargs):
        if type(self).step is not run:  # a subclass's step called this one: its hooks have run
            return step(self, *args, **kwargs)
        if getattr(self, "_opt_called", None) is False:  # an lr_scheduler wants to know
            self._opt_called = True
        for hook in (*_step_pre_hooks.values(), *self._step_pre_hooks.values()):
            changed = hook(self, args, kwargs)
            if changed is None:
                continue
            if not isinstance(changed, tuple) or len(changed) != 2:
                raise RuntimeError(
                    f"a step pre-hook must return None or a tuple of (new_args, new_kwargs), but got {changed}."
                )
            args, kwargs = changed
        result = step(self, *args, **kwargs)
        for hook in (*self._step_post_hooks.values(), *_step_post_hooks.values()):
            hook(self, args, kwargs)
        return result

    return run


class Optimizer:
    """The base class of all optimizers.

    params: tensors, (name, tensor) pairs, or dictionaries {"params": tensors, option: value, ...}: groups with options
    of their own; `defaults` fills in the others. `state[parameter]` is a dictionary of tensors (or numbers).

    A subclass defines `init_state`, `update`, and `check`; or `step`, as in PyTorch. A fast path for it is a subclass,
    registered as an op's is (backend/fastpath.py), with a static `update_all(entries, group)`: given all (p, g, state)
    of a group, arrays as for `update` (g as it is, also with maximize), it returns those that it has left to `update`.

    On a GPU nothing waits for it. There the fast path's group says more: `now()` is the group at the time of the call (a
    captured graph asks at each replay), `lr` may be a tensor there, and `found_inf` is None or an array of one number: if
    that is not 0 the step is left out, state and count included (amp.GradScaler). A class that looks at it says so with
    `takes_found_inf = True`.

    Options that choose between implementations of PyTorch's, `foreach` and `fused`, have no effect here.

    Lesson 05.
    """

    # The state's numbers: 0-d tensors on the CPU, of the default dtype, whatever the parameter is. A fast path may move
    # them to a GPU.
    scalars: tuple[str, ...] = ("step",)
    found_inf: Any = None  # a tensor while GradScaler steps
    _loads = 0  # how often another state was loaded: captured graphs keep to the old one (cuda/graphs.py)

    def __init_subclass__(cls, **kwargs):
        super().__init_subclass__(**kwargs)
        if "step" in vars(cls):
            cls.step = _with_hooks(cls.step)

    def __init__(self, params, defaults):
        for name in ("step_pre", "step_post", "state_dict_pre", "state_dict_post", "load_pre", "load_post"):
            setattr(self, f"_{name}_hooks", OrderedDict())
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
            if value is required and name not in group:
                raise ValueError(f"a parameter group does not say its {name!r}, and there is no default")
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

    @_with_hooks
    @no_grad()
    def step(self, closure=None):
        """Update every parameter that has a gradient. `closure` recomputes the loss, with gradients, and returns it."""
        loss = None
        if closure is not None:
            with enable_grad():
                loss = closure()
        for number, group in enumerate(self.param_groups):
            pairs = [(p, grad) for p in group["params"] if (grad := p.grad) is not None]
            if not devices.several:
                self._step_group(number, pairs)
                continue
            places: dict = {}  # one GPU after the other
            for pair in pairs:
                places.setdefault(pair[0].device, []).append(pair)
            for where, some in places.items():
                with devices.gpu(some[0][0].xp, where.index):
                    self._step_group(number, some)
        return loss

    def _step_group(self, number, pairs):
        """Update parameters of a group, given with their gradients; where there are several GPUs, those of one."""
        if not pairs:
            return
        group, xp = self.param_groups[number], pairs[0][0].xp
        options = group
        lr = group.get("lr")
        if isinstance(lr, Tensor) and (type(lr.array) is np.ndarray or xp is np):
            lr = lr.item()
            options = {**group, "lr": lr}
        if xp is not np:
            found = None if self.found_inf is None else self.found_inf.to(pairs[0][0].device).array
            options = {**options, "found_inf": found, "now": lambda: self.param_groups[number]}
        entries = [(p.array, g.array, self.state.get(p) or self.init_state(p, options)) for p, g in pairs]
        fast = fastpath.ACTIVE[xp].get(type(self))
        left = entries if fast is None else fast.update_all(entries, options)
        if left and xp is not np:
            capture.refuse(
                f"an update of {type(self).__name__} that has no kernel here, so that its numbers (the learning rate, the "
                "count of steps) are the CPU's,",
                "call optimizer.step() after the captured step, or take AdamW or SGD with float32 parameters",
            )
        if left and self.found_inf is not None and devices.host(self.found_inf.array):
            left = []
        if left and isinstance(lr, Tensor):
            options = {**options, "lr": lr.array.reshape(())}
        for p, g, state in left:
            self.update(namespace_of(p), p, -g if group.get("maximize") else g, state, options)
        for (p, _), (_, _, state) in zip(pairs, entries):
            if state:
                self.state[p] = state
            p.bump_version()

    def leaves_out(self):
        """Whether all its updates look at `found_inf` on the GPU, so that GradScaler need not read it."""
        spaces = {p.xp for group in self.param_groups for p in group["params"]}
        return np not in spaces and all(
            getattr(fastpath.ACTIVE[xp].get(type(self)), "takes_found_inf", False) for xp in spaces
        )

    def register_step_pre_hook(self, hook):
        """`hook(optimizer, args, kwargs)` runs before step; it may return new (args, kwargs)."""
        return add_hook(self._step_pre_hooks, hook)

    def register_step_post_hook(self, hook):
        """`hook(optimizer, args, kwargs)` runs after step."""
        return add_hook(self._step_post_hooks, hook)

    def zero_grad(self, set_to_none=True):
        """Drop all gradients, or overwrite them with zeros."""
        grads = []
        for group in self.param_groups:
            for p in group["params"]:
                if set_to_none or p.grad is None or p.xp is np:
                    clear_grad(p, set_to_none)
                    continue
                if p.grad.requires_grad:  # it may be part of a graph (create_graph)
                    p.grad = p.grad.detach()
                grads.append(p.grad)
        if grads:
            fast = fastpath.ACTIVE[grads[0].xp].get(Clipping)
            for grad in grads if fast is None else fast.zero(grads):
                grad.zero_()

    # ---- saving --------------------------------------------------------------------------------------------------

    def state_dict(self):
        """{"state": {number: {...}}, "param_groups": [{..., "params": [numbers]}]}; parameters are numbered in order.

        The tensors are the optimizer's own, not copies.
        """
        for hook in self._state_dict_pre_hooks.values():
            hook(self)
        numbers = {p: i for i, p in enumerate(chain.from_iterable(g["params"] for g in self.param_groups))}
        groups = [
            {**{k: v for k, v in g.items() if k != "params"}, "params": [numbers[p] for p in g["params"]]}
            for g in self.param_groups
        ]
        result = {"state": {numbers.get(p, p): state for p, state in self.state.items()}, "param_groups": groups}
        for hook in self._state_dict_post_hooks.values():
            changed = hook(self, result)
            result = result if changed is None else changed
        return result

    def load_state_dict(self, state_dict):
        """Take over a state_dict() of an optimizer with the same groups.

        Tensors are copied, to the parameters' dtypes and devices.
        """
        state_dict = dict(state_dict)
        for hook in self._load_pre_hooks.values():
            changed = hook(self, state_dict)
            state_dict = state_dict if changed is None else changed
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
        self._loads += 1
        for hook in self._load_post_hooks.values():
            hook(self)

    def _take(self, value, name, p, number):
        """A copy of one saved value; tensors get the parameter's dtype and device, except the numbers."""
        ours = type(self).init_state is not Optimizer.init_state
        if name in self.scalars and (ours or isinstance(value, Tensor)):
            # PyTorch once saved them as Python numbers
            value = value.detach() if isinstance(value, Tensor) else minitorch.tensor(float(value))
            ours = self.state.get(p, {}).get(name)  # a fast path may have moved it to the GPU
            there = value if ours is None else ours
            return value.to("cpu" if p.xp is np else there.device).clone()
        if isinstance(value, (list, tuple)):
            return type(value)(self._take(v, None, p, number) for v in value)
        if not isinstance(value, Tensor):
            return deepcopy(value)
        if value.dim() > 0 and value.shape != p.shape and ours:
            raise ValueError(
                f"loaded state dict: {name} of parameter {number} has shape {tuple(value.shape)}, "
                f"the parameter has shape {tuple(p.shape)}"
            )
        return value.detach().to(device=p.device, dtype=p.dtype if p.is_floating_point() else value.dtype).clone()

    def register_state_dict_pre_hook(self, hook, prepend=False):
        """`hook(optimizer)` runs before state_dict()."""
        return add_hook(self._state_dict_pre_hooks, hook, prepend)

    def register_state_dict_post_hook(self, hook, prepend=False):
        """`hook(optimizer, state_dict)` may change what state_dict() returns, or return another one."""
        return add_hook(self._state_dict_post_hooks, hook, prepend)

    def register_load_state_dict_pre_hook(self, hook, prepend=False):
        """`hook(optimizer, state_dict)` may change a shallow copy of what is loaded, or return another one."""
        return add_hook(self._load_pre_hooks, hook, prepend)

    def register_load_state_dict_post_hook(self, hook, prepend=False):
        """`hook(optimizer)` runs when everything is loaded."""
        return add_hook(self._load_post_hooks, hook, prepend)

    def _check(self, options):
        lr = options.get("lr")
        if isinstance(lr, Tensor) and lr.numel() != 1:
            raise ValueError(f"Tensor lr must be 1-element, got {tuple(lr.shape)}")
        if options.get("foreach") and options.get("fused"):
            raise RuntimeError("`fused` and `foreach` cannot be `True` together.")
        if options.get("differentiable"):
            raise NotImplementedError("differentiable=True: minitorch's optimizers do not record their updates")
        if options.get("capturable"):
            raise NotImplementedError(
                "capturable=True is not needed: cuda.graph captures Adam, AdamW and SGD as they are; leave it out"
            )
        self.check(options)

    def __repr__(self):
        lines = [f"{type(self).__name__} ("]
        for i, group in enumerate(self.param_groups):
            lines.append(f"Parameter Group {i}")
            lines += [f"    {name}: {group[name]}" for name in sorted(group) if name != "params"]
        return "\n".join(lines) + "\n)"


def check_range(options, *rules):
    """Each rule: an option's name, its name in the message, and optionally a limit, and whether that is allowed too."""
    for name, label, *limit in rules:
        value = options[name]
        below = not limit or value < limit[0] or (limit[1:] == [True] and value == limit[0])
        if not value >= 0.0 or not below:
            raise ValueError(f"Invalid {label}: {value}")


def check_betas(options):
    """The two rates of Adam and its kin."""
    for i, beta in enumerate(options["betas"]):
        check_range({"beta": beta}, ("beta", f"beta parameter at index {i}", 1.0))


def count(state):
    """Add one to state["step"] and return it as a number; a count on a GPU, a fast path's, comes back to the CPU."""
    step = state["step"].array
    if not isinstance(step, np.ndarray):
        state["step"] = minitorch.tensor(float(devices.host(step)))
        step = state["step"].array
    step += 1
    return float(step)


def start(p, *names):
    """The step count, and zeros of the parameter's shape under each of the names."""
    return {"step": minitorch.tensor(0.0), **{name: minitorch.zeros_like(p, requires_grad=False) for name in names}}


def decayed(p, g, group):
    """g + weight_decay theta, the gradient of the loss + weight_decay |theta|^2 / 2; the array g may be returned.

    With decoupled_weight_decay (arXiv:1711.05101) theta itself shrinks, p <- p - lr weight_decay p, and g stays.
    """
    decay = group["weight_decay"]
    if decay == 0:
        return g
    if group.get("decoupled_weight_decay"):
        p *= 1 - group["lr"] * decay
        return g
    return g + decay * p


def moments(state, g, betas):
    """m <- beta1 m + (1 - beta1) g, v <- beta2 v + (1 - beta2) g^2, in place: the running means of g and of g^2."""
    m, v = state["exp_avg"].array, state["exp_avg_sq"].array
    beta1, beta2 = betas
    m += (1 - beta1) * (g - m)
    v *= beta2
    v += (1 - beta2) * g * g
    return m, v
