"""What of an image is background: the glass of a slide, the dark of a fluorescence image, what a map leaves empty."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fullfield.engine.progress import OnProgress
from fullfield.errors import ImageError
from fullfield.image.raster import Raster
from fullfield.mask.components import components, fill_small_holes, remove_small
from fullfield.mask.grid import MaskGrid, grid_from_mask
from fullfield.mask.thumbnail import whole_image

Background = Literal["bright", "dark", "empty", "none"]

_SIDE = 2048  # px of the picture that is looked at: 50 px of a slide of 100,000 are one
_BOX = 5  # px a side of the mean that noise and JPEG blocks are taken out with
_FRAME = 0.02  # of each side: where background is looked for first
_IN_FRAME = 0.25  # of the frame that one level must fill to be a background
_BAND = 0.06  # round that level, of the range
_PALE = 0.15  # saturation that glass stays below
_BRIGHT, _DARK = 0.6, 0.35  # where such a level may lie
_CLEAR = 0.03  # off the background is content, whatever Otsu's threshold
_FAINT = 0.02  # off the background is none, whatever Otsu's threshold
_RANGE = 20.0  # standard deviations of the noise that the range of an image spans at least
_NOISE = 4.0  # standard deviations off the background that are still background
_SPECK, _HOLE = 16, 256  # px of the picture: smaller content goes, smaller gaps close
_LEAST = 1e-4  # of the image that must be content
_TINT = (0, 70, 160)
_LINE = (255, 60, 0)


@dataclass(frozen=True, eq=False)
class Foreground:
    """What of an image is not background.

    Args:
        inside: ``(y, x)`` of the whole image, small.
        looks: the image as small, RGB ``(y, x, 3)``.
        size: height and width of the image, px.
        background: what was found to be background: ``bright`` glass, the ``dark``, ``empty`` parts of a map, ``none``.
    """

    inside: NDArray[np.bool_]
    looks: NDArray[np.uint8]
    size: tuple[int, int]
    background: Background

    @property
    def share(self) -> float:
        """Part of the image that is content."""
        return float(self.inside.mean())

    @property
    def remark(self) -> str:
        """One line for the user."""
        if self.background == "none":
            return "no background found: all of the image is scanned"
        return f"{self.background} background: {self.share:.1%} of the image is scanned"

    def grid(self) -> MaskGrid:
        """The content as a mask of the image."""
        return grid_from_mask(self.inside, self.size)

    def picture(self) -> Image.Image:
        """The small image, its background tinted, the content outlined."""
        paint = self.looks.astype(np.float32)
        paint[~self.inside] = 0.45 * paint[~self.inside] + 0.55 * np.array(_TINT, np.float32)
        wide = _grown(self.inside)
        paint[wide & _grown(~wide)] = _LINE
        return Image.fromarray(paint.astype(np.uint8))


def find_foreground(raster: Raster, *, progress: OnProgress | None = None) -> Foreground:
    """What of an image is not background, from its thumbnail; where there is none all of the image is read once.

    A background is a level that fills a good part of the image's frame: bright and pale (a stained slide, a page) or
    dark (fluorescence). Foreground departs from it: from bright in brightness or saturation, in grey images in texture
    too; from dark upwards. The thresholds are Otsu's, held between what is noise of that background and what is clearly
    none of it, so that faint tissue beside a strong stain is kept and a nearly empty slide does not fall into two kinds
    of glass. Specks go, small holes close. Where nothing is background all is content.
    An image with a place on the map has no background but what it leaves empty: nodata, or a collar of one value.

    Args:
        progress: called after every block that is read, if the image must be read.

    Raises:
        ImageError: all of the image is background.
    Source: Otsu 1979, doi 10.1109/TSMC.1979.4310076; saturation: Lu et al. 2021, doi 10.1038/s41551-020-00682-w
    """
    small = whole_image(raster, _SIDE, progress)
    empty = _empty(small, raster.about.nodata)
    view = _levels(small, raster.dtype, ~empty)
    at = raster.about.georeference
    if empty.all():
        kind: Background = "empty"
        inside = ~empty
    elif empty.any() or (at is not None and at.crs is not None):
        inside = ~(empty | _collar(small, raster.dtype))
        kind = "none" if inside.all() else "empty"
    else:
        kind, inside = _departing(view, _unscanned(small))
    if kind != "none" and not inside.mean() >= _LEAST:
        raise ImageError(
            raster.name,
            f"{inside.mean():.3%} of the image is content, all else {kind} background; {_LEAST:.2%} are needed",
            fix="scan it without skip_background, or give a mask",
        )
    looks = np.rint(255 * (view if view.shape[2] == 3 else view.max(axis=2, keepdims=True)))
    looks = np.broadcast_to(looks, (*looks.shape[:2], 3)).astype(np.uint8)
    return Foreground(inside, looks, (raster.shape[0], raster.shape[1]), kind)


def _empty(small: NDArray[np.float32], nodata: float | None) -> NDArray[np.bool_]:
    """Where nothing is known; ``(y, x)``."""
    empty: NDArray[np.bool_] = ~np.asarray(np.isfinite(small).all(axis=2))
    if nodata is not None and not np.isnan(nodata):
        empty |= (small == np.float32(nodata)).all(axis=2)
    return empty


def _levels(small: NDArray[np.float32], dtype: np.dtype[Any], known: NDArray[np.bool_]) -> NDArray[np.float32]:
    """The channels to look at, 0 to 1: 8 bits as they are, else each from its 0.1th to its 99.9th percentile."""
    view = np.where(known[:, :, None], small, 0)
    if view.shape[2] in (2, 4) and dtype == np.uint8:
        view = view[:, :, :-1]
    if dtype == np.uint8:
        return (view / 255).astype(np.float32)
    rough = np.abs(view - _mean(view))
    for channel in range(view.shape[2]):
        values, noise = view[:, :, channel][known], rough[:, :, channel][known]
        if values.size:
            low, high = (float(v) for v in np.percentile(values, [0.1, 99.9]))
            least = _RANGE * 1.4826 * float(np.median(noise))  # the noise of an empty image is not its range
            view[:, :, channel] = (view[:, :, channel] - low) / (max(high - low, least) or 1.0)
    return view.clip(0, 1).astype(np.float32)


def _collar(small: NDArray[np.float32], dtype: np.dtype[Any]) -> NDArray[np.bool_]:
    """Patches of nothing but 0, or of the greatest value, that reach the image's edge."""
    found = np.zeros(small.shape[:2], np.bool_)
    for value in (0.0, float(np.iinfo(dtype).max)) if dtype.kind in "ui" else (0.0,):
        flat = (small == value).all(axis=2)
        labels, areas = components(flat)
        rim = np.unique(np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]]))
        found |= np.isin(labels, rim[(rim > 0) & (areas[rim] >= _HOLE)])
    return found


