"""Pictures of score maps: the bare map, and the map over the image that was scanned."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fullfield.drawing.colours import paint
from fullfield.drawing.legend import label_legend, score_legend
from fullfield.drawing.overlay import DrawnCells, blended, check_alpha, check_same_image
from fullfield.drawing.pictures import colour_limits, label_colours, label_picture, score_picture
from fullfield.drawing.strips import StripPicture, needs_image, save_strips, to_image
from fullfield.drawing.thumbnails import Photo, photo_of, widest_range
from fullfield.errors import ImageError
from fullfield.geometry.region import Pair
from fullfield.store.classes import find_band
from fullfield.store.levels import level_grid
from fullfield.store.maps import Activation, ScoreMap
from fullfield.store.palette import distinct
from fullfield.store.reading import class_map, class_rows, coarse, iter_chunks, stored_labels, top_labels

_COARSE = 256  # cells a side of the level on which the class with the widest range is found
_KEPT_BYTES = 16 << 20  # of a map that is read once; a larger one is read once for its range, and once to draw it
_STRIPS_BYTES = 96 << 20  # of the strips from which a picture is made: chunks of the map, blocks of the image
_IMAGE_BYTES = 5  # a pixel of a picture in memory
_ENCODED_BYTES = {".webp": 40}  # while it is encoded, where that takes more


@dataclass(frozen=True)
class PictureStyle:
    """How scores are coloured.

    Args:
        colours: viridis, magma, inferno or gray.
        vmin, vmax: values of the first and the last colour; the map's own extremes by default.
        activation: turns logits into probabilities first.
        alpha: opacity of the map over the image, 0..1.
        smooth: interpolate between the centres of cells.
        legend: draw a colour bar, or the names of the labels, below the picture.
        side: px of the longer side of a picture over an image of more than 16.7 million pixels.
        thumbnail: the picture has at most ``side`` px a side over any image.
    """

    colours: str = "viridis"
    vmin: float | None = None
    vmax: float | None = None
    activation: Activation | None = None
    alpha: float = 0.6
    smooth: bool = False
    legend: bool = True
    side: int = 4096
    thumbnail: bool = False


def draw_map(scores: ScoreMap, cls: int | str | None, style: PictureStyle) -> Image.Image:
    """The bare map of one class, or of labels, a pixel a cell.

    Raises:
        ImageError: no such class or colour map, or a class of a map of labels.
    """
    if scores.spec.kind == "labels":
        _check_labels(scores, cls, style)
        return label_picture(top_labels(scores), scores.spec.classes)
    values = class_map(scores, _band(scores, cls), style.activation)
    return score_picture(values, style.colours, colour_limits(values, style.vmin, style.vmax))


def draw_overlay(
    scores: ScoreMap, image: object, cls: int | str | None, style: PictureStyle, *, budget_bytes: int | None = None
) -> Image.Image:
    """The map of one class, or of labels, over the image that was scanned, in memory.

    Args:
        budget_bytes: memory allowed, the picture included; where it does not fit at the image's size it is reduced.

    Raises:
        ImageError: as ``draw_map``; the image has another size than the one that was scanned.
    """
    return to_image(_overlay(scores, image, cls, style, _most_pixels(budget_bytes, _IMAGE_BYTES))[0])


def save_overlay(
    scores: ScoreMap,
    image: object,
    cls: int | str | None,
    style: PictureStyle,
    path: Path,
    *,
    overwrite: bool = False,
    budget_bytes: int | None = None,
) -> float:
    """Writes the picture that ``draw_overlay`` draws; a PNG strip by strip, so that only strips are in memory.

    Returns:
        How many times smaller than the image the picture is; 1 of one pixel for pixel.

    Raises:
        FullfieldError: as ``draw_overlay``; or the file cannot be written.
    """
    pixel_bytes = _ENCODED_BYTES.get(path.suffix.lower(), _IMAGE_BYTES) if needs_image(path) else 0
    picture, photo = _overlay(scores, image, cls, style, _most_pixels(budget_bytes, pixel_bytes))
    save_strips(picture, path, overwrite=overwrite)
    return photo.image[1] / photo.size[1]


def _most_pixels(budget_bytes: int | None, pixel_bytes: int) -> int:
    """Pixels of a picture that fit a budget beside the strips from which it is made."""
    if budget_bytes is None or not pixel_bytes:
        return sys.maxsize
    return max(budget_bytes - _STRIPS_BYTES, budget_bytes // 4) // pixel_bytes


def _overlay(
    scores: ScoreMap, image: object, cls: int | str | None, style: PictureStyle, most_pixels: int
) -> tuple[StripPicture, Photo]:
    """The map over the image, with its legend; and the image alone."""
    check_alpha(style.alpha)
    if scores.spec.of_signal:
        what = "there is no picture of a signal that scores could lie over"
        raise ImageError("overlay", what, fix='write a plot of the scores: scores.save("plot.png"), or -o plot.png')
    photo = photo_of(image, side=style.side, most_pixels=most_pixels, always=style.thumbnail)
    check_same_image(photo.image, scores.spec.placement)
    longest = max(photo.size)
    shown = coarse(scores, longest) if photo.reduced else scores
    cells, legend = (_label_cells if scores.spec.kind == "labels" else _score_cells)(shown, photo, cls, style)
    picture = StripPicture(*photo.size, lambda: blended(photo.strips(), cells, alpha=style.alpha))
    return picture.above(legend(photo.size[1])) if style.legend else picture, photo


_Drawn = tuple[DrawnCells, Callable[[int], Image.Image]]  # what is drawn, and the legend of a picture of some width


def _score_cells(shown: ScoreMap, photo: Photo, cls: int | str | None, style: PictureStyle) -> _Drawn:
    """The cells of one class."""
    band, spec = _band(shown, cls), shown.spec
    read = _kept(shown, lambda top, bottom: class_rows(shown, band, style.activation, top, bottom))
    ends = [f(numbers) for numbers in _finite(shown, read) for f in (np.min, np.max)]
    limits = colour_limits(np.array(ends), style.vmin, style.vmax)
    cells = DrawnCells(
        photo.placed(spec.placement),
        lambda top, bottom: read(top, bottom)[None],
        lambda drawn: paint(drawn[0], style.colours, limits),
        style.smooth,
    )
    note = spec.mode if style.activation is None else f"{style.activation}, {spec.mode}"
    title = class_name(shown, band)
    return cells, lambda width: score_legend(width, title=title, note=note, colours=style.colours, limits=limits)


def _label_cells(shown: ScoreMap, photo: Photo, cls: int | str | None, style: PictureStyle) -> _Drawn:
    """The cells of labels in the colours of their classes; a pixel that several share shows their mean colour."""
    _check_labels(shown, cls, style)
    spec = shown.spec
    read = _kept(shown, lambda top, bottom: stored_labels(shown, top, bottom))
    cells = DrawnCells(
        photo.placed(spec.placement),
        lambda top, bottom: label_colours(read(top, bottom), spec.classes),
        lambda drawn: np.moveaxis(drawn, 0, -1),
    )

    def legend(width: int) -> Image.Image:
        colours = distinct(max(spec.classes) + 1)
        counts = np.zeros(len(colours) + 1, np.int64)  # the last is for no class
        for top, bottom in _bands(shown):
            labels = read(top, bottom)
            counts += np.bincount(
                np.where(labels < len(colours), labels, -1).ravel() % len(counts), minlength=len(counts)
            )
        present = [k for k, cls in enumerate(spec.classes) if counts[cls]]
        present.sort(key=lambda k: -counts[spec.classes[k]])
        return label_legend(width, [(class_name(shown, k), colours[spec.classes[k]]) for k in present])

    return cells, legend


_Read = Callable[[int, int], NDArray[Any]]


def _kept(scores: ScoreMap, read: _Read) -> _Read:
    """Reads rows of cells, whole chunks at a time; the last ones, or all of a small map, stay in memory."""
    rows, columns = scores.spec.shape[1:]
    height = rows if rows * columns * 8 <= _KEPT_BYTES else level_grid(scores.spec, 0).chunk[1]
    chunk = lru_cache(maxsize=1)(lambda number: read(number * height, min(rows, (number + 1) * height)))

    def found(top: int, bottom: int) -> NDArray[Any]:
        first, last = top // height, (bottom - 1) // height
        if first == last:
            return chunk(first)[top - first * height : bottom - first * height]
        edges = [max(top, first * height), *((k + 1) * height for k in range(first, last)), bottom]
        return np.concatenate([found(low, high) for low, high in pairwise(edges)])

    return found


def _bands(scores: ScoreMap) -> Iterator[Pair]:
    """First row of each band of chunks, and the first after it."""
    rows, height = scores.spec.shape[1], level_grid(scores.spec, 0).chunk[1]
    for top in range(0, rows, height):
        yield top, min(rows, top + height)


def _finite(scores: ScoreMap, read: _Read) -> Iterator[NDArray[np.floating]]:
    """The finite values of each band of chunks that has some."""
    for top, bottom in _bands(scores):
        values = read(top, bottom)
        finite = values[np.isfinite(values)]
        if finite.size:
            yield finite


def widest_band(scores: ScoreMap) -> int:
    """The band whose scores span the widest range on a coarse level: ``widest_range``."""
    small = coarse(scores, _COARSE)
    low, high = np.full(small.spec.shape[0], np.nan), np.full(small.spec.shape[0], np.nan)
    for _, _, parts in iter_chunks(small):
        for first, block in parts:
            bands = slice(first, first + len(block))
            flat = block.reshape(len(block), -1)
            low[bands] = np.fmin(low[bands], np.fmin.reduce(flat, axis=1))
            high[bands] = np.fmax(high[bands], np.fmax.reduce(flat, axis=1))
    return widest_range(low, high)


def class_name(scores: ScoreMap, band: int) -> str:
    """What the class of a band is called."""
    return scores.spec.title(band)


def _band(scores: ScoreMap, cls: int | str | None) -> int:
    return widest_band(scores) if cls is None else find_band(scores.spec, cls)


def _check_labels(scores: ScoreMap, cls: int | str | None, style: PictureStyle) -> None:
    """Raises where a map of labels is to be drawn as scores."""
    if cls is not None:
        find_band(scores.spec, cls)  # raises
    plain: Any = PictureStyle()
    for name in ("vmin", "vmax", "activation", "smooth"):
        value = getattr(style, name)
        if value != getattr(plain, name):
            raise ImageError(name, f"{value!r} has no meaning for a map of labels", fix="leave it out")
