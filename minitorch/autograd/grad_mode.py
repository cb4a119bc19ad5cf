"""Whether operations are recorded: no_grad, enable_grad, set_grad_enabled, inference_mode, detect_anomaly."""

from __future__ import annotations

import functools
import inspect
import threading


class _Mode(threading.local):
    """Each thread has its own, as in PyTorch."""

    enabled = True
    inference = False
    anomaly = False
    check_nan = True


mode = _Mode()


class _Switch:
    """A context manager that is a decorator too, for functions and for generators."""

    def __call__(self, function):
        if isinstance(function, type):
            raise TypeError(f"{type(self).__name__} decorates functions; {function.__name__} is a class")
        if inspect.isgeneratorfunction(function):

            @functools.wraps(function)
            def steps(*args, **kwargs):  # the switch holds while the generator runs, not while it waits
                generator = function(*args, **kwargs)
                resume, value = generator.send, None
                while True:
                    with self._again():
                        try:
                            item = resume(value)
                        except StopIteration as stop:
                            return stop.value
                    try:
                        resume, value = generator.send, (yield item)
                    except GeneratorExit:
                        with self._again():
                            generator.close()
                        raise
                    except BaseException as error:
                        resume, value = generator.throw, error

            return steps

        @functools.wraps(function)
        def call(*args, **kwargs):
            with self._again():
                return function(*args, **kwargs)

        return call

    def _again(self):
        return type(self)()

    def __enter__(self):
        raise NotImplementedError

    def __exit__(self, *exc):
        raise NotImplementedError


class no_grad(_Switch):
    """Inside, nothing is recorded: results do not require gradients. A decorator too: `@no_grad()`."""

    _value = False

    def __new__(cls, function=None):
        self = super().__new__(cls)
        return self(function) if function is not None else self

    def __enter__(self):
        self._before = mode.enabled
        mode.enabled = self._value

    def __exit__(self, *exc):
        mode.enabled = self._before


class enable_grad(no_grad):
    """Inside, operations are recorded again, also within no_grad."""

    _value = True


class set_grad_enabled(_Switch):
    """Recording on or off: at once as a call, for a block as a context manager."""

    def __init__(self, value: bool):
        self._value = bool(value)
        self._before = mode.enabled
        mode.enabled = self._value

    def __call__(self, function):
        mode.enabled = self._before  # used as a decorator: only the function's body is switched
        return super().__call__(function)

    def _again(self):
        return set_grad_enabled(self._value)

    def __enter__(self):
        mode.enabled = self._value

    def __exit__(self, *exc):
        mode.enabled = self._before


class inference_mode(_Switch):
    """As no_grad; minitorch saves nothing more by it, so tensors made inside may be used for training later."""

    def __new__(cls, value=True):
        self = super().__new__(cls)
        self._value = True if callable(value) else bool(value)
        return self(value) if callable(value) else self

    def __init__(self, value=True):
        pass

    def _again(self):
        return inference_mode(self._value)

    def __enter__(self):
        self._before = mode.enabled, mode.inference
        mode.enabled, mode.inference = not self._value, self._value

    def __exit__(self, *exc):
        mode.enabled, mode.inference = self._before


class detect_anomaly(_Switch):
    """Inside, an op whose result or gradient is NaN while its inputs were not is an error that names the op and
    the line of the forward call. Slow: every array is searched. `check_nan=False` only records the lines."""

    def __init__(self, check_nan: bool = True):
        self._check = check_nan

    def _again(self):
        return detect_anomaly(self._check)

    def __enter__(self):
        self._before = mode.anomaly, mode.check_nan
        mode.anomaly, mode.check_nan = True, self._check

    def __exit__(self, *exc):
        mode.anomaly, mode.check_nan = self._before


def is_grad_enabled() -> bool:
    """Whether operations on tensors that require gradients are being recorded in this thread."""
    return mode.enabled


def is_inference_mode_enabled() -> bool:
    """Whether this thread is inside `inference_mode()`."""
    return mode.inference
