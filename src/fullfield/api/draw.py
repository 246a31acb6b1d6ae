"""Methods of ``Scores`` that draw them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PIL import Image

from fullfield.arguments import checks_keywords, parse_bytes
from fullfield.drawing.score_pictures import PictureStyle, draw_map, draw_overlay

if TYPE_CHECKING:
    from fullfield.api.scores import Class, Scores
    from fullfield.store.maps import Activation


def picture(
    scores: Scores,
    cls: Class | None = None,
    *,
    colours: str = "viridis",
    vmin: float | None = None,
    vmax: float | None = None,
    activation: Activation | None = None,
) -> Image.Image:
    """The bare map of one class, or of labels, a pixel a cell; black where there is no score.

    Args:
        cls: index or name; by default the class whose scores span the widest range.
        colours: viridis, magma, inferno or gray.
        vmin, vmax: values of the first and the last colour; the map's own extremes by default.
        activation: as for ``class_map``.

    Raises:
        ImageError: no such class or colour map.
    """
    return draw_map(scores.map, cls, PictureStyle(colours, vmin, vmax, activation))


@checks_keywords
def overlay(
    scores: Scores,
    image: object,
    cls: Class | None = None,
    *,
    alpha: float = 0.6,
    colours: str = "viridis",
    vmin: float | None = None,
    vmax: float | None = None,
    activation: Activation | None = None,
    smooth: bool = False,
    legend: bool = True,
    side: int = 4096,
    budget: int | str | None = None,
) -> Image.Image:
    """The map of one class, or of labels, over the image that was scanned.

    The image is at the top left, pixel for pixel; the legend is below it. The photograph is grey under the map,
    and keeps its colours where no window is centred.

    Args:
        image: what was scanned, as array, tensor, PIL image, path, or what ``fullfield.open`` returns.
        cls, colours, vmin, vmax, activation: as for ``picture``.
        alpha: opacity of the map, 0..1.
        smooth: interpolate between the cells' centres.
        legend: draw the colour bar, or the names of the labels.
        side: px of the picture's longer side, where the image has more than 16.7 million pixels and is reduced.
        budget: memory allowed, bytes or a text such as ``"2GB"``; a picture that does not fit is reduced further.

    Raises:
        ImageError: another image's size, an unknown class or colour map.
    """
    style = PictureStyle(colours, vmin, vmax, activation, alpha, smooth, legend, side)
    return draw_overlay(scores.map, image, cls, style, budget_bytes=parse_bytes(budget))
