"""Open files that one thread at a time may use."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Generic, Protocol, TypeVar

from fullfield.errors import ImageError


class Closable(Protocol):
    """What a library gives for an open file."""

    def close(self) -> object:
        """Gives the file back."""
        ...


Handle = TypeVar("Handle", bound=Closable)


class Handles(Generic[Handle]):
    """Lends open files, each to one borrower at a time; there are never more than there were borrowers at once.

    GDAL's and OpenSlide's handles may move between threads but not serve two together.

    Args:
        opened: opens the file once more.
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
        """A handle that is the caller's until the block ends; one that failed is closed, not lent again.

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
        """Closes all that are not lent; those that are, when they come back."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
        for handle in idle:
            handle.close()
