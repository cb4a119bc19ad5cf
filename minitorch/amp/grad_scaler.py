"""GradScaler: the loss is multiplied so that small gradients do not vanish in float16.

With a factor s:  d(s L)/dw = s dL/dw.  The gradients are divided by s again before the step. If one of them is infinite or
NaN, s was too large: the step is left out and s is lowered; after growth_interval good steps in a row s is raised.
(arXiv:1710.03740)

On the CPU s is a Python number. On a GPU s, the count of good steps, and whether something was not finite are tensors
there, and nothing waits for them: the optimizers that have a kernel for it (Adam, AdamW, SGD) look there themselves
whether to step; for the others step() reads one number back.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from ..autograd.grad_mode import no_grad
from ..backend import capture, devices, fastpath
from ..ops.creation import tensor
from ..optim.optimizer import Optimizer
from ..tensor import Tensor, wrap

_LARGEST = 3.4028234663852886e38  # float32


class Scaling:
    """A fast path for it (backend/fastpath.py) does GradScaler's work on a GPU:

    unscale(tensors, scale, found): divides them in place, and sets `found` to 1 if a number is not finite; returns those
    that are left. update(scale, good, found, current): the next scale, with current() -> (growth_factor, backoff_factor,
    growth_interval). scale, good and found are tensors of one number, of float32, int32 and float32.
    """


class GradScaler:
    """scaler.scale(loss).backward(); scaler.step(optimizer); scaler.update()

    scale: loss times the factor. unscale_: divides the gradients, for clipping. step: unscales unless that is done, and
    steps unless a gradient is infinite or NaN. update: chooses the next factor. enabled=False: none of them does anything.
    """

    _there: tuple[Tensor, Tensor] | None = None  # on a GPU: scale and growth tracker, in place of the CPU's numbers

    def __init__(
        self, device: str = "cuda", init_scale: float = 2.0**16, growth_factor: float = 2.0,
        backoff_factor: float = 0.5, growth_interval: int = 2000, enabled: bool = True,
    ):  # fmt: skip
        self._device = device
        self._enabled = bool(enabled)
        if self._enabled and device == "cuda":
            from .. import cuda

            if not cuda.is_available():
                warnings.warn("GradScaler is enabled, but CUDA is not available.  Disabling.", stacklevel=2)
                self._enabled = False
        if self._enabled:
            if growth_factor <= 1.0:
                raise AssertionError("The growth factor must be > 1.0.")
            if backoff_factor >= 1.0:
                raise AssertionError("The backoff factor must be < 1.0.")
        self._scale, self._growth_tracker = float(init_scale), 0
        self._growth_factor, self._backoff_factor = growth_factor, backoff_factor
        self._growth_interval = growth_interval
        self._used = False  # whether scale() has been called
        self._stages: dict[int, str] = {}  # id(optimizer) -> "unscaled" or "stepped", since the last update
        self._found: dict[int, Any] = {}  # id(optimizer) -> whether a gradient was not finite: a bool, or on a GPU

    def scale(self, outputs: Any) -> Any:
        """The tensor times the factor; or the tensors of a list."""
        if not self._enabled:
            return outputs
        self._used = True
        if isinstance(outputs, Tensor):
            if outputs.xp is np and self._there is None:
                return outputs * tensor(self._scale, device=outputs.device)
            return outputs * self._tensors(outputs)[0].to(outputs.device)
        if isinstance(outputs, (list, tuple)):
            return type(outputs)(self.scale(each) for each in outputs)
        if hasattr(outputs, "__iter__"):
            return map(self.scale, outputs)
        raise ValueError("outputs must be a Tensor or an iterable of Tensors")

    def _tensors(self, like: Tensor) -> tuple[Tensor, Tensor]:
        """The scale and the growth tracker as tensors, made when a tensor on a GPU is met for the first time."""
        if self._there is None:
            capture.refuse("making GradScaler's scale", "call the step at least once before it is captured")
            xp = like.xp
            self._there = (
                wrap(xp.full((), self._scale, np.float32)), wrap(xp.full((), self._growth_tracker, np.int32))
            )  # fmt: skip
        return self._there

    def _check_used(self, name: str) -> None:
        if not self._used:
            raise AssertionError(
                f"Attempted {name} but the scale is not in use: call scaler.scale(loss).backward() before {name}"
            )

    @no_grad()
    def unscale_(self, optimizer: Any) -> None:
        """Divides the gradients of the optimizer's parameters by the factor, once before each step."""
        if not self._enabled:
            return
        self._check_used("unscale_")
        stage = self._stages.get(id(optimizer))
        if stage == "unscaled":
            raise RuntimeError("unscale_() has already been called on this optimizer since the last update().")
        if stage == "stepped":
            raise RuntimeError("unscale_() is being called after step().")
        here: list[Tensor] = []  # gradients on the CPU, and on a GPU
        there: list[Tensor] = []
        for group in optimizer.param_groups:
            for p in group["params"]:
                if p.grad is None:
                    continue
                if p.grad.array.dtype.itemsize == 2 and p.grad.dtype.name == "float16":
                    raise ValueError("Attempting to unscale FP16 gradients.")
                (here if p.grad.xp is np else there).append(p.grad)
        found: Any = False
        for grad in here:
            found = found or not bool(grad.isfinite().all())
            grad.mul_(1.0 / self.get_scale())
        if there:
            found = self._unscale_there(there, found)
        self._found[id(optimizer)] = found
        self._stages[id(optimizer)] = "unscaled" if here or there else "nothing"

    def _unscale_there(self, grads: list[Tensor], found_here: bool) -> Tensor:
        scale, xp = self._tensors(grads[0])[0], grads[0].xp
        found = wrap(xp.full((), float(found_here), np.float32))
        fast = fastpath.ACTIVE[xp].get(Scaling)
        for grad in grads if fast is None else fast.unscale(grads, scale, found):
            found.copy_(found.maximum(grad.isfinite().all().logical_not().to(found.device, found.dtype)))
            grad.mul_(scale.double().reciprocal().float().to(grad.device))
        return found

    def step(self, optimizer: Any, *args: Any, **kwargs: Any) -> Any:
        """optimizer.step(), unless a gradient is infinite or NaN; returns what it returns."""
        if not self._enabled:
            return optimizer.step(*args, **kwargs)
        if "closure" in kwargs or args:
            raise RuntimeError("Closure use is not currently supported if GradScaler is enabled.")
        if self._stages.get(id(optimizer)) == "stepped":
            raise RuntimeError("step() has already been called since the last update().")
        if self._stages.get(id(optimizer)) != "unscaled":
            self.unscale_(optimizer)
        if self._stages[id(optimizer)] == "nothing":
            raise AssertionError(
                "No inf checks were recorded for this optimizer: none of its parameters has a gradient"
            )
        found = self._found[id(optimizer)]
        if isinstance(found, Tensor) and isinstance(optimizer, Optimizer) and optimizer.leaves_out():
            optimizer.found_inf = found
            try:
                result = optimizer.step(**kwargs)
            finally:
                optimizer.found_inf = None
        else:
            bad = bool(devices.host(found.array)) if isinstance(found, Tensor) else found
            result = None if bad else optimizer.step(**kwargs)
        self._stages[id(optimizer)] = "stepped"
        return result

    @no_grad()
    def update(self, new_scale: Any = None) -> None:
        """Chooses the next factor: lower after a gradient that was not finite, higher after growth_interval good steps; or
        `new_scale`."""
        if not self._enabled:
            return
        self._check_used("update")
        if new_scale is not None:
            if isinstance(new_scale, Tensor) and (new_scale.numel() != 1 or new_scale.requires_grad):
                raise AssertionError("new_scale should be a float or a 1-element tensor with requires_grad=False.")
            if self._there is None:
                self._scale = float(new_scale)
            elif isinstance(new_scale, Tensor):
                self._there[0].copy_(new_scale.reshape(()))
            else:
                self._there[0].fill_(float(new_scale))
        else:
            if not self._found:
                raise AssertionError("No inf checks were recorded prior to update.")
            there = [found for found in self._found.values() if isinstance(found, Tensor)]
            if there or self._there is not None:
                self._update_there(there, any(found is True for found in self._found.values()))
            elif any(self._found.values()):
                self._scale, self._growth_tracker = self._scale * self._backoff_factor, 0
            else:
                self._growth_tracker += 1
                if self._growth_tracker == self._growth_interval:
                    grown = self._scale * self._growth_factor
                    self._scale = grown if grown <= _LARGEST else self._scale
                    self._growth_tracker = 0
        self._stages.clear()
        self._found.clear()

    def _update_there(self, there: list[Tensor], found_here: bool) -> None:
        assert self._there is not None
        scale, good = self._there
        found = there[0] if there else scale.new_zeros(())
        for other in there[1:]:
            found = found.maximum(other.to(found.device))
        if found_here:
            found = found.new_ones(())
        found = found.to(scale.device)

        def current() -> tuple[float, ...]:
            return float(self._growth_factor), float(self._backoff_factor), float(self._growth_interval)

        fast = fastpath.ACTIVE[scale.xp].get(Scaling)
        if fast is not None:
            fast.update(scale, good, found, current)
            return
        bad, grow = found != 0, good + 1 == self._growth_interval
        grown = scale * self._growth_factor
        grown = grown.where(grown <= _LARGEST, scale)
        scale.copy_((scale * self._backoff_factor).where(bad, grown.where(grow, scale)))
        good.copy_((good + 1).masked_fill(bad | grow, 0))

    def get_scale(self) -> float:
        """The factor; 1.0 if not enabled. Waits for a GPU that has it."""
        if not self._enabled:
            return 1.0
        return self._scale if self._there is None else float(devices.host(self._there[0].array))

    def is_enabled(self) -> bool:
        """Whether it does anything."""
        return self._enabled

    def get_growth_factor(self) -> float:
        """What the factor is raised by."""
        return self._growth_factor

    def set_growth_factor(self, new_factor: float) -> None:
        """What the factor is raised by."""
        self._growth_factor = new_factor

    def get_backoff_factor(self) -> float:
        """What the factor is lowered by."""
        return self._backoff_factor

    def set_backoff_factor(self, new_factor: float) -> None:
        """What the factor is lowered by."""
        self._backoff_factor = new_factor

    def get_growth_interval(self) -> int:
        """How many good steps in a row raise the factor."""
        return self._growth_interval

    def set_growth_interval(self, new_interval: int) -> None:
        """How many good steps in a row raise the factor."""
        self._growth_interval = new_interval

    def state_dict(self) -> dict[str, Any]:
        """The factor and how it changes; empty if not enabled."""
        if not self._enabled:
            return {}
        return {
            "scale": self.get_scale(), "growth_factor": self._growth_factor, "backoff_factor": self._backoff_factor,
            "growth_interval": self._growth_interval,
            "_growth_tracker": self._growth_tracker if self._there is None else int(devices.host(self._there[1].array)),
        }  # fmt: skip

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Goes on from a `state_dict()`."""
        if not self._enabled:
            return
        if not state_dict:
            raise RuntimeError(
                "The source state dict is empty, possibly because it was saved from a disabled instance of GradScaler."
            )
        self._scale, self._growth_tracker = float(state_dict["scale"]), int(state_dict["_growth_tracker"])
        self._growth_factor, self._backoff_factor = state_dict["growth_factor"], state_dict["backoff_factor"]
        self._growth_interval = state_dict["growth_interval"]
        if self._there is not None:  # in place: captured graphs read them there
            self._there[0].fill_(self._scale)
            self._there[1].fill_(self._growth_tracker)
