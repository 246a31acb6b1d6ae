"""Finished score maps on disk, read by region, without having them in memory."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fullfield.api.scores import Scores, nearest_cell
from fullfield.errors import BudgetError, GeometryError, ImageError
from fullfield.geometry.placement import Placement
from fullfield.store.classes import find_class
from fullfield.store.maps import MapSpec, decoded
from fullfield.store.ome_zarr import VALID, check_complete, level_count, level_grid
from fullfield.store.shards import open_array, plain_bytes, read_array

_MOST = 4 << 30  # bytes of a map that is brought into memory unasked
_DECODED = 64 << 20  # bytes of the inner chunks read at once: of one class after another, whatever their number


@dataclass(frozen=True, eq=False)
class StoredScores:
    """Scores of every window of an image, in an OME-Zarr store; ``fullfield.open_scores`` opens one.

    Any number of threads may read. Cells without scores read as ``spec.fill``.

    Args:
        path: of the store.
        spec: what it holds.
        certificate: what verification found, as plain JSON.
        levels: the arrays of the pyramid, finest first.
        valid_cells: the array that says where scores are.
    """

    path: Path
    spec: MapSpec
    certificate: dict[str, Any] | None
    levels: tuple[Any, ...] = field(repr=False)
    valid_cells: Any = field(repr=False)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Bands, rows and columns."""
        return self.spec.shape

    @property
    def placement(self) -> Placement:
        """Where the cells lie on the image."""
        return self.spec.placement

    @property
    def class_names(self) -> tuple[str, ...] | None:
        """One name a class kept."""
        return self.spec.class_names

    def read(self, top: int, bottom: int, left: int, right: int) -> NDArray[Any]:
        """Stored numbers ``(bands, y, x)`` of a half-open region of cells, as they are stored.

        Raises:
            GeometryError: the region does not lie in the map.
            ImageError: the store is damaged there.
        """
        return self._read(0, slice(None), (top, bottom, left, right))

    def valid(self, top: int, bottom: int, left: int, right: int) -> NDArray[np.bool_]:
        """Which cells ``(y, x)`` of a region have scores."""
        region = _region((top, bottom, left, right), self.spec.shape[1:])
        return read_array(self.valid_cells, region, self.path).astype(np.bool_)

    def scores(
        self, top: int, bottom: int, left: int, right: int, *, cls: int | str | None = None, level: int = 0
    ) -> NDArray[np.floating]:
        """Scores ``(bands, y, x)`` of a region, NaN where there are none; of labels, the index of the class.

        Args:
            top, bottom, left, right: half-open, in cells of the level.
            cls: index or name of one class; all that are kept where not given.
            level: of the pyramid; cells of level ``l`` stand for ``2^l`` cells a side.

        Raises:
            GeometryError: no such region or level.
            ImageError: no such class, or the store is damaged there.
        """
        bands = slice(None) if cls is None else slice(self.band(cls), self.band(cls) + 1)
        return decoded(self._read(level, bands, (top, bottom, left, right)), self.spec)

    def pieces(self) -> Iterator[tuple[int, int, Iterator[tuple[int, NDArray[np.floating]]]]]:
        """All scores, an inner chunk at a time: first row and column of some cells, and their scores in parts.

        Each part is a first band, and the scores ``(b, y, x)`` of so many bands from it on, as ``scores`` has them.
        """
        bands, rows, columns = self.spec.shape
        depth, height, width = level_grid(self.spec, 0).chunk
        for top in range(0, rows, height):
            for left in range(0, columns, width):
                edges = top, min(top + height, rows), left, min(left + width, columns)
                chunks = (slice(first, min(first + depth, bands)) for first in range(0, bands, depth))
                yield top, left, ((c.start, decoded(self._read(0, c, edges), self.spec)) for c in chunks)

    def band(self, cls: int | str) -> int:
        """The band that holds a class, given by its index among the network's classes, or by name.

        Raises:
            ImageError: no such class is kept.
        """
        if isinstance(cls, str) and cls.isdecimal() and cls not in (self.class_names or ()):
            cls = int(cls)
        if not isinstance(cls, str):
            if self.spec.kind == "scores" and cls in self.spec.classes:
                return self.spec.classes.index(cls)
            kept = ", ".join(map(str, self.spec.classes[:8]))
            what = f"{cls!r} is not kept" if self.spec.kind == "scores" else "a map of labels has no band for a class"
            raise ImageError("class", what, fix=f"kept are {kept}{', …' if len(self.spec.classes) > 8 else ''}")
        return find_class(cls, len(self.spec.classes), self.class_names or ())

    def at(self, y: float, x: float) -> NDArray[np.floating]:
        """Scores ``(bands,)`` of the cell whose centre is nearest to a point of the original image.

        Args:
            y, x: in pixel edges: the centre of pixel ``(0, 0)`` is ``(0.5, 0.5)``.

        Raises:
            ImageError: no cell covers the point.
        """
        i, j = nearest_cell(self.placement, y, x)
        return self.scores(i, i + 1, j, j + 1)[:, 0, 0]

    def coarse(self, side: int) -> tuple[int, NDArray[np.floating]]:
        """The finest level with at most ``side`` cells a side, else the coarsest; its number, and all its scores.

        For pictures: ``placement_at`` says where the cells lie.
        """
        fits = (level for level, array in enumerate(self.levels) if max(array.shape[1:]) <= side)
        level = next(fits, len(self.levels) - 1)
        _, rows, columns = self.levels[level].shape
        return level, self.scores(0, rows, 0, columns, level=level)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        """The whole map, for ``np.asarray(stored)``, as ``to_scores`` gives it. Shape: ``(bands, y, x)``"""
        if copy is False:
            raise ValueError("scores on a disk cannot be an array without a copy")
        return np.asarray(self.to_scores().array, dtype)

    def placement_at(self, level: int) -> Placement:
        """Where the cells of a level lie: each in the middle of those that it stands for."""
        return coarser(self.placement, 2**level)

    def to_scores(self, *, budget_bytes: int = _MOST) -> Scores:
        """The whole map in memory.

        Args:
            budget_bytes: it may take there.

        Raises:
            BudgetError: it needs more.
            ImageError: it holds labels, or is damaged.
        """
        if self.spec.kind == "labels":
            raise ImageError(str(self.path), "holds labels, no scores", fix="read them: open_scores(path).read(...)")
        bands, rows, columns = self.spec.shape
        dtype = np.dtype(self.spec.dtype) if self.spec.dtype.startswith("float") else np.dtype(np.float32)
        needed = math.prod(self.spec.shape) * dtype.itemsize
        if needed > budget_bytes:
            raise BudgetError(
                str(self.path),
                f"{bands} x {rows}x{columns} scores need {needed} bytes of memory, {budget_bytes} are allowed",
                fix="read regions with fullfield.open_scores(path), or allow more: to_scores(budget_bytes=...)",
            )
        try:
            array = np.empty(self.spec.shape, dtype)
        except MemoryError as error:
            what = f"{needed} bytes of memory are needed, which the system does not have"
            raise BudgetError(str(self.path), what, fix="read regions with fullfield.open_scores(path)") from error
        for top, bottom, left, right in self._shards():
            part = self.read(top, bottom, left, right)
            array[:, top:bottom, left:right] = part if part.dtype == dtype else decoded(part, self.spec)
        spec = self.spec
        return Scores(
            array,
            spec.placement,
            class_names=spec.class_names,
            mode=spec.mode,
            provenance=spec.provenance,
            certificate=self.certificate,
            classes=None if spec.classes == tuple(range(bands)) else spec.classes,
            activation=spec.activation,
            georeference=spec.georeference,
            mpp=spec.mpp,
        )

    def _shards(self) -> Iterator[tuple[int, int, int, int]]:
        (_, rows, columns), (height, width) = self.spec.shape, self.spec.shard
        for top in range(0, rows, height):
            for left in range(0, columns, width):
                yield top, min(top + height, rows), left, min(left + width, columns)

    def _read(self, level: int, bands: slice, edges: tuple[int, int, int, int]) -> NDArray[Any]:
        if not 0 <= level < len(self.levels):
            raise GeometryError("level", f"{level} is none of {len(self.levels)}", fix="0 is the finest")
        array = self.levels[level]
        region = _region(edges, array.shape[1:])
        first, last, _ = bands.indices(array.shape[0])
        together = self._bands_together(region)
        if last - first <= together:
            return read_array(array, (bands, *region), self.path)
        out = np.empty((last - first, *(part.stop - part.start for part in region)), array.dtype.newbyteorder("="))
        for low in range(first, last, together):
            high = min(low + together, last)
            out[low - first : high - first] = read_array(array, (slice(low, high), *region), self.path)
        return out

    def _bands_together(self, region: tuple[slice, slice]) -> int:
        """Bands whose inner chunks zarr may hold at once: as stored, and decoded."""
        depth, height, width = level_grid(self.spec, 0).chunk
        rows, columns = (
            (-(-part.stop // side) - part.start // side) * side
            for part, side in zip(region, (height, width), strict=True)
        )
        chunks = plain_bytes((depth, rows, columns), self.spec.dtype)
        return depth * max(1, _DECODED // max(1, chunks))

    def __repr__(self) -> str:
        (bands, rows, columns), (sy, sx) = self.spec.shape, self.placement.step
        step = f"{sy}" if sy == sx else f"{sy}x{sx}"
        what = f"{bands} x {rows}x{columns} {self.spec.dtype}"
        if self.spec.kind == "labels":
            what = f"labels of {len(self.spec.classes)} classes, {rows}x{columns} {self.spec.dtype}"
        return f"StoredScores({what}, {self.spec.mode}, step {step}, {level_count(self.spec)} levels, '{self.path}')"


def open_scores(path: str | os.PathLike[str]) -> StoredScores:
    """The finished map in an OME-Zarr store that ``scan`` or ``Scores.save`` wrote; it is read when asked for.

    Raises:
        ResumeError: it is not complete; the text says how much is there.
        ImageError: there is nothing, or something else, or files are missing.
    """
    place = Path(path)
    spec, record = check_complete(place)
    levels = tuple(open_array(place / str(level)) for level in range(level_count(spec)))
    for level, array in enumerate(levels):
        wanted = spec.shape[0], *(-(-count // 2**level) for count in spec.shape[1:])
        if array.shape != wanted or array.dtype != spec.dtype:
            what = f"level {level} is {array.dtype} of shape {array.shape}, its record says {spec.dtype} of {wanted}"
            raise ImageError(str(path), what, fix="scan again: it is damaged or foreign")
    return StoredScores(place, spec, record["certificate"], levels, open_array(place / VALID))


def coarser(placement: Placement, factor: int) -> Placement:
    """Placement of cells that each stand for ``factor`` cells a side, counted from the first, the last ones cut off.

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
    bottom = (rows - 1) * step[0] + window[0] - placement.scanned[0] - top  # so many that the last cell is whole
    right = (columns - 1) * step[1] + window[1] - placement.scanned[1] - left
    return Placement(step, window, placement.image, placement.scanned, padding=(top, bottom, left, right))


def _region(edges: tuple[int, int, int, int], shape: tuple[int, ...]) -> tuple[slice, slice]:
    top, bottom, left, right = edges
    if not (0 <= top <= bottom <= shape[0] and 0 <= left <= right <= shape[1]):
        raise GeometryError(
            "region",
            f"rows {top}:{bottom}, columns {left}:{right} do not lie in {shape[0]}x{shape[1]} cells",
            fix="give half-open ranges of cells inside the map",
        )
    return slice(top, bottom), slice(left, right)
