"""A temporary file of labels of any size, which vanishes when nothing refers to it any more."""

from __future__ import annotations

import tempfile
import threading
import weakref
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fullfield.errors import ImageError
from fullfield.files import system_error
from fullfield.geometry.region import Pair, Region

_DTYPE = np.dtype(np.uint16)


class LabelFile:
    """Numbers of 16 bits ``(y, x)`` in a file without a name; any number of threads may read.

    Args:
        shape: rows and columns.

    Raises:
        ImageError: the folder for temporary files has no space.
    """

    def __init__(self, shape: Pair) -> None:
        self.shape = shape
        self._lock = threading.Lock()
        try:
            self._file: Any = tempfile.TemporaryFile(prefix="fullfield-")  # noqa: SIM115  lives as long as this does
            weakref.finalize(self, self._file.close)
            self._file.truncate(shape[0] * shape[1] * _DTYPE.itemsize)
        except OSError as error:
            raise self._error(error) from error

    def read(self, region: Region) -> NDArray[np.uint16]:
        """A copy of a half-open region."""
        top, bottom, left, right = region
        out = np.empty((bottom - top, right - left), _DTYPE)
        with self._lock:
            for row, target in self._runs(region, out):
                self._file.seek(row)
                self._file.readinto(target.data.cast("B"))
        return out

    def write(self, region: Region, numbers: NDArray[np.uint16]) -> None:
        """Replaces a half-open region.

        Raises:
            ImageError: no space is left.
        """
        try:
            with self._lock:
                for row, source in self._runs(region, np.ascontiguousarray(numbers, _DTYPE)):
                    self._file.seek(row)
                    self._file.write(source.data.cast("B"))
        except OSError as error:
            raise self._error(error) from error

    def _runs(self, region: Region, numbers: NDArray[np.uint16]) -> list[tuple[int, NDArray[np.uint16]]]:
        """Places in the file, and the numbers that lie there: rows, or all of them where whole rows are read."""
        top, bottom, left, right = region
        if bottom <= top or right <= left:
            return []
        width, size = self.shape[1], _DTYPE.itemsize
        if right - left == width:
            return [(top * width * size, numbers.reshape(-1))]
        return [((row * width + left) * size, numbers[row - top]) for row in range(top, bottom)]

    def _error(self, error: OSError) -> ImageError:
        needed = self.shape[0] * self.shape[1] * _DTYPE.itemsize
        found = system_error(tempfile.gettempdir(), error, needed)
        return ImageError(found.where, found.what, fix="free space there, or name another folder in TMPDIR")
