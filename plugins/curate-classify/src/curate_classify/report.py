"""What a training was worth, as pictures and numbers."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from curate_classify.labels import roc_curve
from curate_core import NDArray

_WORST = 24
_BINS = np.linspace(0, 1, 21)


def write_report(
    folder: Path, metrics: Mapping[str, Any], labels: NDArray, probability: NDArray, images: NDArray, ids: Sequence[str]
) -> None:
    """``metrics.json``, ``roc.png`` and ``worst.png`` of the validation samples.

    Args:
        labels: (n,) 0 or 1.
        probability: (n,) of being good.
        images: (n, h, w) uint8.
        ids: of the samples.
    """
    (folder / "metrics.json").write_text(json.dumps(metrics, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    _draw_roc(folder / "roc.png", metrics, labels, probability)
    _draw_worst(folder / "worst.png", labels, probability, images, ids)


def _draw_roc(path: Path, metrics: Mapping[str, Any], labels: NDArray, probability: NDArray) -> None:
    from matplotlib.figure import Figure

    figure = Figure((8, 3.6), layout="constrained")
    curve, spread = figure.subplots(1, 2)
    false, true, _ = roc_curve(labels, probability)
    curve.plot(false, true, drawstyle="steps-post", color="tab:blue")
    curve.plot([0, 1], [0, 1], color="0.7", linewidth=0.8, linestyle="--")
    curve.set(xlabel="bad patches that stay", ylabel="good patches that stay", title=f"AUROC {metrics['auroc']:.3f}", aspect="equal")
    for value, color, name in ((0, "tab:red", "bad"), (1, "tab:green", "good")):
        spread.hist(probability[labels == value], _BINS, color=color, alpha=0.6, label=f"{name}, {np.sum(labels == value)}")
    spread.axvline(metrics["threshold"], color="0.3", linewidth=0.8, linestyle="--")
    spread.set(xlabel="probability of being good", ylabel="validation patches", xlim=(0, 1))
    spread.legend(frameon=False)
    figure.savefig(path, dpi=120, metadata={"Software": None})


def _draw_worst(path: Path, labels: NDArray, probability: NDArray, images: NDArray, ids: Sequence[str]) -> None:
    """A contact sheet of the samples that the network judges most wrongly."""
    from matplotlib.figure import Figure

    error = np.abs(probability - labels)
    worst = np.argsort(-error, kind="stable")[:_WORST]
    columns = 6
    rows = max(1, -(-len(worst) // columns))
    figure = Figure((1.7 * columns, 2.1 * rows), layout="constrained")
    for axis in figure.subplots(rows, columns, squeeze=False).flat:
        axis.axis("off")
    for axis, row in zip(figure.axes, worst.tolist(), strict=False):
        axis.imshow(images[row], cmap="gray", vmin=0, vmax=255)
        color = "tab:red" if error[row] > 0.5 else "0.2"
        axis.set_title(f"{'good' if labels[row] else 'bad'}, seen as {probability[row]:.2f}", fontsize=7, color=color)
        axis.text(0.5, -0.06, _short(ids[row]), transform=axis.transAxes, fontsize=5, ha="center", va="top")
    figure.savefig(path, dpi=120, metadata={"Software": None})


def _short(name: str) -> str:
    return name if len(name) <= 36 else f"{name[:14]}...{name[-19:]}"
