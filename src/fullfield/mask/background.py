"""Finds the background of an image: a slide's glass, the dark of a fluorescence image, the empty parts of a map."""

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
from fullfield.mask.thumbnail import make_thumbnail

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
_TINT = (0, 70, 160)
_LINE = (255, 60, 0)


@dataclass(frozen=True, eq=False)
class Foreground:
    """The parts of an image that are not background.

    Args:
        inside: mask ``(y, x)`` of the whole image at thumbnail size.
        thumbnail: the image at the same size, RGB ``(y, x, 3)``.
        size: height and width of the image, px.
        background: the kind found: ``bright`` glass, ``dark``, ``empty`` parts of a map, or ``none``.
    """

    inside: NDArray[np.bool_]
    thumbnail: NDArray[np.uint8]
    size: tuple[int, int]
    background: Background

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


def find_foreground(raster: Raster, *, progress: OnProgress | None = None) -> Foreground:
    """Separates an image from its background on its thumbnail; without a pyramid the whole image is read once.

    The background is a level that fills a good part of the image's frame: bright and pale (a stained slide, a page) or
    dark (fluorescence). The foreground differs from it: from bright in brightness, in saturation, or in grey images in
    texture; from dark by being brighter. Thresholds are Otsu's, clipped to a range between the background's noise and a
    clear difference, so that faint tissue next to a strong stain is found, and an almost empty slide is not divided
    into two kinds of glass. Small specks are removed and small holes filled. Without a background all is foreground.
    In a georeferenced image only its empty parts are background: nodata, or a collar of one value.

    Args:
        progress: called after every block that is read, if the image must be read.

    Raises:
        ImageError: all of the image is background.
    Source: Otsu 1979, doi 10.1109/TSMC.1979.4310076; saturation: Lu et al. 2021, doi 10.1038/s41551-020-00682-w
    """
    small = make_thumbnail(raster, _SIDE, progress)
    empty = _empty(small, raster.metadata.nodata)
    view = _normalized(small, raster.dtype, ~empty)
    at = raster.metadata.georeference
    if empty.all():
        kind: Background = "empty"
        inside = ~empty
    elif empty.any() or (at is not None and at.crs is not None):
        inside = ~(empty | _collar(small, raster.dtype))
        kind = "none" if inside.all() else "empty"
    else:
        kind, inside = _foreground(view, _unscanned(small))
    if kind != "none" and not inside.mean() >= _LEAST:
        raise ImageError(
            raster.name,
            f"{inside.mean():.3%} of the image is content, all else {kind} background; {_LEAST:.2%} are needed",
            fix="scan it without skip_background, or give a mask",
        )
    shown = np.rint(255 * (view if view.shape[2] == 3 else view.max(axis=2, keepdims=True)))
    shown = np.broadcast_to(shown, (*shown.shape[:2], 3)).astype(np.uint8)
    return Foreground(inside, shown, (raster.shape[0], raster.shape[1]), kind)


def _empty(small: NDArray[np.float32], nodata: float | None) -> NDArray[np.bool_]:
    """Mask ``(y, x)`` of the pixels that are nodata or NaN."""
    empty: NDArray[np.bool_] = ~np.asarray(np.isfinite(small).all(axis=2))
    if nodata is not None and not np.isnan(nodata):
        empty |= (small == np.float32(nodata)).all(axis=2)
    return empty


def _normalized(small: NDArray[np.float32], dtype: np.dtype[Any], known: NDArray[np.bool_]) -> NDArray[np.float32]:
    """The channels without alpha in 0 to 1: 8 bits divided by 255, others scaled by percentiles (0.1, 99.9)."""
    view = np.where(known[:, :, None], small, 0)
    if view.shape[2] in (2, 4) and dtype == np.uint8:
        view = view[:, :, :-1]
    if dtype == np.uint8:
        return (view / 255).astype(np.float32)
    residual = np.abs(view - _box_mean(view))
    for channel in range(view.shape[2]):
        values, noise = view[:, :, channel][known], residual[:, :, channel][known]
        if values.size:
            low, high = (float(v) for v in np.percentile(values, [0.1, 99.9]))
            least = _RANGE * 1.4826 * float(np.median(noise))  # so that the noise of an empty image is not stretched
            view[:, :, channel] = (view[:, :, channel] - low) / (max(high - low, least) or 1.0)
    return view.clip(0, 1).astype(np.float32)


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


def _foreground(view: NDArray[np.float32], unscanned: NDArray[np.bool_]) -> tuple[Background, NDArray[np.bool_]]:
    """The background's kind, and the pixels that differ from it."""
    smooth = _box_mean(view)
    top = smooth.max(axis=2)
    colour = smooth.shape[2] == 3
    saturation = np.divide(top - smooth.min(axis=2), top, out=np.zeros_like(top), where=top > 0)
    light = smooth.mean(axis=2)
    frame = _frame(light.shape)
    if (frame & ~unscanned).sum() < 0.1 * frame.sum():
        unscanned = np.zeros_like(unscanned)
    pale = (saturation < _PALE) & (light > _BRIGHT) & ~unscanned
    glow = np.sqrt(top)  # fluorescence spans decades, and photon noise is uniform on this scale
    bright, share = _common_level(light, frame & ~unscanned, pale)
    dark, dark_share = _common_level(glow, frame & ~unscanned, glow < np.sqrt(_DARK))
    if max(share, dark_share) < _IN_FRAME:
        return "none", np.ones(light.shape, np.bool_)
    if share >= dark_share:
        near = pale & (np.abs(light - bright) < _BAND)
        inside = _differing(np.abs(bright - light), near)
        if colour:
            inside |= _differing(np.abs(saturation - np.median(saturation[near])), near)
        else:
            texture = np.sqrt(np.maximum(_box_mean(view**2) - smooth**2, 0)).max(axis=2)
            inside |= _differing(texture - np.median(texture[near]), near)
        inside &= ~unscanned
    else:
        inside = _differing(glow - dark, np.abs(glow - dark) < _BAND)
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
    noise = 1.4826 * float(np.median(np.abs(distance[background]))) if background.any() else 0.0
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


def _box_mean(view: NDArray[np.float32]) -> NDArray[np.float32]:
    """Means over boxes of ``_BOX`` px a side, mirrored at the edges. Shape: ``(y, x, c)``"""
    half = _BOX // 2
    padded = np.pad(view.astype(np.float64), ((half + 1, half), (half + 1, half), (0, 0)), "symmetric")
    for axis in (0, 1):
        sums = np.cumsum(padded, axis=axis).swapaxes(0, axis)
        padded = ((sums[_BOX:] - sums[:-_BOX]) / _BOX).swapaxes(0, axis)
    return padded.astype(np.float32)


def _dilated(inside: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The mask dilated by one pixel along both axes."""
    found = inside.copy()
    for a, b in ((np.s_[1:], np.s_[:-1]), (np.s_[:-1], np.s_[1:])):
        found[a] |= inside[b]
        found[:, a] |= inside[:, b]
    return found
