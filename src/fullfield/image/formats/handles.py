"""A pool of open files, each used by one thread at a time."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Generic, Protocol, TypeVar

from fullfield.errors import ImageError


class Closable(Protocol):
    """A library's handle of an open file."""

    def close(self) -> object:
        """Closes the file."""
        ...


Handle = TypeVar("Handle", bound=Closable)


class Handles(Generic[Handle]):
    """A pool of handles of one file; it opens as many as threads use at the same time.

    GDAL's and OpenSlide's handles may move between threads, but must not be used by two at once.

    Args:
        opened: opens another handle.
        name: the file, for the error after ``close``.
    """

    def __init__(self, opened: Callable[[], Handle], name: str) -> None:
        self._opened = opened
        self._name = name
        self._idle: list[Handle] = []
        self._lock = threading.Lock()
        self._closed = False

    @contextmanager
    def borrowed(self) -> Iterator[Handle]:
        """A handle for the caller alone until the block ends; after an error it is closed, not reused.

        Raises:
            ImageError: after ``close``.
        """
        with self._lock:
            if self._closed:
                raise ImageError(self._name, "is closed", fix="open it again")
            handle = self._idle.pop() if self._idle else None
        handle = self._opened() if handle is None else handle
        try:
            yield handle
        except BaseException:
            handle.close()
            raise
        with self._lock:
            if not self._closed:
                self._idle.append(handle)
                return
        handle.close()

    def close(self) -> None:
        """Closes all idle handles; the borrowed ones when they are returned."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
        for handle in idle:
            handle.close()
