"""How a scan computes: memory, tile, method, device, engine, precision, and its share of a work split up."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

from fullfield.arguments import check_choice, checks_fields, parse_bytes, parse_pair
from fullfield.errors import GeometryError
from fullfield.planning.plan import Method
from fullfield.text import record_text

EngineName = Literal["auto", "torch", "onnxruntime", "openvino"]
Precision = Literal["float32", "tf32", "bfloat16", "float16"]


@checks_fields
@dataclass(frozen=True)
class Compute:
    """How a scan computes; none of it changes which scores come out, but for their rounding.

    Args:
        budget: memory allowed, bytes or a text such as ``"2GB"``: everything that the scan takes besides an image given
            as array, the model's weights and scores kept in memory. By default 2 GiB, or what one window takes where
            that is more; twice as much as that in ``context`` and between it and ``exact``. On a GPU the computation's
            share is memory of the device.
        tile: rows and columns of windows computed together; chosen by the plan by default.
        method: how steps that the network's stride does not divide are run: ``atrous`` spreads operators over one fine
            map, ``fragments`` runs them on its interleaved parts, ``shifted`` scans the image several times, at a
            step that all their strides divide, or tile by tile all of these passes at once. By default the cheapest is
            taken, of fewer passes too.
        device: where to compute, such as ``cpu`` or ``cuda:0``; by default where the model's weights lie.
        engine: what runs the programs: ``torch``, or ``openvino`` or ``onnxruntime`` where their extra is installed. By
            default what is fastest for this scan: torch, but for long scans that measured another to be faster.
        precision: type to compute in; by default the model's own. The scores of a lower one differ from the crops':
            ``verify`` says by how much. ``tf32`` lets NVIDIA's GPUs round the factors of float32 products to 10 bits
            after the point, which float32 here never does.
        threads: of the engine; by default as many as torch uses.
        rank, world: this is process ``rank`` of ``world`` that share one output on disk.

    Raises:
        GeometryError: an unknown method, engine or precision, a tile or number of threads that is not positive, no such
            process.
        BudgetError: a budget that is no size.

    Examples:
        >>> Compute(budget="2GB", tile=8)
        Compute(budget='2GB', tile=(8, 8))
    """

    budget: int | str | None = None
    tile: int | tuple[int, int] | None = None
    method: Method = "auto"
    device: str | None = None
    engine: EngineName = "auto"
    precision: Precision | None = None
    threads: int | None = None
    rank: int = 0
    world: int = 1

    def __post_init__(self) -> None:
        parse_bytes(self.budget)
        if self.tile is not None:
            tile = parse_pair("tile", self.tile, fix="use 1 or more rows and columns of windows")
            object.__setattr__(self, "tile", tile)
        choices = {"method": Method, "engine": EngineName, "precision": Precision}
        for name, words in choices.items():
            value = getattr(self, name)
            if not (name == "precision" and value is None):
                check_choice(name, value, get_args(words))
        if self.threads is not None and (type(self.threads) is not int or self.threads < 1):
            raise GeometryError("threads", f"{self.threads!r} is not a number of threads", fix="use 1 or more")
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
