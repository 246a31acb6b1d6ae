"""Which sizes, views and modes of an image are scanned for one decision. Imports no torch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from fullfield.errors import GeometryError
from fullfield.image.views import ORIGINAL, ImageView, ViewsLike, parse_views
from fullfield.planning import EXACT, Borders
from fullfield.planning.mode import AnyMode, mode_text, parse_mode
from fullfield.verification.target import Target

Modes = AnyMode | Sequence[AnyMode]
"""One mode, or several: a list or tuple with a name or a pair in it."""
ScalesLike = float | Sequence[float] | None


@dataclass(frozen=True)
class Passes:
    """The scans of an image for one decision: every size in every view and mode.

    Args:
        scales: factors on the size at which the image is scanned.
        views: flips and quarter turns.
        modes: how layers that pad see the borders of windows.
    """

    scales: tuple[float, ...] = (1.0,)
    views: tuple[ImageView, ...] = (ORIGINAL,)
    modes: tuple[Borders, ...] = (EXACT,)

    @property
    def single(self) -> bool:
        """Whether it is one scan, of the image as it is."""
        return self == Passes(modes=self.modes[:1])

    @property
    def texts(self) -> dict[str, tuple[str, ...]]:
        """What is not as in a single scan, as users write it: ``scales``, ``views`` and ``modes``."""
        found = {
            "scales": tuple(f"{scale:g}" for scale in self.scales),
            "views": tuple(view.name for view in self.views),
            "modes": tuple(map(mode_text, self.modes)),
        }
        plain = {"scales": ("1",), "views": (ORIGINAL.name,), "modes": found["modes"][:1]}
        return {name: texts for name, texts in found.items() if texts != plain[name]}


def parse_passes(scales: ScalesLike, views: ViewsLike, mode: Modes | Target) -> Passes:
    """The scans for the arguments of a verb; a target's mode is found later.

    Raises:
        GeometryError: sizes, views or modes that mean nothing.
    """
    modes = (EXACT,) if isinstance(mode, Target) else parse_modes(mode)
    return Passes(parse_scales(scales), parse_views(views), modes)


def parse_scales(scales: ScalesLike) -> tuple[float, ...]:
    """Factors on the size of an image; 1 where none is given.

    Raises:
        GeometryError: none, one that is not positive, or one that is given twice.
    """
    given = (1.0,) if scales is None else (scales,) if isinstance(scales, (int, float)) else tuple(scales)
    for scale in given:
        if isinstance(scale, bool) or not isinstance(scale, (int, float)) or not 0 < scale < math.inf:
            raise GeometryError("scales", f"{scale!r:.60} is no positive number", fix="write scales=[0.75, 1, 1.5]")
    if not given or len(set(given)) < len(given):
        what = f"{given} names a size twice" if given else "none is given"
        raise GeometryError("scales", what, fix="name each size once")
    return tuple(map(float, given))


def parse_modes(mode: Modes) -> tuple[Borders, ...]:
    """One mode, or several whose scores are averaged.

    Raises:
        GeometryError: an unknown mode, or one that is given twice.

    Examples:
        >>> len(parse_modes("exact")), len(parse_modes((2, 14))), len(parse_modes(("exact", "context")))
        (1, 1, 2)
    """
    several = isinstance(mode, (list, tuple)) and any(isinstance(each, (str, list, tuple)) for each in mode)
    found = tuple(parse_mode(each) for each in mode) if several else (parse_mode(mode),)  # type: ignore[arg-type, union-attr]
    if len(set(found)) < len(found):
        raise GeometryError("mode", f"{mode!r} names a mode twice", fix="name each mode once")
    return found
