"""Finds the background of an image: a slide's glass, the dark of a fluorescence image, the empty parts of a map."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fullfield.engine.progress import OnProgress
from fullfield.errors import BudgetError, ImageError
from fullfield.image.raster import Georeference, Origin, Raster, finest_level
from fullfield.mask.components import components, fill_small_holes, remove_small
from fullfield.mask.grid import MaskGrid, grid_from_mask
from fullfield.mask.thumbnail import make_thumbnail, reduced_size

Background = Literal["bright", "dark", "empty", "none"]

# Every constant names tests of tests/mask/test_background.py: the images that are no longer divided rightly with a much
# smaller | larger value.
_SIDE = 2048  # px of the thumbnail: 50 px of a slide of 100,000 px become one      stained_slide |
_BOX = 5  # px of the box mean that removes noise and JPEG blocks                   empty_slide[dark] | stained_slide
_FRAME = 0.02  # of each side: the frame in which the background is searched        rim | large_tissue
_IN_FRAME = 0.25  # of the frame that a level must fill to be background            photograph | half_of_the_frame
_BAND = 0.06  # of the range: values so close to a level belong to it               empty_slide[dark] | photograph
_PALE = 0.15  # most saturation of glass                                            tinted_glass | bright_colour
_BRIGHT = 0.6  # least level of a bright background                                 fluorescent | stained_slide
_DARK = 0.35  # highest level of a dark background                                  fluorescent | left_black, fundus
_CLEAR = 0.03  # distance from the background: more is foreground, below Otsu's too slight_shadow | stained_slide
_FAINT = 0.02  # distance from the background: less is background, above Otsu's too empty_slide[glass] | stained_slide
_RANGE = 20.0  # standard deviations of the noise: least range of an image          empty_slide[dark] |
_NOISE = 4.0  # standard deviations of the background that are still background     empty_slide[dark] | brown_stain
_SPECK = 16  # px of the thumbnail: smaller components are removed                  | brown_stain
_HOLE = 256  # px of the thumbnail: smaller holes are filled                        brown_stain | left_black, fundus
_LEAST = 1e-4  # of the image: less foreground is an error                          empty_slide | a_hundredth
_STRIP = 64  # rows of the thumbnail that are computed together
_SMOOTHING_BYTES = 20  # a pixel, besides its channels, while these are smoothed: the picture, masks and levels
_FINDING_BYTES = 40  # a pixel, while levels are compared: these, the picture, masks, distances
_BLOCK_BYTES = 64 << 20  # at most, of a block that is read and added
_TINT = (0, 70, 160)
_LINE = (255, 60, 0)


@dataclass(frozen=True, eq=False)
class Foreground:
    """The parts of an image that are not background.

    Args:
        inside: mask ``(y, x)`` of the whole image at thumbnail size.
        thumbnail: the image at the same size, RGB ``(y, x, 3)``.
        size: height and width of the image's finest level, px.
        background: the kind found: ``bright`` glass, ``dark``, ``empty`` parts of a map, or ``none``.
        georeference: of that level, if it has one.
        mpp: micrometres per pixel (y, x) of that level, if known.
        image: its name.
        origin: where other programs see it.
    """

    inside: NDArray[np.bool_]
    thumbnail: NDArray[np.uint8]
    size: tuple[int, int]
    background: Background
    georeference: Georeference | None = None
    mpp: tuple[float, float] | None = None
    image: str = ""
    origin: Origin = field(default_factory=Origin)

    def __repr__(self) -> str:
        height, width = self.size
        return f"<Foreground: {self.background} background, {self.share:.1%} of {height}x{width} px>"

    @property
    def share(self) -> float:
        """Share of the image that is foreground."""
        return float(self.inside.mean())

    @property
    def summary(self) -> str:
        """One line for the user."""
        if self.background == "none":
            return "no background found: all of the image is scanned"
        return f"{self.background} background: {self.share:.1%} of the image is scanned"

    def grid(self) -> MaskGrid:
        """The foreground as a mask of the image."""
        return grid_from_mask(self.inside, self.size)

    def picture(self) -> Image.Image:
        """The thumbnail, with the background tinted and the foreground outlined."""
        pixels = self.thumbnail.astype(np.float32)
        pixels[~self.inside] = 0.45 * pixels[~self.inside] + 0.55 * np.array(_TINT, np.float32)
        dilated = _dilated(self.inside)
        pixels[dilated & _dilated(~dilated)] = _LINE
        return Image.fromarray(pixels.astype(np.uint8))


def find_foreground(
    raster: Raster, *, progress: OnProgress | None = None, budget_bytes: int | None = None
) -> Foreground:
    """Separates an image from its background on its thumbnail; without a pyramid the whole image is read once.

    The background is a level that fills a good part of the image's frame: bright and pale (a stained slide, a page) or
    dark (fluorescence). The foreground differs from it: from bright in brightness, in saturation, or in grey images in
    texture; from dark by being brighter. Thresholds are Otsu's, clipped to a range between the background's noise and a
    clear difference, so that faint tissue next to a strong stain is found, and an almost empty slide is not divided
    into two kinds of glass. Small specks are removed and small holes filled. Without a background all is foreground.
    In a georeferenced image only its empty parts are background: nodata, or a collar of one value.

    Args:
        progress: called after every block that is read, if the image must be read.
        budget_bytes: memory that it may take; what it does take follows from the thumbnail's size.

    Raises:
        ImageError: all of the image is background.
        BudgetError: it takes more.
    Source: Otsu 1979, doi 10.1109/TSMC.1979.4310076; saturation: Lu et al. 2021, doi 10.1038/s41551-020-00682-w
    """
    side = _side(raster.shape[2])
    _check_budget(raster, side, budget_bytes)
    small = make_thumbnail(raster, side, progress)
    empty = _empty(small, raster.metadata.nodata)
    at = raster.metadata.georeference
    on_map = bool(empty.any()) or (at is not None and at.crs is not None)
    apart = _collar(small, raster.dtype) if on_map else _unscanned(small)
    view = _normalized(small, raster.dtype, ~empty)
    del small  # `view` is made of it, in its place
    shown = _shown(view)
    kind: Background
    if on_map:
        inside = ~(empty | apart)
        kind = "none" if inside.all() else "empty"
    else:
        levels = _levels(view)
        del view
        kind, inside = _foreground(levels, apart)
    if kind != "none" and not inside.mean() >= _LEAST:
        raise ImageError(
            raster.name,
            f"{inside.mean():.3%} of the image is content, all else {kind} background; {_LEAST:.2%} are needed",
            fix="scan it without skip_background, or give a mask",
        )
    finest = finest_level(raster)
    return Foreground(
        inside, shown, finest.size, kind, finest.georeference, finest.mpp, raster.name, raster.metadata.origin
    )


def _side(channels: int) -> int:
    """Px of the thumbnail's longer side; with more than four channels less, so that it takes no more memory."""
    return _SIDE if channels <= 4 else max(1, math.isqrt(_SIDE * _SIDE * 4 // channels))


def _check_budget(raster: Raster, side: int, budget_bytes: int | None) -> None:
    """Raises where the thumbnail and what is computed from it take more than the budget."""
    rows, columns = reduced_size(raster, side)
    thumbnail = 4 * rows * columns * raster.shape[2]
    reading = thumbnail + min(_BLOCK_BYTES, 16 * math.prod(raster.shape))
    needed = max(reading, thumbnail + rows * columns * _SMOOTHING_BYTES, rows * columns * _FINDING_BYTES)
    if budget_bytes is not None and needed > budget_bytes:
        raise BudgetError(
            raster.name,
            f"finding the background takes {needed} bytes of memory, {budget_bytes} are allowed",
            fix=f"allow {math.ceil(needed / 1e6)} MB (--budget {math.ceil(needed / 1e6)}MB), or give a mask",
        )


def _shown(view: NDArray[np.float32]) -> NDArray[np.uint8]:
    """The channels, or the greatest of them, as an 8-bit picture ``(y, x, 3)``."""
    out = np.empty((*view.shape[:2], 3), np.uint8)
    for rows in _strips(len(view)):
        part = view[rows] if view.shape[2] == 3 else view[rows].max(axis=2, keepdims=True)
        out[rows] = np.rint(255 * part)
    return out


def _strips(count: int) -> Iterator[slice]:
    """Rows that are computed together, from top to bottom: bounds the memory of what is not kept."""
    for top in range(0, count, _STRIP):
        yield slice(top, min(count, top + _STRIP))


def _empty(small: NDArray[np.float32], nodata: float | None) -> NDArray[np.bool_]:
    """Mask ``(y, x)`` of the pixels that are nodata or NaN."""
    empty = np.empty(small.shape[:2], np.bool_)
    for rows in _strips(len(small)):
        empty[rows] = ~np.isfinite(small[rows]).all(axis=2)
        if nodata is not None and not np.isnan(nodata):
            empty[rows] |= (small[rows] == np.float32(nodata)).all(axis=2)
    return empty


def _normalized(small: NDArray[np.float32], dtype: np.dtype[Any], known: NDArray[np.bool_]) -> NDArray[np.float32]:
    """The channels without alpha in 0 to 1, in the place of ``small``.

    8 bits are divided by 255, others scaled by percentiles (0.1, 99.9).
    """
    view = small[:, :, :-1] if small.shape[2] in (2, 4) and dtype == np.uint8 else small
    view[~known] = 0
    if dtype == np.uint8:
        view /= 255
        return view
    for channel in range(view.shape[2]):
        plane = view[:, :, channel]
        values = plane[known]
        if values.size:
            low, high = (float(v) for v in np.percentile(values, [0.1, 99.9], overwrite_input=True))
            del values
            noise = np.abs(plane - _box_mean(plane))[known]
            # so that the noise of an empty image is not stretched
            least = _RANGE * 1.4826 * float(np.median(noise, overwrite_input=True))
            plane -= np.float32(low)
            plane /= np.float32(max(high - low, least) or 1.0)
    return view.clip(0, 1, out=view)


def _collar(small: NDArray[np.float32], dtype: np.dtype[Any]) -> NDArray[np.bool_]:
    """Large areas of constant 0, or of the greatest value, that touch the image's edge."""
    found = np.zeros(small.shape[:2], np.bool_)
    for value in (0.0, float(np.iinfo(dtype).max)) if dtype.kind in "ui" else (0.0,):
        flat = (small == value).all(axis=2)
        labels, areas = components(flat)
        rim = np.unique(np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]]))
        found |= np.isin(labels, rim[(rim > 0) & (areas[rim] >= _HOLE)])
    return found


