"""Score maps on disk, in OME-Zarr stores that fullfield wrote, read by region."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fullfield.errors import ImageError
from fullfield.geometry.placement import Placement
from fullfield.store.levels import VALID, level_count, level_grid, valid_grid
from fullfield.store.maps import ALL, MapSpec, check_level, check_region, filled
from fullfield.store.ome_zarr import check_complete
from fullfield.store.shard_reading import read_cells, read_grid
from fullfield.store.shards import ShardGrid


@dataclass(frozen=True, eq=False)
class StoredMap:
    """A score map in a store, or one level of its pyramid.

    Args:
        path: of the store.
        spec: what this level holds.
        certificate: the result of verification, as plain JSON.
        grids: how the arrays of this level and the coarser ones are cut into files, this one first.
        valid_grid: the same of the array that marks the cells with scores; ``None`` for coarser levels.
        number: of this level in the store.
    """

    path: Path
    spec: MapSpec
    certificate: dict[str, Any] | None = None
    grids: tuple[ShardGrid, ...] = field(default=(), repr=False)
    valid_grid: ShardGrid | None = field(default=None, repr=False)
    number: int = 0

    @property
    def levels(self) -> int:
        """This level and the coarser ones."""
        return len(self.grids)

    def level(self, number: int) -> StoredMap:
        """A level of the pyramid; a cell of level ``l`` covers ``2^l`` cells a side.

        Raises:
            GeometryError: there is no such level.
        """
        check_level(number, self.levels)
        if number == 0:
            return self
        grid = self.grids[number]
        bands, rows, columns = grid.shape
        spec = replace(self.spec, shape=(bands, rows, columns), placement=coarser(self.spec.placement, 2**number))
        return replace(self, spec=spec, grids=self.grids[number:], valid_grid=None, number=self.number + number)

    def read(self, top: int, bottom: int, left: int, right: int, bands: slice = ALL) -> NDArray[Any]:
        """Stored numbers ``(bands, y, x)`` of a half-open region of cells; one inner chunk is decoded at a time.

        Raises:
            GeometryError: the region does not lie in the map.
            ImageError: the store is damaged there.
        """
        count, rows, columns = self.spec.shape
        check_region((top, bottom, left, right), (rows, columns))
        first, last, _ = bands.indices(count)
        region = slice(first, max(first, last)), slice(top, bottom), slice(left, right)
        return read_cells(self.path / str(self.number), self.grids[0], region)

    def valid(self, top: int, bottom: int, left: int, right: int) -> NDArray[np.bool_]:
        """Which cells ``(y, x)`` of a region have scores."""
        if self.valid_grid is None:
            return filled(self.read(top, bottom, left, right), self.spec)
        check_region((top, bottom, left, right), self.spec.shape[1:])
        region = slice(top, bottom), slice(left, right)
        return read_cells(self.path / VALID, self.valid_grid, region, absent_is_fill=True).astype(np.bool_)


def open_map(path: Path) -> StoredMap:
    """The finished map in a store.

    Raises:
        ResumeError: it is not complete; the text says how much is there.
        ImageError: there is no store of fullfield's, or files are missing or damaged.
    """
    spec, record = check_complete(path)
    grids = tuple(_grid(path, str(level), level_grid(spec, level)) for level in range(level_count(spec)))
    return StoredMap(path, spec, record["certificate"], grids, _grid(path, VALID, valid_grid(spec)))


def open_unsealed(path: Path, spec: MapSpec) -> StoredMap:
    """The finest level of a store whose shards are all written, but not its pyramid.

    Raises:
        ImageError: its arrays are missing or damaged.
    """
    return StoredMap(path, spec, None, (level_grid(spec, 0),), valid_grid(spec))


def _grid(path: Path, name: str, wanted: ShardGrid) -> ShardGrid:
    """How an array is cut into files, as its metadata says.

    Raises:
        ImageError: the array is damaged, or is not what the store's record says.
    """
    grid = read_grid(path / name)
    found, expected = ((g.dtype, g.shape, str(float(g.fill))) for g in (grid, wanted))
    if found != expected:
        shown = ["{} of shape {}, empty cells {}".format(*facts) for facts in (found, expected)]
        what = f"{f'level {name}' if name.isdecimal() else name} is {shown[0]}; its record says {shown[1]}"
        raise ImageError(str(path), what, fix="scan again: the store is damaged or of another program")
    return grid


def coarser(placement: Placement, factor: int) -> Placement:
    """Placement of cells that each cover ``factor`` cells a side, counted from the first; the last may be cut off.

    Invariant: ``coarser(p, f).centre(i, j) == p.centre(f*i + (f - 1)/2, f*j + (f - 1)/2)``.

    Examples:
        >>> place = Placement((4, 4), (12, 12), (40, 40), (40, 40))
        >>> place.shape, coarser(place, 2).shape, coarser(place, 2).centre(0, 0)
        ((8, 8), (4, 4), (8.0, 8.0))
    """
    if factor == 1:
        return placement
    cells, (sy, sx), (h, w) = placement.shape, placement.step, placement.window
    rows, columns = (-(-count // factor) for count in cells)
    step, window = (sy * factor, sx * factor), (h + (factor - 1) * sy, w + (factor - 1) * sx)
    top, _, left, _ = placement.padding
    bottom = (rows - 1) * step[0] + window[0] - placement.scanned[0] - top  # padded so that the last cell is whole
    right = (columns - 1) * step[1] + window[1] - placement.scanned[1] - left
    return Placement(step, window, placement.image, placement.scanned, padding=(top, bottom, left, right))
