"""The dial between exact and context scores, as users write it."""

from __future__ import annotations

from fullfield.arguments import parse_pair
from fullfield.errors import GeometryError
from fullfield.planning.plan import CONTEXT, EXACT, Borders

AnyMode = str | int | tuple[int, int]
_FIX = 'use "exact", "context", a number of border cells such as 2, or a pair such as (2, 14)'


def parse_mode(mode: AnyMode) -> Borders:
    """What is recomputed as the crops would.

    Args:
        mode: ``"exact"``; ``"context"``; or ``b``, at most so many cells at each edge of a window's map computed as the
            crop would in every layer; or ``(b, n)``, besides all border cells of maps of at most ``n`` cells a side.

    Raises:
        GeometryError: it is none of these.

    Examples:
        >>> parse_mode("context"), parse_mode((2, 14))
        (Borders(cells=0, whole_maps=0), Borders(cells=2, whole_maps=14))
    """
    if isinstance(mode, str):
        if mode not in ("exact", "context"):
            raise GeometryError("mode", f"{mode!r} is not known", fix=_FIX)
        return EXACT if mode == "exact" else CONTEXT
    return Borders(*parse_pair("mode", mode, least=0, second=0, fix=_FIX))


def mode_text(borders: Borders) -> str:
    """The mode as users write it on the command line.

    Examples:
        >>> mode_text(EXACT), mode_text(CONTEXT), mode_text(Borders(2)), mode_text(Borders(2, 14))
        ('exact', 'context', '2', '2,14')
    """
    if borders.cells is None:
        return "exact"
    if borders.whole_maps:
        return f"{borders.cells},{borders.whole_maps}"
    return str(borders.cells) if borders.cells else "context"


def mode_of(borders: Borders) -> AnyMode:
    """The mode as ``scan`` takes it: the inverse of ``parse_mode``.

    Examples:
        >>> mode_of(EXACT), mode_of(CONTEXT), mode_of(Borders(2)), mode_of(Borders(2, 14))
        ('exact', 'context', 2, (2, 14))
    """
    if borders.cells is None:
        return "exact"
    if borders.whole_maps:
        return borders.cells, borders.whole_maps
    return borders.cells or "context"
