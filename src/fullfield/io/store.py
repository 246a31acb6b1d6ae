"""Scores on disk: Zarr v3 and npz. Both hold the array and one record of plain JSON."""

from __future__ import annotations

import json
import threading
import zipfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

from fullfield.errors import ImageError

_CHUNK = (64, 256, 256)  # at most: 16 MiB of float32, and a class need not be read with all others
_ARRAY, _RECORD = "scores", "fullfield"
Record = dict[str, Any]


def write_zarr(folder: Path, array: NDArray[Any], record: Record) -> None:
    """A Zarr v3 group at an empty folder: array ``scores`` with axes c, y, x; the record as attribute ``fullfield``.

    Every chunk is written, so that a missing one is a damaged store; its place would read as NaN.
    """
    group = zarr.open_group(str(folder), mode="w", zarr_format=3, attributes={_RECORD: record})
    chunks = tuple(min(most, count) for most, count in zip(_CHUNK, array.shape, strict=True))
    kept = ("axes", "scale", "translation", "class_names", "mode")
    scores = group.create_array(
        _ARRAY,
        shape=array.shape,
        dtype=array.dtype,
        chunks=chunks,
        fill_value=float("nan"),
        dimension_names=("c", "y", "x"),
        attributes={name: record[name] for name in kept},
        config={"write_empty_chunks": True},
    )
    stop = threading.Event()
    with ThreadPoolExecutor(1) as worker:  # an interruption then meets this thread, not zarr between two writes
        try:
            worker.submit(_fill, scores, array, stop).result()
        finally:
            stop.set()


def _fill(scores: zarr.Array[Any], array: NDArray[Any], stop: threading.Event) -> None:
    """Writes an array a row of chunks at a time, until told to stop."""
    for first in range(0, array.shape[0], scores.chunks[0]):
        for row in range(0, array.shape[1], scores.chunks[1]):
            if stop.is_set():
                return
            block = slice(first, first + scores.chunks[0]), slice(row, row + scores.chunks[1])
            scores[block] = array[block]


def write_npz(path: Path, array: NDArray[Any], record: Record) -> None:
    """A NumPy archive: array ``scores``, and the record as JSON text ``fullfield``."""
    with path.open("wb") as file:
        np.savez(file, scores=array, fullfield=np.array(json.dumps(record)))


def read(path: Path) -> tuple[NDArray[Any], Record]:
    """Array and record of a result of ``write_zarr`` or ``write_npz``; which of them, its content tells.

    Raises:
        ImageError: there is nothing, or something else, or it is damaged.
    """
    where = str(path)
    if not path.exists():
        raise ImageError(where, "there is no such file or folder", fix="check the path")
    reader: Callable[[Path], tuple[NDArray[Any], Record]]
    if path.is_dir():
        reader = _read_zarr
    elif path.is_file() and zipfile.is_zipfile(path):
        reader = _read_npz
    else:
        raise ImageError(where, "holds no scores", fix="give a .zarr folder or an .npz file that fullfield wrote")
    try:
        return reader(path)
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, EOFError, MemoryError, zipfile.BadZipFile) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ImageError(
            where, f"scores cannot be read ({reason})", fix="scan again: it is damaged or foreign"
        ) from error


def _read_zarr(path: Path) -> tuple[NDArray[Any], Record]:
    group = zarr.open_group(str(path), mode="r")
    scores, record = group[_ARRAY], group.attrs[_RECORD]
    if not isinstance(scores, zarr.Array) or not isinstance(record, dict):
        raise ValueError("no array of scores with its record")
    if scores.nchunks_initialized != scores.nchunks:
        raise ValueError(f"{scores.nchunks - scores.nchunks_initialized} of {scores.nchunks} chunks are missing")
    return np.asarray(scores[:]), record


def _read_npz(path: Path) -> tuple[NDArray[Any], Record]:
    with np.load(path, allow_pickle=False) as archive:
        record = json.loads(str(archive[_RECORD]))
        if not isinstance(record, dict):
            raise ValueError("no record")
        return archive[_ARRAY], record
