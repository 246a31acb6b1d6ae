"""Keeps compiled programs in the user's cache folder, from process to process."""

from __future__ import annotations

import hashlib
import logging
import os
import struct
import sys
import time
import uuid
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fullfield.layers.checksum import raw_bytes

FOLDER = "FULLFIELD_CACHE"  # environment variable: another folder, or nothing to keep no programs
_MOST_BYTES = 2 << 30  # of all programs of an engine
_LARGEST = 4  # a program may take up to this part of it
_HEADER = struct.Struct("<8s32sQI12x")  # what it is, key, size, checksum; 64 bytes, so that what follows is aligned
_MAGIC = b"ffblob01"
_SUFFIX = ".blob"
_log = logging.getLogger("fullfield")
_reported: set[Path] = set()


def cache_folder() -> Path | None:
    """The folder of this user for what can be made anew; ``None`` if nothing is to be kept.

    ``FULLFIELD_CACHE`` names another one; else it lies where the system has such folders.
    """
    given = os.environ.get(FOLDER)
    if given is not None:
        return Path(given) if given else None
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local"
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base, "fullfield")


class Blobs:
    """The compiled programs of one engine. No method raises because of what lies in the folder, or cannot be written.

    Args:
        engine: its name.
        most_bytes: of all programs together; those that were not used for longest are removed.
    """

    def __init__(self, engine: str, most_bytes: int = _MOST_BYTES) -> None:
        folder = cache_folder()
        self.folder = None if folder is None else folder / engine
        self.most_bytes = most_bytes

    def read(self, key: bytes) -> NDArray[np.uint8] | None:
        """The program of a key, mapped from its file; ``None`` if there is none.

        One that is cut, damaged or of another key is removed, and said to be; an unreadable folder is said once.
        """
        if self.folder is None:
            return None
        path = self._path(key)
        try:
            data: NDArray[np.uint8] = np.memmap(os.fspath(path), np.uint8, "c")  # OpenVINO takes only what is writable
        except FileNotFoundError:
            return None
        except OSError as error:
            self._report(error)
            return None
        except ValueError as error:  # it is empty
            self._discard(path, str(error))
            return None
        if (fault := _fault(data, key)) is not None:
            self._discard(path, fault)
            return None
        with suppress(OSError):
            os.utime(path)
        return data[_HEADER.size :]

    def drop(self, key: bytes, why: str) -> None:
        """Removes a program that the engine does not take."""
        if self.folder is not None:
            self._discard(self._path(key), why)

    def write(self, key: bytes, blob: bytes | memoryview) -> None:
        """Keeps a program, if it is not too large and the folder takes it."""
        if self.folder is None or len(blob) > self.most_bytes // _LARGEST:
            return
        temporary = self.folder / f"{uuid.uuid4().hex}.partial"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with temporary.open("xb") as file:
                checksum = google_crc32c.extend(0, np.frombuffer(blob, np.uint8))  # of the memory itself: no copy
                file.write(_HEADER.pack(_MAGIC, key, len(blob), checksum))
                file.write(blob)
            temporary.replace(self._path(key))
            self._limit()
        except OSError as error:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)
            self._report(error)

    def _path(self, key: bytes) -> Path:
        assert self.folder is not None
        return self.folder / f"{key.hex()}{_SUFFIX}"

    def _report(self, error: OSError) -> None:
        """Says, once for a process, that the folder cannot be used."""
        if self.folder is not None and self.folder not in _reported:
            _reported.add(self.folder)
            _log.warning("%s: compiled programs are not kept (%s)", self.folder, error.strerror or error)

    def _discard(self, path: Path, why: str) -> None:
        _log.warning("%s: this compiled program is unusable (%s) and is made anew", path, why)
        with suppress(OSError):
            path.unlink(missing_ok=True)

    def _limit(self) -> None:
        """Removes what was not used for longest, and what writers that were killed left behind."""
        assert self.folder is not None
        found = []
        for path in self.folder.iterdir():
            if path.suffix in (_SUFFIX, ".partial"):
                with suppress(OSError):  # another process removed it
                    state = path.stat()
                    found.append((state.st_mtime, state.st_size, path))
        total = sum(size for _, size, _ in found)
        for _, size, path in sorted(found):
            if total <= self.most_bytes:
                break
            with suppress(OSError):
                path.unlink()
            total -= size


def _fault(data: NDArray[np.uint8], key: bytes) -> str | None:
    """What is wrong with a file."""
    if len(data) < _HEADER.size:
        return f"it has {len(data)} bytes"
    magic, own, size, checksum = _HEADER.unpack(data[: _HEADER.size].tobytes())
    if magic != _MAGIC or own != key:
        return "it is another file"
    body = data[_HEADER.size :]
    if len(body) != size:
        return f"it has {len(body)} bytes of {size}"
    return None if google_crc32c.extend(0, body) == checksum else "its checksum differs"


class Signature:
    """A ``GraphWriter`` that only notes what is written: parts of equal signature compile to equal programs.

    Args:
        about: what else the program depends on: engine, version, CPU, settings.
    """

    prefers_rows = True
    spread_pool_channels = 0
    read_s = 0.0  # seconds of the processor in which the fixed tensors were read

    def __init__(self, *about: object) -> None:
        self._hash = hashlib.sha256(repr(about).encode())
        self._count = 0
        self._tensors: dict[object, tuple[Tensor, int]] = {}

    def key(self) -> bytes:
        """32 bytes."""
        return self._hash.digest()

    def constant(self, tensor: Tensor) -> int:
        """Notes a fixed tensor by its numbers."""
        key = tensor.data_ptr(), tuple(tensor.shape), tensor.stride()
        if key not in self._tensors:
            started = time.process_time()
            content = hashlib.sha256(raw_bytes(tensor).data).hexdigest()  # CPUs have instructions for it
            self.read_s += time.process_time() - started
            self._tensors[key] = tensor, self._note("constant", tuple(tensor.shape), str(tensor.dtype), content)
        return self._tensors[key][1]

    def scale_channels(self, x: int, scale: Tensor, shift: Tensor, rank: int) -> int:
        """Notes a scale and a shift for each channel."""
        return self._note("scale_channels", x, self.constant(scale), self.constant(shift), rank)

    def __getattr__(self, name: str) -> Any:
        return lambda *args, **kwargs: self._note(name, args, sorted(kwargs.items()))

    def _note(self, *what: object) -> int:
        self._hash.update(repr(_plain(what)).encode())
        self._count += 1
        return self._count


def _plain(value: Any) -> Any:
    """Sequences as tuples, whatever their type."""
    if isinstance(value, torch.Size | Sequence) and not isinstance(value, str):
        return tuple(map(_plain, value))
    return value
