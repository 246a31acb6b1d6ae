"""Reads the bytes of a file or URL by ranges, from any thread."""

from __future__ import annotations

import io
import os
import re
import threading
import weakref
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO, Protocol, cast
from urllib.parse import unquote, urlsplit

from fullfield.errors import ImageError, first_line
from fullfield.image.checks import ChangedError, check_file
from fullfield.image.http import read_range
from fullfield.image.identity import file_identity, plain_names, sampled_hash
from fullfield.image.network import RangeFile, network_error, retried, storage_options
from fullfield.packages import import_packages

_WHOLE = 256 * 2**20  # most bytes of a URL held in memory if the server does not support ranges
_RUN, _GAP = 8 * 2**20, 64 * 1024  # most bytes of one read, and of a gap that is read along


class Blob(Protocol):
    """Bytes that can be read by ranges, from any thread."""

    @property
    def name(self) -> str:
        """Path or URL."""
        ...

    @property
    def size(self) -> int:
        """Bytes."""
        ...

    def read(self, start: int, stop: int) -> bytes:
        """Bytes of a half-open range inside the file; fewer if the file was truncated.

        Raises:
            OSError: of the system or the network.
        """
        ...

    def file(self) -> BinaryIO:
        """A new file object over all bytes, for one thread at a time."""
        ...

    def identity(self) -> dict[str, Any]:
        """Plain JSON that differs when the bytes do."""
        ...

    def close(self) -> None:
        """Closes the file; a second call does nothing."""
        ...


class LocalBlob:
    """A file on this machine; garbage collection closes it at the latest."""

    def __init__(self, path: Path) -> None:
        self.name = str(path)
        self._path = path
        handle = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
        self._handle: int | None = handle
        self._closing = weakref.finalize(self, os.close, handle)
        self.size = os.fstat(handle).st_size
        self._lock = threading.Lock()

    def read(self, start: int, stop: int) -> bytes:
        """Bytes of a range; with ``os.pread`` several threads read at once."""
        parts, at = [], start
        stop = min(stop, self.size)  # damaged files give positions that the system call cannot take
        while at < stop:  # a call returns at most 2 GiB
            part = self._part(at, stop - at)
            if not part:
                break
            parts.append(part)
            at += len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _part(self, start: int, count: int) -> bytes:
        handle = self._handle
        if handle is None:
            raise OSError("the file was closed")
        if hasattr(os, "pread"):
            return os.pread(handle, count, start)
        with self._lock:
            os.lseek(handle, start, os.SEEK_SET)
            return os.read(handle, count)

    def file(self) -> BinaryIO:
        """A new handle of the file."""
        return self._path.open("rb")

    def identity(self) -> dict[str, Any]:
        """Size, time of change and hash of samples."""
        return file_identity(self._path)

    def close(self) -> None:
        """Closes the file; later reads fail."""
        self._handle = None
        self._closing()


class RemoteBlob:
    """A file at a URL that fsspec knows; ranges are fetched when they are read, several at once."""

    def __init__(self, url: str) -> None:
        self.name = url
        self._fs, self._path = filesystem(url)
        self._info = dict(retried(lambda: self._fs.info(self._path), url))
        size = self._info.get("size")
        if size is None:
            raise ImageError(url, "the server does not tell the size of the file", fix="download the file")
        self.size = int(size)
        self._whole: bytes | None = None
        if url.startswith("http") and not retried(self._supports_ranges, url):
            self._whole = retried(self._download, url)

    def _supports_ranges(self) -> bool:
        """Whether the server answers a range request with that range; what its headers claim is not reliable."""
        if self._info.get("partial") is False or self.size < 2:
            return False
        try:
            with self._fs.open(self._path, "rb", block_size=1, cache_type="none") as file:
                file.seek(self.size - 1)
                return len(file.read(1)) == 1
        except ValueError:  # fsspec raises it when the whole file arrives
            return False

    def _download(self) -> bytes:
        if self.size > _WHOLE:
            raise ImageError(
                self.name,
                f"the server does not support range requests, and the file has {self.size} bytes "
                f"(at most {_WHOLE} are read whole)",
                fix="download the file",
            )
        data: bytes = self._fs.cat_file(self._path)
        return data

    def read(self, start: int, stop: int) -> bytes:
        """Bytes of a range, in one request."""
        if self._whole is not None:
            return self._whole[start:stop]
        stop = min(stop, self.size)
        if start >= stop:
            return b""
        try:
            return retried(lambda: self._range(start, stop), self.name)
        except (ImageError, FileNotFoundError):
            raise
        except Exception as error:  # every file system of fsspec raises its own
            raise network_error(error) from error

    def _range(self, start: int, stop: int) -> bytes:
        """Bytes of a range inside the file, in one request.

        Raises:
            EOFError: fewer bytes came.
        """
        etag = str(plain_names(self._info).get("etag") or "")
        if etag and not etag.startswith("W/") and hasattr(self._fs, "set_session"):
            data = read_range(self._fs, self._path, (start, stop), etag)
        else:
            data = self._fs.cat_file(self._path, start=start, end=stop)
        if len(data) != stop - start:
            raise EOFError(f"bytes {start}:{stop} are needed, {len(data)} were read")
        return data

    def file(self) -> BinaryIO:
        """A file object that caches blocks."""
        if self._whole is not None:
            return io.BytesIO(self._whole)
        return cast("BinaryIO", RangeFile(self.read, self.size))

    def identity(self) -> dict[str, Any]:
        """Size with ETag and time of change, or with a hash of samples if the server reports neither."""
        known = plain_names(self._info)
        found = {name: str(known[name]) for name in ("etag", "lastmodified") if known.get(name)}
        if not found:
            with self.file() as file:
                found = {"blake2b": sampled_hash(file, self.size)}
        return {"size": self.size, **found}

    def close(self) -> None:
        """Drops the bytes held in memory."""
        self._whole = None


