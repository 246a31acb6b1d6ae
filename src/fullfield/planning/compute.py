"""How a scan computes: memory, tile, method, device, and its share of a work split over processes."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, get_args

from fullfield.arguments import checks_fields, parse_bytes, parse_pair
from fullfield.errors import GeometryError
from fullfield.planning.plan import Method
from fullfield.text import record_text


@checks_fields
@dataclass(frozen=True)
class Compute:
    """How a scan computes; none of it changes which scores come out.

    Args:
        budget: memory allowed, bytes or a text such as ``"2GB"``: everything that the scan takes besides an image given
            as array, the model's weights and scores kept in memory. By default 2 GiB, or what one window takes where
            that is more.
        tile: rows and columns of windows computed together; chosen by the plan by default.
        method: how steps that the network's stride does not divide are run: ``atrous`` spreads operators over one fine
            map, ``fragments`` runs them on its interleaved parts, ``shifted`` scans the image several times. By default
            the cheapest is taken.
        device: where to compute, such as ``cpu`` or ``cuda:0``; by default where the model's weights lie.
        rank, world: this is process ``rank`` of ``world`` that share one output on disk.

    Raises:
        GeometryError: an unknown method, a tile that is not one or two positive integers, no such process.
        BudgetError: a budget that is no size.

    Examples:
        >>> Compute(budget="2GB", tile=8)
        Compute(budget='2GB', tile=(8, 8))
    """

    budget: int | str | None = None
    tile: int | tuple[int, int] | None = None
    method: Method = "auto"
    device: str | None = None
    rank: int = 0
    world: int = 1

    def __post_init__(self) -> None:
        parse_bytes(self.budget)
        if self.tile is not None:
            tile = parse_pair("tile", self.tile, fix="use 1 or more rows and columns of windows")
            object.__setattr__(self, "tile", tile)
        if self.method not in get_args(Method):
            raise GeometryError("method", f"{self.method!r} is not known", fix=f"use {', '.join(get_args(Method))}")
        if not 0 <= self.rank < self.world:
            fix = f"use 0 to {max(self.world, 1) - 1}"
            raise GeometryError("rank", f"{self.rank} is not one of {self.world} processes", fix=fix)

    @property
    def budget_bytes(self) -> int | None:
        """The memory allowed, if it is bounded."""
        return parse_bytes(self.budget)

    @property
    def tile_shape(self) -> tuple[int, int] | None:
        """Rows and columns of windows computed together, if they are given."""
        assert self.tile is None or isinstance(self.tile, tuple)
        return self.tile

    def to_dict(self) -> dict[str, Any]:
        """The fields as JSON-able values."""
        return asdict(self)

    def __repr__(self) -> str:
        return record_text(self)
