"""Pictures of score maps: the bare map, and the map over the image that was scanned."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from fullfield.drawing.legend import with_label_legend, with_legend
from fullfield.drawing.overlay import blend, blend_colours, check_same_image
from fullfield.drawing.pictures import colour_limits, label_colours, label_picture, score_picture
from fullfield.drawing.thumbnails import Photo, photo_of, widest_range
from fullfield.errors import ImageError
from fullfield.store.classes import find_band
from fullfield.store.maps import Activation, ScoreMap
from fullfield.store.palette import distinct
from fullfield.store.reading import class_map, coarse, read_scores, top_labels

_COARSE = 256  # cells a side of the level on which the class with the widest range is found


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
    """

    colours: str = "viridis"
    vmin: float | None = None
    vmax: float | None = None
    activation: Activation | None = None
    alpha: float = 0.6
    smooth: bool = False
    legend: bool = True
    side: int = 4096


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


def draw_overlay(scores: ScoreMap, image: object, cls: int | str | None, style: PictureStyle) -> Image.Image:
    """The map of one class, or of labels, over the image that was scanned.

    Raises:
        ImageError: as ``draw_map``; the image has another size than the one that was scanned.
    """
    placement = scores.spec.placement
    photo = photo_of(image, side=style.side)
    check_same_image(photo.image, placement)
    shown = coarse(scores, style.side) if photo.reduced else scores
    if scores.spec.kind == "labels":
        _check_labels(scores, cls, style)
        return _label_overlay(shown, photo, style)
    band = _band(scores, cls)
    values = class_map(shown, band, style.activation)
    limits = colour_limits(values, style.vmin, style.vmax)
    drawn = Image.fromarray(
        blend(
            photo.pixels,
            values,
            photo.placed(shown.spec.placement),
            limits=limits,
            alpha=style.alpha,
            colours=style.colours,
            smooth=style.smooth,
        )
    )
    if not style.legend:
        return drawn
    mode = scores.spec.mode
    note = mode if style.activation is None else f"{style.activation}, {mode}"
    return with_legend(drawn, title=class_name(scores, band), note=note, colours=style.colours, limits=limits)


def widest_band(scores: ScoreMap) -> int:
    """The band whose scores span the widest range on a coarse level: ``widest_range``."""
    values = read_scores(coarse(scores, _COARSE), None)
    flat = values.reshape(values.shape[0], -1)
    low, high = (f.reduce(flat, axis=1).astype(np.float64) for f in (np.fmin, np.fmax))
    return widest_range(low, high)


def class_name(scores: ScoreMap, band: int) -> str:
    """What the class of a band is called."""
    spec = scores.spec
    return spec.class_names[band] if spec.class_names else f"class {spec.classes[band]}"


def _label_overlay(shown: ScoreMap, photo: Photo, style: PictureStyle) -> Image.Image:
    labels, spec = top_labels(shown), shown.spec
    cells = label_colours(labels, spec.classes)
    drawn = Image.fromarray(blend_colours(photo.pixels, cells, photo.placed(spec.placement), alpha=style.alpha))
    if not style.legend:
        return drawn
    colours = distinct(max(spec.classes) + 1)
    counts = np.bincount(labels[labels >= 0], minlength=len(colours))
    present = sorted((k for k, cls in enumerate(spec.classes) if counts[cls]), key=lambda k: -counts[spec.classes[k]])
    return with_label_legend(drawn, [(class_name(shown, k), colours[spec.classes[k]]) for k in present])


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