def _unscanned(small: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Large patches of pure black: what a scanner left out of a bright slide."""
    return remove_small((small == 0).all(axis=2), max(_HOLE, small.shape[0] * small.shape[1] // 1000))


def _departing(view: NDArray[np.float32], unscanned: NDArray[np.bool_]) -> tuple[Background, NDArray[np.bool_]]:
    """What departs from the background that the frame shows."""
    calm = _mean(view)
    top = calm.max(axis=2)
    colour = calm.shape[2] == 3
    saturation = np.divide(top - calm.min(axis=2), top, out=np.zeros_like(top), where=top > 0)
    light = calm.mean(axis=2)
    frame = _frame(light.shape)
    if (frame & ~unscanned).sum() < 0.1 * frame.sum():
        unscanned = np.zeros_like(unscanned)
    pale = (saturation < _PALE) & (light > _BRIGHT) & ~unscanned
    glow = np.sqrt(top)  # fluorescence spans decades; counts of photons have an even noise on this scale
    bright, share = _level(light, frame & ~unscanned, pale)
    dark, dark_share = _level(glow, frame & ~unscanned, glow < np.sqrt(_DARK))
    if max(share, dark_share) < _IN_FRAME:
        return "none", np.ones(light.shape, np.bool_)
    if share >= dark_share:
        near = pale & (np.abs(light - bright) < _BAND)
        inside = _above(np.abs(bright - light), near)
        if colour:
            inside |= _above(np.abs(saturation - np.median(saturation[near])), near)
        else:
            texture = np.sqrt(np.maximum(_mean(view**2) - calm**2, 0)).max(axis=2)
            inside |= _above(texture - np.median(texture[near]), near)
        inside &= ~unscanned
    else:
        inside = _above(glow - dark, np.abs(glow - dark) < _BAND)
    inside = fill_small_holes(remove_small(inside, _SPECK), _HOLE)
    return ("bright" if share >= dark_share else "dark"), inside


def _frame(shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """The outermost pixels of a picture."""
    frame = np.ones(shape, np.bool_)
    y, x = (max(1, round(n * _FRAME)) for n in shape)
    frame[y:-y, x:-x] = False
    return frame


def _level(values: NDArray[np.float32], frame: NDArray[np.bool_], candidate: NDArray[np.bool_]) -> tuple[float, float]:
    """The commonest value of a frame's candidates, and the part of the frame that lies round it."""
    there = values[frame & candidate]
    if not there.size:
        return 0.0, 0.0
    counts, edges = np.histogram(there, 128, (0, 1))
    level = float(np.median(there[np.abs(there - edges[counts.argmax()]) < 2 / 128]))
    return level, float((np.abs(there - level) < _BAND).sum() / frame.sum())


def _above(off: NDArray[np.float32], background: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """What is further off the background than Otsu's threshold, bounded by the background's own noise."""
    noise = 1.4826 * float(np.median(np.abs(off[background]))) if background.any() else 0.0
    least = max(_FAINT, _NOISE * noise)
    found: NDArray[np.bool_] = off > max(min(otsu(off), _CLEAR), least)
    return found


def otsu(values: NDArray[np.floating]) -> float:
    """The threshold, of 256 from 0 to 1, that parts values into two classes of least variance.

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
    return float(edges[1:][best].mean())  # amid the gap between two classes that lie apart


def _mean(view: NDArray[np.float32]) -> NDArray[np.float32]:
    """Means over ``_BOX`` pixels a side, the picture mirrored at its edges. Shape: ``(y, x, c)``"""
    half = _BOX // 2
    padded = np.pad(view.astype(np.float64), ((half + 1, half), (half + 1, half), (0, 0)), "symmetric")
    for axis in (0, 1):
        sums = np.cumsum(padded, axis=axis).swapaxes(0, axis)
        padded = ((sums[_BOX:] - sums[:-_BOX]) / _BOX).swapaxes(0, axis)
    return padded.astype(np.float32)


def _grown(inside: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """With the pixels next to it."""
    found = inside.copy()
    for a, b in ((np.s_[1:], np.s_[:-1]), (np.s_[:-1], np.s_[1:])):
        found[a] |= inside[b]
        found[:, a] |= inside[:, b]
    return found
