"""Reads over a network: repeats what may succeed later, says that it waits, and gives up after a stated time."""

from __future__ import annotations

import asyncio
import io
import logging
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any, TypeVar

from fullfield.errors import ImageError, first_line

WAITS_S = (0.5, 1.0, 2.0)
"""Waits before a read is repeated, seconds; after the last one its error is raised."""
SILENT_S = 10.0
"""Seconds without an answer after which the user is told that a server stalls."""
STALLED_S = 60
"""Seconds without a byte until a read is given up."""
CONNECT_S = 30
_BLOCK = 2**18  # bytes of a block that a file object fetches and caches
_BLOCKS = 32
_PASSING = frozenset({408, 425, 429, 500, 502, 503, 504})  # answers of HTTP that another try may change
_LOG = logging.getLogger("fullfield.image")

Result = TypeVar("Result")


def retried(read: Callable[[], Result], where: str) -> Result:
    """What ``read`` returns; errors that may pass are waited for, each time longer.

    Raises:
        Exception: of ``read``: the last one, or one that another try would not change.
    """
    for wait in WAITS_S:
        try:
            with noticed(where):
                return read()
        except Exception as error:
            if not passes(error):
                raise
            _tell_retry(where, error, wait)
            time.sleep(wait)
    with noticed(where):
        return read()


async def retried_async(read: Callable[[], Awaitable[Result]], where: str) -> Result:
    """As ``retried``, for a coroutine."""
    for wait in WAITS_S:
        try:
            with noticed(where):
                return await read()
        except Exception as error:
            if not passes(error):
                raise
            _tell_retry(where, error, wait)
            await asyncio.sleep(wait)
    with noticed(where):
        return await read()


def passes(error: BaseException) -> bool:
    """Whether another try may succeed: the connection broke, or the server is overloaded. A stall was waited for."""
    error = cause_of(error)
    if isinstance(error, (ImageError, FileNotFoundError, PermissionError, TimeoutError, asyncio.TimeoutError)):
        return False
    status = getattr(error, "status", None)
    if isinstance(status, int) and status:
        return status in _PASSING
    return isinstance(error, (OSError, EOFError)) or type(error).__module__.startswith("aiohttp")


def cause_of(error: BaseException) -> BaseException:
    """The error itself, or what is behind fsspec's FileNotFoundError, which it raises for any answer of a server."""
    return error.__cause__ if isinstance(error, FileNotFoundError) and error.__cause__ is not None else error


def _tell_retry(where: str, error: BaseException, wait: float) -> None:
    _LOG.warning("%s: %s; tried again in %g s", where, first_line(cause_of(error)), wait)


@contextmanager
def noticed(where: str) -> Iterator[None]:
    """Tells the user if the block takes long, before it is given up."""
    text = f"{where}: no answer for {SILENT_S:g} s; given up after {STALLED_S} s without a byte"
    timer = threading.Timer(SILENT_S, _LOG.warning, ("%s", text))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def storage_options(url: str) -> dict[str, Any]:
    """Options of fsspec for a URL: over HTTP a stall ends after ``STALLED_S``, and a long download does not."""
    if not url.startswith("http"):
        return {}
    try:
        from aiohttp import ClientTimeout  # type: ignore[import-not-found,unused-ignore]
    except ModuleNotFoundError:  # fsspec says what is missing
        return {}
    return {"client_kwargs": {"timeout": ClientTimeout(total=None, sock_connect=CONNECT_S, sock_read=STALLED_S)}}


def network_error(error: BaseException) -> OSError:
    """The error of a network library as one of the system, which all readers expect."""
    if isinstance(error, OSError) and not isinstance(error, TimeoutError):
        return error
    if isinstance(error, (TimeoutError, asyncio.TimeoutError)):
        return OSError(f"the server sent nothing for {STALLED_S} s")
    return OSError(first_line(error))


class RangeFile(io.RawIOBase):
    """A file object over ranges: blocks are fetched when they are needed, and the last ones are kept.

    Args:
        read: returns the bytes of a half-open range.
        size: of the file, bytes.
    """

    def __init__(self, read: Callable[[int, int], bytes], size: int) -> None:
        super().__init__()
        self._size, self._at = size, 0
        self._block = lru_cache(_BLOCKS)(lambda i: read(i * _BLOCK, min(size, (i + 1) * _BLOCK)))

    def readable(self) -> bool:
        """Always."""
        return True

    def seekable(self) -> bool:
        """Always."""
        return True

    def tell(self) -> int:
        """The position, bytes."""
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Moves to a position, and returns it."""
        self._at = max(0, offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence])
        return self._at

    def readinto(self, buffer: Any) -> int:
        """Fills a buffer as far as the file goes; the number of bytes."""
        view, done = memoryview(buffer).cast("B"), 0
        while done < len(view) and self._at < self._size:
            index, inside = divmod(self._at, _BLOCK)
            part = self._block(index)[inside : inside + len(view) - done]
            if not part:
                break
            view[done : done + len(part)] = part
            done, self._at = done + len(part), self._at + len(part)
        return done
