"""GradScaler: the loss is multiplied so that small gradients do not vanish in float16.

With a factor s:  d(s L)/dw = s dL/dw.  The gradients are divided by s again before the step. If one of them is infinite or
NaN, s was too large: the step is left out and s is lowered; after growth_interval good steps in a row s is raised.
(arXiv:1710.03740)
"""

from __future__ import annotations

import warnings
from typing import Any

from ..autograd.grad_mode import no_grad
from ..ops.creation import tensor
from ..tensor import Tensor


class GradScaler:
    """scaler.scale(loss).backward(); scaler.step(optimizer); scaler.update()

    scale: loss times the factor. unscale_: divides the gradients, for clipping. step: unscales unless that is done, and
    steps unless a gradient is infinite or NaN. update: chooses the next factor. enabled=False: none of them does anything.
    """

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
        self._found: dict[int, bool] = {}  # id(optimizer) -> whether a gradient was not finite

    def scale(self, outputs: Any) -> Any:
        """The tensor times the factor; or the tensors of a list."""
        if not self._enabled:
            return outputs
        self._used = True
        if isinstance(outputs, Tensor):
            return outputs * tensor(self._scale, device=outputs.device)
        if isinstance(outputs, (list, tuple)):
            return type(outputs)(self.scale(each) for each in outputs)
        if hasattr(outputs, "__iter__"):
            return map(self.scale, outputs)
        raise ValueError("outputs must be a Tensor or an iterable of Tensors")

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
        found, seen = False, 0
        for group in optimizer.param_groups:
            for p in group["params"]:
                if p.grad is None:
                    continue
                if p.grad.array.dtype.itemsize == 2 and p.grad.dtype.name == "float16":
                    raise ValueError("Attempting to unscale FP16 gradients.")
                seen += 1
                found = found or not bool(p.grad.isfinite().all())
                p.grad.mul_(1.0 / self._scale)
        self._found[id(optimizer)] = found
        self._stages[id(optimizer)] = "unscaled" if seen else "nothing"

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
        result = None if self._found[id(optimizer)] else optimizer.step(**kwargs)
        self._stages[id(optimizer)] = "stepped"
        return result

    def update(self, new_scale: Any = None) -> None:
        """Chooses the next factor: lower after a gradient that was not finite, higher after growth_interval good steps; or
        `new_scale`."""
        if not self._enabled:
            return
        self._check_used("update")
        if new_scale is not None:
            if isinstance(new_scale, Tensor) and (new_scale.numel() != 1 or new_scale.requires_grad):
                raise AssertionError("new_scale should be a float or a 1-element tensor with requires_grad=False.")
            self._scale = float(new_scale)
        else:
            if not self._found:
                raise AssertionError("No inf checks were recorded prior to update.")
            if any(self._found.values()):
                self._scale, self._growth_tracker = self._scale * self._backoff_factor, 0
            else:
                self._growth_tracker += 1
                if self._growth_tracker == self._growth_interval:
                    grown = self._scale * self._growth_factor
                    self._scale = grown if grown <= 3.4028234663852886e38 else self._scale
                    self._growth_tracker = 0
        self._stages.clear()
        self._found.clear()

    def get_scale(self) -> float:
        """The factor; 1.0 if not enabled."""
        return self._scale if self._enabled else 1.0

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
            "growth_interval": self._growth_interval, "_growth_tracker": self._growth_tracker,
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
