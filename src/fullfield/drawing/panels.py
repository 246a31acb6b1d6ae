"""Draws the figure of an evaluation with matplotlib: curves, a reliability diagram and a confusion matrix."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fullfield.drawing.chart import matplotlib_part
from fullfield.store.palette import distinct
from fullfield.text import shortened

_INK, _PALE, _GRID, _BAR = "#222222", "#787878", "#e4e4e4", "#a0cdc8"
_INCHES, _DPI = 5.2, 100  # of a panel a side
_CURVES = 10  # drawn with a name
_MATRIX = 30  # classes of a confusion matrix
_NUMBERS = 10  # classes up to which its cells are labelled


@dataclass(frozen=True, eq=False)
class NamedCurve:
    """A curve ``(2, n)``, x and y, and its name in the legend."""

    name: str
    points: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class CurvePanel:
    """Curves on common axes.

    Args:
        title, x_title, y_title: of the panel and its axes.
        curves: in the order of the legend.
        diagonal: whether to draw the line of chance.
        logarithmic: whether x is.
    """

    title: str
    x_title: str
    y_title: str
    curves: tuple[NamedCurve, ...]
    diagonal: bool = False
    logarithmic: bool = False


@dataclass(frozen=True, eq=False)
class ReliabilityPanel:
    """Share of right predictions ``(bins,)`` by confidence, and how many there are; NaN where there are none."""

    title: str
    accuracy: NDArray[np.float64]
    counts: NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class MatrixPanel:
    """Counts of samples by label (rows) and prediction (columns)."""

    title: str
    names: tuple[str, ...]
    counts: NDArray[np.int64]


Panel = CurvePanel | ReliabilityPanel | MatrixPanel


def draw_panels(panels: Sequence[Panel], title: str) -> Image.Image:
    """The panels, at most three in a row, under a title.

    Raises:
        ImageError: matplotlib is not installed.
    """
    across = len(panels) if len(panels) < 4 else -(-len(panels) // 2)
    down = -(-len(panels) // across)
    size = across * _INCHES, down * _INCHES + 0.6
    figure = matplotlib_part("figure").Figure(figsize=size, dpi=_DPI, layout="constrained")
    figure.get_layout_engine().set(w_pad=0.15, h_pad=0.15)
    matplotlib_part("backends.backend_agg").FigureCanvasAgg(figure)
    figure.suptitle(title, x=0.02, ha="left", fontsize=14, color=_INK)
    for number, panel in enumerate(panels):
        axes = figure.add_subplot(down, across, number + 1)
        axes.set_title(panel.title, loc="left", fontsize=12, color=_INK)
        axes.tick_params(labelsize=9, colors=_PALE)
        axes.spines[:].set_color(_PALE)
        _DRAWN[type(panel)](axes, panel)
    file = io.BytesIO()
    figure.savefig(file, format="png")
    return Image.open(file).convert("RGB")


def _curves(axes: Any, panel: CurvePanel) -> None:
    axes.set_xlabel(panel.x_title, color=_INK)
    axes.set_ylabel(panel.y_title, color=_INK)
    axes.set(ylim=(-0.02, 1.02))
    axes.grid(color=_GRID)
    if panel.diagonal:
        axes.plot([0, 1], [0, 1], color=_PALE, linestyle=(0, (4, 4)), linewidth=1)
    if panel.logarithmic:
        axes.set_xscale("symlog", linthresh=0.25, linscale=0.5)
        axes.xaxis.set_major_formatter(matplotlib_part("ticker").FuncFormatter(lambda value, _: f"{value:g}"))
        axes.set_xticks([0, 0.25, 1, 4, 16, 64, 256])
        axes.xaxis.set_minor_locator(matplotlib_part("ticker").NullLocator())
    else:
        axes.set(xlim=(-0.02, 1.02), aspect="equal")
    for curve, colour in zip(panel.curves[:_CURVES], distinct(_CURVES), strict=False):
        rgb = tuple(part / 255 for part in colour)
        axes.plot(*curve.points, color=rgb, linewidth=2, label=shortened(curve.name, 32))
    if len(panel.curves) > _CURVES:
        axes.plot([], [], color="none", label=f"and {len(panel.curves) - _CURVES} more")
    if panel.curves:
        axes.legend(fontsize=9, loc="lower right" if panel.diagonal or panel.logarithmic else "lower left")


def _reliability(axes: Any, panel: ReliabilityPanel) -> None:
    bins = len(panel.counts)
    edges = np.arange(bins) / bins
    axes.bar(edges, np.nan_to_num(panel.accuracy), 1 / bins, align="edge", color=_BAR, edgecolor="white")
    share = panel.counts / max(1, panel.counts.sum())
    axes.step([*edges, 1], [*share, share[-1]], where="post", color=_INK, linewidth=1, label="share of the samples")
    axes.plot([0, 1], [0, 1], color=_PALE, linestyle=(0, (4, 4)), linewidth=1, label="perfectly calibrated")
    axes.set_xlabel("confidence", color=_INK)
    axes.set_ylabel("share that is right", color=_INK)
    axes.set(xlim=(0, 1), ylim=(0, 1.02), aspect="equal")
    axes.legend(fontsize=9, loc="upper left")


def _matrix(axes: Any, panel: MatrixPanel) -> None:
    counts = panel.counts[:_MATRIX, :_MATRIX]
    shares = counts / np.maximum(panel.counts.sum(axis=1)[:_MATRIX, None], 1)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    names = [shortened(name, 14) for name in panel.names[:_MATRIX]]
    axes.set_xticks(range(len(names)), names, rotation=45, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(len(names)), names)
    axes.set_xlabel("predicted", color=_INK)
    axes.set_ylabel("label", color=_INK)
    if len(names) > _NUMBERS:
        return
    for (i, j), count in np.ndenumerate(counts):
        colour = "white" if shares[i, j] > 0.5 else _INK
        axes.text(j, i, f"{count}\n{shares[i, j]:.0%}", ha="center", va="center", color=colour, fontsize=9)


_DRAWN: dict[type, Callable[[Any, Any], None]] = {
    CurvePanel: _curves,
    ReliabilityPanel: _reliability,
    MatrixPanel: _matrix,
}
