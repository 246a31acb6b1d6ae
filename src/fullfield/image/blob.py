"""Bytes of a file or URL, read in parts from any thread."""

from __future__ import annotations

import io
import os
import re
import threading
import weakref
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO, Protocol
from urllib.parse import unquote, urlsplit

from fullfield.errors import ImageError
from fullfield.image.formats.checks import reason
from fullfield.image.identity import file_identity, plain_names, sampled_hash

_WHOLE = 256 * 2**20  # bytes of a URL that may be held where the server gives no parts
_BLOCK = 2**18  # bytes that fsspec fetches and keeps at once where a library asks for a few
_RUN, _GAP = 8 * 2**20, 64 * 1024  # a run read at once is no longer; gaps no longer are read too


class Blob(Protocol):
    """Bytes that can be read in parts, from any thread."""

    @property
    def name(self) -> str:
        """Path or URL."""
        ...

    @property
    def size(self) -> int:
        """Bytes."""
        ...

    def read(self, start: int, stop: int) -> bytes:
        """Bytes of a half-open range inside; fewer where the file has become shorter.

        Raises:
            OSError: the system or the network refuses.
        """
        ...

    def file(self) -> BinaryIO:
        """A new file object over all bytes, for libraries that want one; for one thread at a time."""
        ...

    def identity(self) -> dict[str, Any]:
        """What differs when the bytes do, as plain JSON."""
        ...

    def close(self) -> None:
        """Gives back the handle; a second call does nothing."""
        ...


class LocalBlob:
    """A file on this machine; closed at the latest when nobody holds it any more."""

    def __init__(self, path: Path) -> None:
        self.name = str(path)
        self._path = path
        handle = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
        self._handle: int | None = handle
        self._closing = weakref.finalize(self, os.close, handle)
        self.size = os.fstat(handle).st_size
        self._lock = threading.Lock()

    def read(self, start: int, stop: int) -> bytes:
        """Bytes of a range; several threads read at once where the system can."""
        parts, at = [], start
        stop = min(stop, self.size)  # places beyond what the system can count come from damaged files only
        while at < stop:  # the system gives at most 2 GiB at once
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
        """The file, opened anew."""
        return self._path.open("rb")

    def identity(self) -> dict[str, Any]:
        """Size, time of change and hash of samples."""
        return file_identity(self._path)

    def close(self) -> None:
        """Closes the file; reads that come later fail."""
        self._handle = None
        self._closing()


class RemoteBlob:
    """What lies behind a URL that fsspec knows; ranges are fetched as they are asked for, several at once."""

    def __init__(self, url: str) -> None:
        self.name = url
        self._fs, self._path = filesystem(url)
        self._info = dict(self._fs.info(self._path))
        size = self._info.get("size")
        if size is None:
            raise ImageError(url, "the server does not say how long the file is", fix="download the file")
        self.size = int(size)
        self._whole: bytes | None = None
        if url.startswith("http") and not self._gives_parts():
            self._whole = self._download()

    def _gives_parts(self) -> bool:
        """Whether the server answers with a range where one is asked for: few say so, and some that say so do not."""
        if self._info.get("partial") is False or self.size < 2:
            return False
        try:
            with self._fs.open(self._path, "rb", block_size=1, cache_type="none") as file:
                file.seek(self.size - 1)
                return len(file.read(1)) == 1
        except ValueError:  # as fsspec says that the whole file came
            return False

    def _download(self) -> bytes:
        if self.size > _WHOLE:
            raise ImageError(
                self.name,
                f"the server gives no parts of files, and this one has {self.size} bytes (at most {_WHOLE} are held)",
                fix="download the file",
            )
        data: bytes = self._fs.cat_file(self._path)
        return data

    def read(self, start: int, stop: int) -> bytes:
        """Bytes of a range, by one request."""
        if self._whole is not None:
            return self._whole[start:stop]
        stop = min(stop, self.size)
        if start >= stop:
            return b""
        data: bytes = self._fs.cat_file(self._path, start=start, end=stop)
        return data

    def file(self) -> BinaryIO:
        """A file object whose blocks fsspec keeps."""
        if self._whole is not None:
            return io.BytesIO(self._whole)
        file: BinaryIO = self._fs.open(self._path, "rb", block_size=_BLOCK, cache_type="blockcache")
        return file

    def identity(self) -> dict[str, Any]:
        """Size with ETag and time of change, or with the hash of samples where the server gives neither."""
        known = plain_names(self._info)
        found = {name: str(known[name]) for name in ("etag", "lastmodified") if known.get(name)}
        if not found:
            with self.file() as file:
                found = {"blake2b": sampled_hash(file, self.size)}
        return {"size": self.size, **found}

    def close(self) -> None:
        """Forgets what was held."""
        self._whole = None


def is_url(path: str) -> bool:
    """Whether a path is a URL, such as ``https://…``, ``s3://…`` or ``memory://…``.

    Examples:
        >>> is_url("https://a.org/b.tif"), is_url("C:/b.tif"), is_url("b.tif")
        (True, False, False)
    """
    return re.match(r"[A-Za-z][A-Za-z0-9+.-]+://", path) is not None


def local_path(path: str) -> str | None:
    """The path on this machine that is meant; ``None`` where it is a URL elsewhere.

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
        ImageError: fsspec or what it needs for such URLs is not installed, or it knows none such.
    """
    try:
        import fsspec  # type: ignore[import-untyped]
    except ModuleNotFoundError as error:
        raise ImageError(url, "URLs need fsspec", fix="pip install 'fullfield[remote]'") from error
    try:
        fs, path = fsspec.core.url_to_fs(url)
    except (ImportError, ValueError) as error:  # fsspec says which package a protocol needs
        raise ImageError(url, f"such URLs cannot be read ({error})", fix="pip install 'fullfield[remote]'") from error
    return fs, path


def open_blob(path: str) -> Blob:
    """The bytes of a file or URL.

    Raises:
        ImageError: there is no such regular file, it is empty, or it cannot be reached.
    """
    local = local_path(path)
    try:
        if local is None:
            blob: Blob = RemoteBlob(path)
        else:
            _check_file(Path(local))
            blob = LocalBlob(Path(local))
    except FileNotFoundError as error:
        cause = error.__cause__  # of an address: fsspec calls whatever a server answers a file that is not found
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
    return ImageError(path, f"cannot be opened ({reason(error)})", fix="check the path and the rights")


def _check_file(path: Path) -> None:
    if not path.exists():
        raise ImageError(str(path), "there is no such file", fix="check the path")
    if path.is_dir():
        raise ImageError(str(path), "is a folder, not an image", fix="give one file in it")
    if not path.is_file():  # a pipe would never end
        raise ImageError(str(path), "is not a regular file", fix="copy the image to a file first")


def read_parts(blob: Blob, parts: Iterable[tuple[int, int, int]]) -> Iterator[tuple[int, bytes]]:
    """``(key, bytes)`` for every ``(start, stop, key)``, in the order of the file; neighbours are read at once.

    Raises:
        OSError: a part cannot be read whole.
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
        raise EOFError(f"bytes {first}:{last} are wanted, the file has {blob.size}")
    try:
        data = blob.read(first, last)
    except OSError:
        raise
    except Exception as error:
        raise OSError(reason(error)) from error
    if len(data) != last - first:
        raise EOFError(f"bytes {first}:{last} are wanted, {len(data)} came")
    for start, stop, key in run:
        yield key, data[start - first : stop - first]


def close_quietly(*things: Any) -> None:
    """Closes what can be closed, for use while an error is on its way."""
    for thing in things:
        with suppress(OSError, ValueError):
            thing.close()
