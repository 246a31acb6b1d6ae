"""Samples windows of a map and runs the original network on each as a crop of the image."""

from __future__ import annotations

import random
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray

from fullfield.engine.progress import OnProgress, StageReporter
from fullfield.engine.protocols import Source
from fullfield.errors import GeometryError
from fullfield.model.cuda_arithmetic import cuda_arithmetic
from fullfield.model.model import Model

Cell = tuple[int, int]

BATCH = 16  # crops that are run together


def check_samples(name: str, samples: int) -> None:
    """Checks a number of windows.

    Raises:
        GeometryError: it is not a positive integer.
    """
    if not isinstance(samples, int) or isinstance(samples, bool) or samples < 1:
        raise GeometryError(name, f"{samples!r} is not a positive integer", fix="use 64, for example")


def sample_cells(shape: tuple[int, int], samples: int, seed: int) -> list[Cell]:
    """The four corners of the map and other cells drawn at random, without repeats, in row-major order."""
    rows, columns = shape
    corners = dict.fromkeys((i, j) for i in (0, rows - 1) for j in (0, columns - 1))
    others = max(0, min(samples, rows * columns) - len(corners))
    drawn = random.Random(seed).sample(range(rows * columns), min(rows * columns, others + len(corners)))
    cells = [divmod(k, columns) for k in drawn]
    return sorted([*corners, *[c for c in cells if c not in corners][:others]])


def sample_valid(shape: tuple[int, int], samples: int, seed: int, valid: Callable[[int, int], bool]) -> list[Cell]:
    """As ``sample_cells``, but only cells that hold scores; fewer if these are rare.

    Raises:
        GeometryError: no sampled cell holds scores.
    """
    cells = [cell for cell in sample_cells(shape, samples, seed) if valid(*cell)]
    if len(cells) < min(samples, shape[0] * shape[1]):
        more = [c for c in sample_cells(shape, 32 * samples, seed + 1) if c not in cells and valid(*c)]
        cells += random.Random(seed).sample(more, min(len(more), max(0, samples - len(cells))))
    if not cells:
        raise GeometryError(
            "verify", f"none of {33 * samples} sampled windows holds scores", fix="verify a map that has more of them"
        )
    return sorted(cells)


def crops_alone(samples: int, *, batch: int = BATCH) -> list[int]:
    """Of samples that are run in batches, those to run alone as well: the last one and a middle one of each batch.

    Examples:
        >>> crops_alone(20)
        [7, 15, 17, 19]
        >>> crops_alone(1)
        []
    """
    found: set[int] = set()
    for start in range(0, samples, batch):
        stop = min(start + batch, samples)
        if stop - start > 1:
            found |= {(start + stop - 1) // 2, stop - 1}
    return sorted(found)


def run_crops(
    model: Model,
    source: Source,
    cells: list[Cell],
    step: tuple[int, int],
    *,
    batch: int = BATCH,
    progress: OnProgress | None = None,
) -> NDArray[np.floating]:
    """Scores ``(cells, k)`` of the original network on the windows of ``cells``, cut from ``source``."""
    height, width = model.window
    stage = StageReporter(progress, "comparing with crops", len(cells), "windows")
    scores = []
    for start in range(0, len(cells), batch):
        windows = []
        for i, j in cells[start : start + batch]:
            top, left = i * step[0], j * step[1]
            windows.append(torch.from_numpy(source.read(top, top + height, left, left + width)).contiguous())
        with torch.inference_mode(), cuda_arithmetic(model.device):
            scores.append(model(torch.stack(windows).to(model.device, model.dtype)).cpu())
        stage.report(min(start + batch, len(cells)))
    result = torch.cat(scores)
    return result.float().numpy() if result.dtype == torch.bfloat16 else result.numpy()
