"""Pictures of a run: the training curves beside their trivial baselines, and an attention map."""

from __future__ import annotations

from pathlib import Path

import matplotlib

matplotlib.use("Agg")  # a file, no window
import matplotlib.pyplot as plt  # noqa: E402


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