def is_url(path: str) -> bool:
    """Whether a path is a URL, such as ``https://…``, ``s3://…`` or ``memory://…``.

    Examples:
        >>> is_url("https://a.org/b.tif"), is_url("C:/b.tif"), is_url("b.tif")
        (True, False, False)
    """
    return re.match(r"[A-Za-z][A-Za-z0-9+.-]+://", path) is not None


def local_path(path: str) -> str | None:
    """The path on this machine; ``None`` for a URL of another machine.

    Examples:
        >>> local_path("file:///a/b%20c.tif"), local_path("a.tif"), local_path("s3://a/b.tif")
        ('/a/b c.tif', 'a.tif', None)
    """
    if path.lower().startswith("file://"):
        return unquote(urlsplit(path).path)
    return None if is_url(path) else path


def filesystem(url: str) -> tuple[Any, str]:
    """The fsspec file system of a URL, and the path in it.

    Raises:
        ImageError: fsspec or its package for the protocol is not installed, or the protocol is unknown.
    """
    (fsspec,) = import_packages("fsspec", extra="remote", where=url)
    try:
        fs, path = fsspec.core.url_to_fs(url, **storage_options(url))
    except (ImportError, ValueError) as error:  # the text names the package that the protocol needs
        raise ImageError(url, f"such URLs cannot be read ({error})", fix="pip install 'fullfield[remote]'") from error
    return fs, path


def open_blob(path: str) -> Blob:
    """Opens a file or URL.

    Raises:
        ImageError: there is no such regular file, it is empty, or it cannot be reached.
    """
    local = local_path(path)
    try:
        if local is None:
            blob: Blob = RemoteBlob(path)
        else:
            check_file(Path(local))
            blob = LocalBlob(Path(local))
    except FileNotFoundError as error:
        cause = error.__cause__  # of a URL: fsspec raises FileNotFoundError for any answer of the server
        if cause is not None and getattr(cause, "status", None) != 404:
            raise _unreachable(path, cause) from error
        raise ImageError(path, "there is no such file", fix="check the path") from error
    except ImageError:
        raise
    except Exception as error:
        raise _unreachable(path, error) from error
    if blob.size == 0:
        blob.close()
        raise ImageError(path, "the file is empty (0 bytes)", fix="copy or download it again")
    return blob


def _unreachable(path: str, error: BaseException) -> ImageError:
    stalled = isinstance(error, TimeoutError)
    why = first_line(network_error(error)) if stalled else first_line(error)
    return ImageError(path, f"cannot be opened ({why})", fix="check the path and the rights")


def read_parts(blob: Blob, parts: Iterable[tuple[int, int, int]]) -> Iterator[tuple[int, bytes]]:
    """``(key, bytes)`` of every ``(start, stop, key)``, in the order of the file; close ranges are read at once.

    Raises:
        OSError: a range cannot be read whole.
    """
    run: list[tuple[int, int, int]] = []
    for part in sorted(parts):
        if run and (part[0] > run[-1][1] + _GAP or part[1] - run[0][0] > _RUN):
            yield from _read_run(blob, run)
            run = []
        run.append(part)
    if run:
        yield from _read_run(blob, run)


def _read_run(blob: Blob, run: list[tuple[int, int, int]]) -> Iterator[tuple[int, bytes]]:
    first, last = run[0][0], max(stop for _, stop, _ in run)
    if last > blob.size:
        raise EOFError(f"bytes {first}:{last} are needed, the file has {blob.size}")
    try:
        data = blob.read(first, last)
    except (OSError, ChangedError):
        raise
    except Exception as error:
        raise OSError(first_line(error)) from error
    if len(data) != last - first:
        raise EOFError(f"bytes {first}:{last} are needed, {len(data)} were read")
    for start, stop, key in run:
        yield key, data[start - first : stop - first]


def close_quietly(*things: Any) -> None:
    """Closes things and ignores errors of closing; for cleaning up after another error."""
    for thing in things:
        with suppress(OSError, ValueError):
            thing.close()
