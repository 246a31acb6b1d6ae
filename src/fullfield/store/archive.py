"""Reads and writes scores as NumPy archives: the array ``scores``, and the record as JSON text ``fullfield``."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fullfield.errors import ImageError
from fullfield.store.record import ATTRIBUTE, Record, dumped

_ARRAY = "scores"


def write_npz(path: Path, array: NDArray[Any], record: Record) -> None:
    """Writes array and record, not compressed."""
    with path.open("wb") as file:
        np.savez(file, scores=array, fullfield=np.array(dumped(record)))


def read_npz(path: Path) -> tuple[NDArray[Any], Record]:
    """The array and the record that ``write_npz`` wrote.

    Raises:
        ImageError: there is no such file, it holds no scores, or it is damaged.
    """
    with _opened(path) as (archive, record):
        return archive[_ARRAY], record


def read_npz_record(path: Path) -> Record:
    """The record that ``write_npz`` wrote; the array is not read.

    Raises:
        ImageError: there is nothing, or something else, or it is damaged.
    """
    with _opened(path) as (_, record):
        return record


@contextmanager
def _opened(path: Path) -> Iterator[tuple[Any, Record]]:
    """The archive and its record; errors of reading become one message."""
    where = str(path)
    if not path.exists():
        raise ImageError(where, "there is no such file or folder", fix="check the path")
    if not zipfile.is_zipfile(path):
        raise ImageError(where, "holds no scores", fix="give a .zarr folder or an .npz file that fullfield wrote")
    try:
        with np.load(path, allow_pickle=False) as archive:
            record = json.loads(str(archive[ATTRIBUTE]))
            if not isinstance(record, dict):
                raise ValueError("no record")
            yield archive, record
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, EOFError, MemoryError, zipfile.BadZipFile) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ImageError(
            where, f"scores cannot be read ({reason})", fix="scan again: the file is damaged or of another program"
        ) from error
