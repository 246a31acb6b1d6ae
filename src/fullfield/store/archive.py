"""Reads and writes scores as NumPy archives: the array ``scores``, and the record as JSON text ``fullfield``.

An archive is a zip file, which has a checksum for each of its parts.
"""

from __future__ import annotations

import json
import math
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fullfield.errors import ImageError, first_line
from fullfield.store.record import ATTRIBUTE, Record, check_record, dumped, from_record

_ARRAY = "scores"
_MOST_RECORD = 64 << 20  # bytes
_DAMAGE = (
    OSError, ValueError, TypeError, LookupError, RuntimeError, ArithmeticError, EOFError, MemoryError, SyntaxError,
    zipfile.BadZipFile, zlib.error, struct.error, tokenize.TokenError,
)  # fmt: skip


def write_npz(path: Path, array: NDArray[Any], record: Record) -> None:
    """Writes array and record, not compressed; equal ones give equal bytes."""
    with path.open("wb") as file:
        np.savez(file, scores=array, fullfield=np.array(dumped(record)))


def read_npz(path: Path) -> tuple[NDArray[Any], Record]:
    """The array and the record that ``write_npz`` wrote; their checksums are compared.

    Raises:
        ImageError: there is no such file, it holds no scores, or it is damaged.
    """
    with _opened(path) as (archive, record):
        spec = from_record(record, str(path))
        return _member(archive, _ARRAY, spec.shape, np.dtype(spec.dtype).itemsize), record


def read_npz_record(path: Path) -> Record:
    """The record that ``write_npz`` wrote; the array is not read.

    Raises:
        ImageError: there is nothing, or something else, or it is damaged.
    """
    with _opened(path) as (_, record):
        return record


@contextmanager
def _opened(path: Path) -> Iterator[tuple[zipfile.ZipFile, Record]]:
    """The archive and its record; errors of reading become one message."""
    where = str(path)
    if not path.exists():
        raise ImageError(where, "there is no such file or folder", fix="check the path")
    if not path.is_file() or not zipfile.is_zipfile(path):  # reading a pipe would never end
        raise ImageError(where, "holds no scores", fix="give a .zarr folder or an .npz file that fullfield wrote")
    try:
        with zipfile.ZipFile(path) as archive:
            if archive.getinfo(f"{ATTRIBUTE}.npy").file_size > _MOST_RECORD:
                raise ValueError("the record is too long")
            record = json.loads(str(_member(archive, ATTRIBUTE, ())))
            yield archive, check_record(record, where)
    except ImageError:
        raise
    except _DAMAGE as error:
        raise ImageError(
            where,
            f"scores cannot be read ({first_line(error)})",
            fix="scan again: the file is damaged or of another program",
        ) from error


def _member(archive: zipfile.ZipFile, name: str, shape: tuple[int, ...], itemsize: int | None = None) -> NDArray[Any]:
    """An array of an archive, of a shape and size of its numbers; no more memory is taken than the archive has bytes.

    Raises:
        ValueError: it is another array.
    """
    part = archive.getinfo(f"{name}.npy")
    with archive.open(part) as file:
        version = np.lib.format.read_magic(file)
        header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        found, _, dtype = header(file)
    if found != shape or (itemsize is not None and dtype.itemsize != itemsize):
        raise ValueError(f"{name} are {dtype} of shape {found}, not of shape {shape}")
    if part.compress_type != zipfile.ZIP_STORED or math.prod(shape) * dtype.itemsize > part.compress_size:
        raise ValueError(f"{name} are not stored as fullfield stores them")
    with archive.open(part) as file:
        numbers: NDArray[Any] = np.lib.format.read_array(file, allow_pickle=False)
        if file.read(1):  # at the end zipfile compares the checksum
            raise ValueError(f"there are bytes after {name}")
    return numbers
