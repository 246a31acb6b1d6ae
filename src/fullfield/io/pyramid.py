"""The last step of a result: levels each half as fine, and the word that all is there."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fullfield.io import ome
from fullfield.io.files import settle, system_error
from fullfield.io.maps import MapSpec
from fullfield.io.record import from_record
from fullfield.io.shards import Region, count_files, open_array, plain_bytes, read_array, write_shard
from fullfield.io.store import VALID, add_array, incomplete, level_count, level_grid, read_record, write_root


def seal(path: Path, *, certificate: dict[str, Any] | None = None) -> None:
    """Builds the pyramid of a store whose shards are all there, and says as the very last step that it is complete.

    May be called again, also after it was killed in the middle. A few inner chunks are in memory at a time.

    Args:
        path: of the store.
        certificate: what verification found; an earlier one stays where ``None`` is given.

    Raises:
        ResumeError: shards are missing.
        ImageError: no store, a damaged shard, no space.
    """
    record = read_record(path)
    spec = from_record(record, str(path))
    certificate = record["certificate"] if certificate is None else certificate
    if record["complete"] and certificate == record["certificate"]:
        return
    grid = level_grid(spec, 0)
    there, all_of_them = count_files(path / "0", grid), int(np.prod(grid.shards))
    if there < all_of_them:
        raise incomplete(path, there, all_of_them)
    try:
        if not record["complete"]:
            _build(path, spec)
            settle(path, within=False)  # the levels' names, before anyone may rely on them
        write_root(path, spec, certificate=certificate, windows=_windows(path, spec))
        settle(path, within=False)
    except OSError as error:
        raise system_error(str(path), error, plain_bytes(spec.shape, spec.dtype)) from error


def _build(path: Path, spec: MapSpec) -> None:
    """All levels anew, forced to the disk, and nothing else left of earlier tries."""
    for stale in _stale(path):
        stale.unlink(missing_ok=True)
    for folder in path.iterdir():
        if folder.name.isdecimal() and folder.name != "0":
            shutil.rmtree(folder)
    for level in range(1, level_count(spec)):
        add_array(path / str(level), level_grid(spec, level))
        _halve(path, spec, level)
        settle(path / str(level))


def _stale(path: Path) -> Iterator[Path]:
    """What a killed writer left."""
    for folder in (path, path / "0", path / VALID):
        yield from (folder.rglob("*.partial") if folder != path else folder.glob("*.partial"))


def _halve(path: Path, spec: MapSpec, level: int) -> None:
    """Writes a level from the one below it, a shard at a time, an inner chunk at a time."""
    source, grid = open_array(path / str(level - 1)), level_grid(spec, level)
    for index in np.ndindex(grid.shards):
        first = [i * side for i, side in zip(index, grid.shard, strict=True)]

        def read(region: Region, first: list[int] = first) -> NDArray[Any]:
            out = np.empty([r.stop - r.start for r in region], grid.dtype)
            bands = slice(first[0] + region[0].start, first[0] + region[0].stop)
            for y, x in _quarters(*out.shape[1:]):  # each is an inner chunk of the source
                top, left = first[1] + region[1].start, first[2] + region[2].start
                place = slice(2 * (top + y.start), 2 * (top + y.stop)), slice(2 * (left + x.start), 2 * (left + x.stop))
                for band, numbers in zip(out, read_array(source, (bands, *place), path), strict=True):
                    band[y, x] = halved(numbers, spec)
            return out

        write_shard(path / str(level) / grid.file(index), grid, grid.extent(index), read)


def _quarters(rows: int, columns: int) -> Iterator[tuple[slice, slice]]:
    """Up to four regions that a region of so many cells is made of."""
    height, width = -(-rows // 2), -(-columns // 2)
    for top in range(0, rows, height):
        for left in range(0, columns, width):
            yield slice(top, min(top + height, rows)), slice(left, min(left + width, columns))


def halved(numbers: NDArray[Any], spec: MapSpec) -> NDArray[Any]:
    """A band ``(y, x)`` with half the cells: of four, the mean of those that hold something, or the most frequent.

    Stored numbers are linear in the scores, so that their mean stands for the scores' mean.
    Of labels that are equally frequent the first in reading order is taken.
    """
    four = _fours(numbers, spec.fill)
    if spec.kind == "labels":
        return _most_frequent(four, spec.fill)
    there = ~np.isnan(four) if four.dtype.kind == "f" else four != four.dtype.type(spec.fill)
    wide = np.where(there, four, 0).astype(np.float64 if four.dtype == np.float64 else np.float32)
    count = there.sum(axis=0)
    with np.errstate(invalid="ignore", over="ignore"):  # infinite scores; float16 that overflows
        mean = wide.sum(axis=0) / np.maximum(count, 1)
        mean = np.rint(mean) if four.dtype.kind == "u" else mean
        found: NDArray[Any] = np.where(count > 0, mean, spec.fill).astype(four.dtype)
    return found


def _fours(numbers: NDArray[Any], fill: float) -> NDArray[Any]:
    """Cells ``(4, y, x)`` that become one; beyond the end, the fill value."""
    rows, columns = numbers.shape
    if rows % 2 or columns % 2:
        numbers = np.pad(numbers, ((0, rows % 2), (0, columns % 2)), constant_values=numbers.dtype.type(fill))
    return np.stack([numbers[i::2, j::2] for i in (0, 1) for j in (0, 1)])


def _most_frequent(four: NDArray[Any], fill: float) -> NDArray[Any]:
    counts = np.stack([(four == one).sum(axis=0) for one in four])
    counts[four == four.dtype.type(fill)] = 0
    best = counts.argmax(axis=0)[None]
    found: NDArray[Any] = np.take_along_axis(four, best, axis=0)[0]
    return found


def _windows(path: Path, spec: MapSpec) -> list[tuple[float, float]]:
    """Extremes of every band at the coarsest level, for display."""
    if spec.kind == "labels":
        return [(0.0, float(max(spec.classes)))]
    last = level_count(spec) - 1
    array, step = open_array(path / str(last)), level_grid(spec, last).chunk[0]
    found: list[tuple[float, float]] = []
    for band in range(0, spec.shape[0], step):
        everything = slice(None), slice(None)
        found += ome.extremes(read_array(array, (slice(band, band + step), *everything), path), spec)
    return found
