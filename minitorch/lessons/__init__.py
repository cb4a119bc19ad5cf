"""What a lesson's notebook imports: exercises that are checked on the spot, a numeric gradient, a plot of errors.

    from minitorch import lessons
    lesson = lessons.start(4)

    @lesson.check("softmax", hint="Divide by the sum over the last axis, with keepdims=True.")
    def _(softmax):
        lessons.same(softmax(np.zeros((1, 2))), [[0.5, 0.5]])

A check that fails raises `NotYet`, which a notebook shows as a hint without a traceback, and puts the finished version in
the learner's place, so that the cells after it run. The finished versions, and the equations that `minitorch.explain`
names, are in NN.json beside this file; `make lessons` writes them.
"""

from __future__ import annotations

import json
import linecache
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["Lesson", "NotYet", "numeric_gradient", "read", "same", "show_errors", "start"]

_FOLDER = Path(__file__).parent


class NotYet(Exception):
    """An exercise that is not done yet."""

    def _render_traceback_(self) -> list[str]:
        """IPython asks an exception for this, and prints it in place of a traceback."""
        return str(self).splitlines()


def read(number: int | str) -> dict:
    """Title, exercises and equations of a lesson."""
    file = _FOLDER / f"{int(number):02}.json"
    return json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}


def start(number: int) -> Lesson:
    """The first line of a lesson: its exercises' checks; sets the style of its pictures."""
    if sys.excepthook is sys.__excepthook__:
        sys.excepthook = _excepthook
    try:
        import matplotlib as mpl
    except ImportError:
        print("The pictures need matplotlib: pip install matplotlib")
    else:
        mpl.rcParams.update(_STYLE)
    return Lesson(number)


class Lesson:
    """The exercises of one lesson."""

    def __init__(self, number: int):
        self.number = int(number)
        self.given: dict[str, Any] = {}  # name -> the finished version that stands in for the learner's

    def check(self, *names: str, hint: str) -> Callable:
        """Runs the decorated function on what the notebook defines under `names` (functions or classes)."""

        def run(test: Callable) -> None:
            space = test.__globals__
            missing = [name for name in names if name not in space]
            again = [name for name in names if name in self.given and space.get(name) is self.given[name]]
            what, words = ", ".join(names), ""
            if missing:
                words = f"{missing[0]} is not defined: run the cell above first."
            elif again:
                words = f"{again[0]} is the finished version now. Run your own cell again, then this one."
            else:
                try:
                    test(*[space[name] for name in names])
                except Exception as error:
                    words = _explain(error, test)
            if not words:
                print(f"✓ {what}")
                return
            self._go_on(names, space)
            raise NotYet(
                f"✗ {what}: not yet. {words}\n  Hint: {hint}\n  The cells below go on with a finished version."
            )

        return run

    def _go_on(self, names: tuple[str, ...], space: dict) -> None:
        """Puts the finished versions into the notebook."""
        for exercise in read(self.number).get("exercises", []):
            if set(names) & set(exercise["names"]):
                exec(compile(exercise["solution"], f"<lesson {self.number:02}: {', '.join(names)}>", "exec"), space)
                self.given.update({name: space[name] for name in names})


def _explain(error: Exception, test: Callable) -> str:
    """One line: what was wrong, and where in the learner's code."""
    text = str(error).strip().splitlines()
    if isinstance(error, AssertionError):
        return text[0] if text else "A value is not what it should be."
    words = f"It stopped with {type(error).__name__}: {text[0] if text else ''}".rstrip()
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if frame.filename != __file__ and frame.name != test.__name__ and frame.filename != np.__file__:
            line = (frame.line or linecache.getline(frame.filename, frame.lineno or 0)).strip()
            if line and "site-packages" not in frame.filename:
                return f"{words}, at `{line}`."
    return words + (" (Does it return its result?)" if "NoneType" in words else ".")


def _excepthook(kind: Any, error: Any, trace: Any) -> None:
    """In a script too a hint comes without a traceback."""
    if isinstance(error, NotYet):
        print(error, file=sys.stderr)
    else:
        sys.__excepthook__(kind, error, trace)


def same(actual: Any, expected: Any, tol: float = 1e-6, what: str = "") -> None:
    """Asserts equal shapes, and values within tol (absolute, and relative to the expected), in one line."""
    what = what + ": " if what else ""
    if actual is None or actual is Ellipsis:
        raise AssertionError(f"{what}nothing is returned yet.")
    found, wanted = _array(actual), _array(expected)
    if found.shape != wanted.shape:
        raise AssertionError(f"{what}the shape is {found.shape}, and should be {wanted.shape}.")
    close = np.isclose(found, wanted, rtol=tol, atol=tol, equal_nan=True)
    if not close.all():
        at = tuple(int(i) for i in np.argwhere(~close)[0])
        place = f" at {at}" if at else ""
        raise AssertionError(f"{what}got {found[at]:.6g}{place}, expected {wanted[at]:.6g}.")


def _array(value: Any) -> np.ndarray:
    value = getattr(value, "detach", lambda: value)()
    try:
        return np.asarray(value, np.float64)
    except (TypeError, ValueError):
        raise AssertionError(f"got {type(value).__name__} {value!r:.60}, expected numbers.") from None


def numeric_gradient(f: Callable, x: np.ndarray, dy: Any = 1.0, h: float = 1e-5) -> np.ndarray:
    """Central differences (lesson 00): the gradient of sum(dy * f(x)) with respect to each element of x, in float64."""
    x = np.array(x, np.float64)
    gradient = np.zeros_like(x)
    for i in np.ndindex(x.shape):
        kept = x[i]
        x[i] = kept + h
        above = np.sum(dy * f(x))
        x[i] = kept - h
        below = np.sum(dy * f(x))
        x[i] = kept
        gradient[i] = (above - below) / (2 * h)
    return gradient


def show_errors(pairs: dict[str, tuple], title: str = "", limit: float = 1e-6) -> float:
    """Plots |by hand - numeric| of every element, one row for each gradient; returns the largest.

    pairs: {"dx": (by hand, numeric), ...}. Exact agreement is drawn at the left edge.
    """
    import matplotlib.pyplot as plt

    errors = {name: np.abs(_array(a) - _array(n)).ravel() for name, (a, n) in pairs.items()}
    worst = max(float(e.max(initial=0)) for e in errors.values())
    figure, axes = plt.subplots(figsize=(7, 0.9 + 0.45 * len(errors)))
    rng = np.random.default_rng(0)
    for row, e in enumerate(errors.values()):
        axes.scatter(np.maximum(e, 1e-17), row + rng.uniform(-0.22, 0.22, e.size), s=14, alpha=0.6, linewidths=0)
    axes.axvline(limit, color="crimson", linestyle="--", linewidth=1)
    axes.text(limit * 1.3, -0.45, "limit", color="crimson", va="top", fontsize=9)
    axes.set(xscale="log", xlim=(0.7e-17, max(1e2 * limit, 3 * worst)), ylim=(len(errors) - 0.5, -0.6))
    axes.set_yticks(range(len(errors)), list(errors))
    axes.grid(axis="y", visible=False)
    axes.set_xlabel("|by hand - numeric|, one dot an element")
    axes.set_title(title or f"largest difference {worst:.1e}")
    plt.show()
    return worst


_STYLE: Any = {
    "figure.figsize": (7, 4),
    "figure.dpi": 100,
    "figure.constrained_layout.use": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.3,
    "axes.titlesize": 12,
    "axes.labelsize": 11,
    "font.size": 11,
    "lines.linewidth": 2,
    "legend.frameon": False,
    "image.cmap": "viridis",
}
