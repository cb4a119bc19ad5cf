"""Pictures of a run: the training curves beside their trivial baselines, and an attention map."""

from __future__ import annotations

from pathlib import Path

import matplotlib
import numpy as np

matplotlib.use("Agg")  # a file, no window
import matplotlib.pyplot as plt  # noqa: E402
from matplotlib.ticker import MaxNLocator  # noqa: E402


def plot_curves(history: list[dict], baselines: dict[str, float], path: Path) -> None:
    """Four panels: loss and accuracy of both tasks, on held-out documents, each with what is reached without reading."""
    steps = [record["step"] for record in history]
    panels = [
        ("masked tokens: loss", "held_mlm_loss", "mlm_loss", {"mlm_loss_uniform": "uniform, ln V", "mlm_loss_unigram": "word frequencies"}),
        ("masked tokens: accuracy", "held_mlm_accuracy", None, {"mlm_accuracy_most_frequent": "most frequent token"}),
        ("next sentence: loss", "held_nsp_loss", "nsp_loss", {"nsp_loss_coin": "a coin, ln 2"}),
        ("next sentence: accuracy", "held_nsp_accuracy", None, {"nsp_accuracy_majority": "majority"}),
    ]  # fmt: skip
    figure, axes = plt.subplots(2, 2, figsize=(10, 6.5), sharex=True, constrained_layout=True)
    for axis, (title, held, train, lines) in zip(axes.flat, panels):
        if train:
            axis.plot(steps, [r[train] for r in history], color="0.75", linewidth=1, label="one training batch")
        axis.plot(steps, [r[held] for r in history], color="C0", linewidth=2, label="held-out documents")
        for style, (name, label) in zip(("--", ":"), lines.items()):
            axis.axhline(baselines[name], color="C3", linestyle=style, linewidth=1.2, label=label)
        axis.set_title(title)
        axis.set_ylim(bottom=0)
        axis.grid(alpha=0.25)
        axis.legend(fontsize=8)
    for axis in axes[1]:
        axis.set_xlabel("step")
    figure.savefig(path, dpi=110)
    plt.close(figure)


def plot_attention(weights, tokens: list[str], path: Path) -> None:
    """Where each token looks: one panel a head.        weights: (layers, heads, T, T), rows look at columns"""
    layers, heads = weights.shape[:2]
    size = 0.9 + 0.16 * len(tokens)
    figure, axes = plt.subplots(
        layers,
        heads,
        figsize=(size * heads, size * layers),
        squeeze=False,
        sharex=True,
        sharey=True,
        constrained_layout=True,
    )
    for layer in range(layers):
        for head in range(heads):
            axis = axes[layer][head]
            axis.imshow(weights[layer, head], cmap="viridis", vmin=0, vmax=1)
            axis.set_title(f"layer {layer + 1}, head {head + 1}", fontsize=9)
            axis.set_xticks(range(len(tokens)), tokens, rotation=90, fontsize=7)
            axis.set_yticks(range(len(tokens)), tokens, fontsize=7)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def plot_confusion(labels, predictions, classes, path: Path) -> None:
    """Rows: what it is; columns: what was said; colour: the share of the row. Numbers where they can be read."""
    from sklearn.metrics import confusion_matrix

    counts = confusion_matrix(labels, predictions, labels=range(len(classes)))
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    size = max(4.0, min(16.0, 0.45 * len(classes) + 2))
    figure, axes = plt.subplots(figsize=(size, size), layout="constrained")
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    small = 6 if len(classes) > 30 else 8
    axes.set_xticks(range(len(classes)), classes, rotation=90, fontsize=small)
    axes.set_yticks(range(len(classes)), classes, fontsize=small)
    axes.set_xlabel("predicted (dark: a large share of the row)")
    axes.set_ylabel("true")
    if len(classes) <= 15:
        for i, j in np.ndindex(*counts.shape):
            axes.text(
                j,
                i,
                counts[i, j],
                ha="center",
                va="center",
                fontsize=8,
                color="white" if shares[i, j] > 0.5 else "black",
            )
    figure.savefig(path, dpi=130)
    plt.close(figure)


def plot_history(history: list[dict], path: Path, skip=("epoch", "lr", "seconds", "score")) -> None:
    """Each figure of the epochs' records in a field of its own."""
    names = [name for name in history[-1] if name not in skip]
    figure, fields = plt.subplots(1, len(names), figsize=(4 * len(names), 3.2), layout="constrained", squeeze=False)
    for axes, name in zip(fields[0], names):
        axes.plot([record["epoch"] for record in history], [record.get(name) for record in history], marker="o")
        axes.set_title(name.replace("_", " "))
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(alpha=0.3)
    figure.savefig(path, dpi=130)
    plt.close(figure)