def _unscanned(small: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Large areas of pure black: parts of a bright slide that the scanner skipped."""
    return remove_small((small == 0).all(axis=2), max(_HOLE, small.shape[0] * small.shape[1] // 1000))


@dataclass(frozen=True)
class _Levels:
    """What of an image tells its background, ``(y, x)`` each.

    Args:
        light: mean of the channels, smoothed.
        glow: root of the greatest of them: fluorescence spans decades, and photon noise is uniform on this scale.
        detail: saturation of a colour image; of another, the standard deviation in boxes.
        pale: whether the saturation is that of glass.
        colour: whether the image has three channels.
    """

    light: NDArray[np.float32]
    glow: NDArray[np.float32]
    detail: NDArray[np.float32]
    pale: NDArray[np.bool_]
    colour: bool


def _levels(view: NDArray[np.float32]) -> _Levels:
    """The levels of channels ``(y, x, c)`` from 0 to 1; some rows are computed at a time."""
    colour = view.shape[2] == 3
    light, glow, detail = (np.empty(view.shape[:2], np.float32) for _ in range(3))
    pale = np.empty(view.shape[:2], np.bool_)
    for rows in _strips(len(view)):
        smooth = _box_mean_rows(view, rows)
        top = smooth.max(axis=2)
        light[rows], glow[rows] = smooth.mean(axis=2), np.sqrt(top)
        saturation = np.divide(top - smooth.min(axis=2), top, out=np.zeros_like(top), where=top > 0)
        pale[rows] = saturation < _PALE
        if colour:
            detail[rows] = saturation
        else:
            variance = _box_mean_rows(view, rows, squared=True) - smooth**2
            detail[rows] = np.sqrt(np.maximum(variance, 0)).max(axis=2)
    return _Levels(light, glow, detail, pale, colour)


def _foreground(levels: _Levels, unscanned: NDArray[np.bool_]) -> tuple[Background, NDArray[np.bool_]]:
    """The background's kind, and the pixels that differ from it."""
    light, glow, detail = levels.light, levels.glow, levels.detail
    frame = _frame(light.shape)
    if (frame & ~unscanned).sum() < 0.1 * frame.sum():
        unscanned = np.zeros_like(unscanned)
    pale = levels.pale & (light > _BRIGHT) & ~unscanned
    bright, share = _common_level(light, frame & ~unscanned, pale)
    dark, dark_share = _common_level(glow, frame & ~unscanned, glow < np.sqrt(_DARK))
    if max(share, dark_share) < _IN_FRAME:
        return "none", np.ones(light.shape, np.bool_)
    if share >= dark_share:
        near = pale & (np.abs(light - bright) < _BAND)
        inside = _differing(np.abs(bright - light), near)
        distance = detail - np.median(detail[near])
        inside |= _differing(np.abs(distance, out=distance) if levels.colour else distance, near)
        inside &= ~unscanned
    else:
        above = glow - np.float32(dark)
        inside = _differing(above, np.abs(above) < _BAND)
    inside = fill_small_holes(remove_small(inside, _SPECK), _HOLE)
    return ("bright" if share >= dark_share else "dark"), inside


def _frame(shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """Mask of the outermost pixels."""
    frame = np.ones(shape, np.bool_)
    y, x = (max(1, round(n * _FRAME)) for n in shape)
    frame[y:-y, x:-x] = False
    return frame


def _common_level(
    values: NDArray[np.float32], frame: NDArray[np.bool_], candidate: NDArray[np.bool_]
) -> tuple[float, float]:
    """The most common value of the frame's candidates, and the share of the frame close to it."""
    found = values[frame & candidate]
    if not found.size:
        return 0.0, 0.0
    counts, edges = np.histogram(found, 128, (0, 1))
    level = float(np.median(found[np.abs(found - edges[counts.argmax()]) < 2 / 128]))
    return level, float((np.abs(found - level) < _BAND).sum() / frame.sum())


def _differing(distance: NDArray[np.float32], background: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Pixels further from the background than Otsu's threshold, which is clipped to the background's noise."""
    values = distance[background]
    noise = 1.4826 * float(np.median(np.abs(values, out=values), overwrite_input=True)) if values.size else 0.0
    del values
    least = max(_FAINT, _NOISE * noise)
    found: NDArray[np.bool_] = distance > max(min(otsu(distance), _CLEAR), least)
    return found


def otsu(values: NDArray[np.floating]) -> float:
    """The threshold, of 256 between 0 and 1, that divides values into the two classes of least variance.

    Source: Otsu 1979, equation 18, doi 10.1109/TSMC.1979.4310076

    Examples:
        >>> 0.2 < otsu(np.array([0.1, 0.1, 0.2, 0.8, 0.9])) <= 0.8
        True
    """
    counts, edges = np.histogram(values, 256, (0, 1))
    below = np.cumsum(counts)
    above = below[-1] - below
    centres = (edges[:-1] + edges[1:]) / 2
    sums = np.cumsum(counts * centres)
    with np.errstate(invalid="ignore", divide="ignore"):
        between = below * above * (sums / below - (sums[-1] - sums) / above) ** 2.0
    if not np.isfinite(between).any():
        return 1.0
    best = between >= np.nanmax(between) * (1 - 1e-9)
    return float(edges[1:][best].mean())  # the middle of a gap between the classes


def _box_mean(plane: NDArray[np.float32]) -> NDArray[np.float32]:
    """Means over boxes of ``_BOX`` px a side, mirrored at the edges. Shape: ``(y, x)``"""
    return np.concatenate([_box_mean_rows(plane[:, :, None], rows)[:, :, 0] for rows in _strips(len(plane))])


def _box_mean_rows(view: NDArray[np.float32], rows: slice, *, squared: bool = False) -> NDArray[np.float32]:
    """Some rows of the means over boxes, of the values or of their squares. Shape: ``(y, x, c)``"""
    half = _BOX // 2
    height, width = view.shape[:2]
    y, x = (
        np.pad(np.arange(count), (half + 1, half), "symmetric")[low : high + _BOX]
        for count, low, high in ((height, rows.start, rows.stop), (width, 0, width))
    )
    values = view[y[:, None], x]
    means = (values**2 if squared else values).astype(np.float64)
    for axis in (0, 1):
        sums = np.cumsum(means, axis=axis).swapaxes(0, axis)
        means = ((sums[_BOX:] - sums[:-_BOX]) / _BOX).swapaxes(0, axis)
    return means.astype(np.float32)


def _dilated(inside: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The mask dilated by one pixel along both axes."""
    found = inside.copy()
    for a, b in ((np.s_[1:], np.s_[:-1]), (np.s_[:-1], np.s_[1:])):
        found[a] |= inside[b]
        found[:, a] |= inside[:, b]
    return found
