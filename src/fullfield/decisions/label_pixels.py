"""Labels each pixel with its top class, block by block, in bits that do not depend on the blocks."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fullfield.decisions.clean import MISSING, NONE
from fullfield.decisions.guide import Guide
from fullfield.decisions.guided_filter import guided
from fullfield.decisions.label_file import LabelFile
from fullfield.decisions.label_regions import STRONG
from fullfield.decisions.pixel_scores import PixelScores
from fullfield.decisions.segmentation import ParsedSegmentation
from fullfield.engine.progress import OnProgress, StageReporter
from fullfield.errors import BudgetError, ImageError
from fullfield.exporters.grid import cover
from fullfield.geometry.region import Region
from fullfield.store.reading import iter_chunks

_SIDE = 1024  # px of a block at most
_PLAIN_BYTES = 80  # a pixel of a block: mask, code, greatest score, the score of one class and of its rows
_FILTER_BYTES = 40 * 8  # a pixel of a block and the pixels around it, of a colour guide


@dataclass(frozen=True)
class _Range:
    """The scores that become 0 and 1 in the filter."""

    low: float
    high: float


def label_pixels(
    pixels: PixelScores,
    parsed: ParsedSegmentation,
    guide: Guide | None,
    *,
    budget_bytes: int,
    progress: OnProgress | None = None,
) -> LabelFile:
    """The code of every pixel.

    Args:
        pixels: scores at each pixel.
        parsed: the options.
        guide: the image, where scores are filtered.
        budget_bytes: memory allowed.
        progress: called after every block.

    Raises:
        BudgetError: a block with the pixels around it needs more.
        ImageError: no pixel has a score, or no space is left.
    """
    height, width = pixels.size
    found = LabelFile(pixels.size)
    side = _block_side(pixels, parsed, budget_bytes)
    span = None if guide is None else _range(pixels)
    stage, done, known = StageReporter(progress, "segmenting", height * width, "px"), 0, False
    for region in cover((0, height, 0, width), side, side):
        valid, planes = (
            pixels.read(region)
            if guide is None or span is None
            else _filtered(pixels, parsed.radius, parsed.epsilon, guide, span, region)
        )
        found.write(region, _codes(valid, planes, parsed))
        known |= bool(valid.any())
        done += (region[1] - region[0]) * (region[3] - region[2])
        stage.report(done)
    if not known:
        raise ImageError("scores", "no cell has a score of every class", fix="scan a region, or a mask, that has some")
    return found


def _block_side(pixels: PixelScores, parsed: ParsedSegmentation, budget_bytes: int) -> int:
    """Side of a block that fits with the pixels around it."""
    each = _PLAIN_BYTES + pixels.bytes_of_cells + (_FILTER_BYTES if parsed.radius else 0)
    halo = 4 * parsed.radius
    longest = max(pixels.size)
    room, least = math.isqrt(budget_bytes // each) - halo, min(64, longest)
    if room < least:
        needed = each * (least + halo) ** 2
        fix = "allow more, or take a smaller radius" if parsed.radius else "allow more, or choose fewer classes"
        raise BudgetError("budget", f"{needed} bytes are needed, {budget_bytes} are allowed", fix=fix)
    return min(_SIDE, longest, room)


def _range(pixels: PixelScores) -> _Range:
    """Least and greatest score of the chosen classes in the map: 0 and 1 of probabilities."""
    spec = pixels.scores.spec
    if pixels.activation is not None or spec.went_through in ("softmax", "sigmoid"):
        return _Range(0.0, 1.0)
    low, high = math.inf, -math.inf
    for _, _, parts in iter_chunks(pixels.scores):
        for first, block in parts:
            chosen = [band - first for band in pixels.bands if first <= band < first + len(block)]
            finite = block[chosen][np.isfinite(block[chosen])]
            if finite.size:
                low, high = min(low, float(finite.min())), max(high, float(finite.max()))
    return _Range(low, high if high > low else low + 1.0) if high >= low else _Range(0.0, 1.0)


def _filtered(
    pixels: PixelScores, radius: int, epsilon: float, guide: Guide, span: _Range, region: Region
) -> tuple[NDArray[np.bool_], Iterator[NDArray[np.float64]]]:
    """As ``PixelScores.read``, filtered along the edges of the image; as they are where the image is not valid."""
    (height, width), halo = pixels.size, 2 * radius
    top, bottom, left, right = region
    wide = max(0, top - halo), min(height, bottom + halo), max(0, left - halo), min(width, right + halo)
    around = (
        (wide[0] - top + halo, bottom + halo - wide[1]), (wide[2] - left + halo, right + halo - wide[3])
    )  # fmt: skip
    inner = slice(halo, halo + bottom - top), slice(halo, halo + right - left)
    valid, planes = pixels.read(wide)
    colours, seen = guide.read(wide)
    valid = np.pad(valid, around)
    there = valid & np.pad(seen, around)
    scale = span.high - span.low
    raw: list[NDArray[np.float64]] = []

    def scaled() -> Iterator[NDArray[np.float64]]:
        for plane in planes:
            part = np.pad(np.clip((plane - span.low) / scale, 0, 1), around)
            raw[:] = [part[inner]]
            yield part

    def restored() -> Iterator[NDArray[np.float64]]:
        padded = np.pad(colours, ((0, 0), *around))
        for plane in guided(padded, there, scaled(), radius=radius, epsilon=epsilon):
            yield np.where(there[inner], plane, raw[0]) * scale + span.low

    return valid[inner], restored()


def _codes(
    valid: NDArray[np.bool_], planes: Iterator[NDArray[np.float64]], parsed: ParsedSegmentation
) -> NDArray[np.uint16]:
    """The code of each pixel: the top class, the first of equal ones, if its score reaches its threshold."""
    best = next(planes)
    top = np.zeros(best.shape, np.uint16)
    for band, plane in enumerate(planes, 1):
        np.copyto(top, band, where=plane > best)
        np.maximum(best, plane, out=best)
    if parsed.has_thresholds:
        strong, weak = best >= parsed.high[top], best < parsed.low[top]
        top[strong] += STRONG
        top[weak] = NONE
    top[~valid] = MISSING
    return top
