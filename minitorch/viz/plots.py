"""Curves, attention maps, slices of the loss surface: figures of matplotlib's (the extra `examples` or `lessons`)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from ..autograd.grad_mode import no_grad
from ..backend.devices import to_numpy
from ..ops.random import Generator, randn
from ..tensor import Tensor


def _pyplot() -> Any:
    try:
        import matplotlib.pyplot as plt
    except ImportError:
        raise ImportError("this picture needs matplotlib: pip install minitorch[examples]") from None
    return plt


def _array(values: Any) -> np.ndarray:
    if isinstance(values, Tensor):
        values = to_numpy(values.detach().array)
    return np.asarray([float(v) for v in values] if isinstance(values, (list, tuple)) else values, dtype=float)


def curves(
    series: Mapping[str, Any], *, smooth: float = 0.0, log: bool = False, baselines: Mapping[str, float] | None = None,
    xlabel: str = "step", ylabel: str = "loss", title: str = "", ax: Any = None,
) -> Any:  # fmt: skip
    """Lines over the steps: {"train": [...], "validation": ([steps], [values])}. Returns the axes.

    smooth: weight of the past in a running mean drawn over the pale raw line, 0.9 for noisy losses; its start is
    corrected as Adam's is. baselines: horizontal lines, {"most frequent class": 0.69}.
    """
    if not 0 <= smooth < 1:
        raise ValueError(f"curves: smooth is between 0 and 1, got {smooth}")
    if ax is None:
        ax = _pyplot().subplots(figsize=(6.4, 3.6), layout="constrained")[1]
    for name, data in series.items():
        pair = isinstance(data, tuple) and len(data) == 2
        y = _array(data[1] if pair else data)
        x = _array(data[0]) if pair else np.arange(1, len(y) + 1)
        if len(x) != len(y):
            raise ValueError(f"curves: {name!r} has {len(x)} steps and {len(y)} values")
        if not smooth:
            ax.plot(x, y, label=name, linewidth=1.5)
            continue
        mean, run = np.empty_like(y), 0.0
        for i, value in enumerate(y):
            run = smooth * run + (1 - smooth) * value
            mean[i] = run / (1 - smooth ** (i + 1))
        (line,) = ax.plot(x, mean, label=name, linewidth=1.8)
        ax.plot(x, y, color=line.get_color(), alpha=0.25, linewidth=0.8)
    for i, (name, value) in enumerate((baselines or {}).items()):
        ax.axhline(value, color="0.45", linestyle=("--", ":", "-.")[i % 3], linewidth=1, label=name)
    ax.set(xlabel=xlabel, ylabel=ylabel, title=title, **({"yscale": "log"} if log else {}))
    ax.grid(alpha=0.25)
    ax.legend(frameon=False)
    return ax


def attention(
    weights: Any, queries: Sequence[str] | None = None, keys: Sequence[str] | None = None, *, title: str = ""
) -> Any:
    """Attention maps, one picture for each head. Returns the figure.

    weights: (T_query, T_key), or (heads, T_query, T_key); rows sum to one. queries, keys: the tokens; keys are the
    queries where they are not given.
    """
    plt = _pyplot()
    array = to_numpy(weights.detach().array) if isinstance(weights, Tensor) else np.asarray(weights)
    array = array[None] if array.ndim == 2 else array
    if array.ndim != 3:
        raise ValueError(
            f"attention: expected (T, S) or (heads, T, S), got {tuple(np.shape(weights))}: choose one sample"
        )
    keys = queries if keys is None else keys
    for name, tokens, size in (("queries", queries, array.shape[1]), ("keys", keys, array.shape[2])):
        if tokens is not None and len(tokens) != size:
            raise ValueError(f"attention: {len(tokens)} {name} for a map of {size}")
    columns = min(4, len(array))
    rows = -(-len(array) // columns)
    side = max(2.4, 0.24 * max(array.shape[1:]))
    figure, axes = plt.subplots(
        rows, columns, figsize=(side * columns + 0.8, side * rows + 0.4), squeeze=False, layout="constrained"
    )
    for head, ax in enumerate(axes.flat):
        if head >= len(array):
            ax.axis("off")
            continue
        image = ax.imshow(array[head], vmin=0, vmax=1, cmap="Blues", aspect="auto")
        if len(array) > 1:
            ax.set_title(f"head {head}", fontsize=9)
        if keys is not None:
            ax.set_xticks(range(len(keys)), keys, rotation=90, fontsize=7)
        if queries is not None:
            ax.set_yticks(range(len(queries)), queries, fontsize=7)
        if not head:
            ax.set(xlabel="key", ylabel="query")
    figure.colorbar(image, ax=axes, shrink=0.7, label="weight")
    if title:
        figure.suptitle(title)
    return figure


def landscape(
    loss: Callable[[], Tensor], parameters: Any, *, span: float = 1.0, points: int = 21, dimensions: int = 2,
    seed: int = 0, ax: Any = None,
) -> Any:  # fmt: skip
    """The loss around the present parameters, along one or two random directions. Returns the axes.

    loss: computes it from the parameters as they are; called points ** dimensions times. Each direction has in every
    filter (row of a weight) that row's norm, so that a unit step means the same in every layer; vectors (biases,
    normalizations) stay (arXiv:1712.09913). The parameters are put back, whatever happens.
    """
    if dimensions not in (1, 2):
        raise ValueError(f"landscape: dimensions is 1 or 2, got {dimensions}")
    parameters = [p for p in parameters if p.requires_grad]
    if not parameters:
        raise ValueError("landscape: there is no parameter that requires a gradient")
    generator = Generator().manual_seed(seed)
    directions = []
    for _ in range(dimensions):
        one = []
        for p in parameters:
            d = to_numpy(randn(*p.shape, generator=generator).array).astype(float)
            w = to_numpy(p.detach().array).astype(float)
            if p.ndim < 2:
                one.append(np.zeros_like(w))
                continue
            axes = tuple(range(1, p.ndim))
            scale = np.sqrt((w**2).sum(axes, keepdims=True) / np.maximum((d**2).sum(axes, keepdims=True), 1e-30))
            one.append(d * scale)
        directions.append(one)
    kept = [p.array.copy() for p in parameters]
    steps = np.linspace(-span, span, points)
    surface = np.empty((points,) * dimensions)
    try:
        with no_grad():
            for index in np.ndindex(surface.shape):
                for k, (p, start) in enumerate(zip(parameters, kept)):
                    move = sum(steps[i] * d[k] for i, d in zip(index, directions))
                    p.array[...] = start + p.xp.asarray(move, dtype=start.dtype)
                    p.bump_version()
                surface[index] = float(loss())
    finally:
        for p, start in zip(parameters, kept):
            p.array[...] = start
            p.bump_version()
    if ax is None:
        ax = _pyplot().subplots(figsize=(5, 4), layout="constrained")[1]
    if dimensions == 1:
        ax.plot(steps, surface)
        ax.axvline(0, color="0.6", linewidth=0.8)
        ax.set(xlabel="step along a random direction", ylabel="loss")
    else:
        drawn = ax.contourf(steps, steps, surface.T, levels=24, cmap="viridis")
        ax.plot(0, 0, "w+", markersize=9)
        ax.figure.colorbar(drawn, ax=ax, label="loss")
        ax.set(xlabel="direction 1", ylabel="direction 2")
    return ax
