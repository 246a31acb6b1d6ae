"""Hands free memory back to the system with malloc_trim when a process holds too much of it between tiles."""

from __future__ import annotations

import ctypes
import functools
import mmap
import os
import sys
from collections.abc import Callable
from contextvars import ContextVar
from typing import Self

from fullfield.planning import Plan
from fullfield.planning.constants import CONSTANTS

_PAGE = mmap.PAGESIZE
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _MMAP_MAX = -1, -3, -4  # of mallopt, by malloc.h
_MMAP_MAX_DEFAULT = 65536  # by malloc.c
_MOST_OPTION = 2**31 - 1
_WITHIN_TILE = 3 / 4  # of the predicted bytes that a process may hold between batches: the next one takes some more


class Heap:
    """Limits the free memory that a scan's process holds between tiles.

    Trimming after every tile would take as long as a small tile: the next tile allocates the same memory again.
    What malloc_trim cannot release is in use, and raises the limit. Within a tile glibc keeps as much: by itself it
    returns all beyond 64 MB whenever a value is freed, and the next value of that size gets fresh pages, which takes
    longer than to write it.

    Values of 32 MB and more get pages of their own from the system, in every tile anew. While it is entered, and if
    the plan has room for it, they come from the heap, too: some virtual machines hand pages that lie free back to their
    host, and take ten times as long to get them again as to write them: 4 of 62 ms of CPU a window in exact scans of
    ResNet-50 in torch, and 0.1 from the heap. Not all values fit into the pieces that freed ones leave: its process
    came to hold 110 MB more, and with half as many channels at a step of 8 px 560 MB more.

    ``trim_excess_within_tile`` limits what a tile's own batches of windows leave: glibc gives each aligned value a
    piece that later ones do not fit into, and ONNX Runtime allocates all its values so. Over 60 batches of
    EfficientNet-B0 its process came to hold 300 MB where 100 were in use.

    Args:
        plan: of the scan. A quarter of its predicted peak may be held free, and up to half of the peak more if the
            budget has room, so that a whole tile finds the memory of the last one. Within a tile the process may hold
            most of what is predicted.
    """

    def __init__(self, plan: Plan) -> None:
        self.keeps_large = plan.memory.kept_bytes > 0
        peak = plan.memory.tile_bytes
        self.most = peak // 4 + min(peak, plan.spare_bytes) // 2
        start = held_bytes()
        self.limit = start + plan.memory.overhead_bytes + self.most
        self.limit_within_tile = start + int(_WITHIN_TILE * plan.memory.total_bytes)
        keep_free(self.most)

    def __enter__(self) -> Self:
        if self.keeps_large:
            keep_large_values(True)
        self._before = _entered.set(self)
        return self

    def __exit__(self, *_: object) -> None:
        _entered.reset(self._before)
        if self.keeps_large:
            keep_large_values(False)

    def trim_excess(self) -> None:
        """Trims if the process holds more than the limit, or if its resident memory is unknown."""
        self.limit = self._trimmed(self.limit)

    def trim_excess_within_tile(self) -> None:
        """The same with the limit within a tile."""
        self.limit_within_tile = self._trimmed(self.limit_within_tile)

    def _trimmed(self, limit: int) -> int:
        """Trims if the process holds more than a limit, or if its resident memory is unknown; the next limit."""
        held = held_bytes()
        if held and held <= limit:
            return limit
        trim()
        return max(limit, held_bytes() + self.most)


_entered: ContextVar[Heap | None] = ContextVar("_entered", default=None)


def trim_excess_within_tile() -> None:
    """Trims if the scan whose tile is computed in this thread holds too much; to be called between batches."""
    heap = _entered.get()
    if heap is not None:
        heap.trim_excess_within_tile()


def held_bytes() -> int:
    """Resident memory of the process; 0 if the system does not report it."""
    try:
        statm = _statm(os.getpid())  # first: systems without /proc may lack os.pread too
        return int(os.pread(statm, 128, 0).split()[1]) * _PAGE
    except OSError:
        return 0


@functools.lru_cache(1)
def _statm(process: int) -> int:
    """A file descriptor of the process's ``statm``; opened once, because it is read after every tile.

    Raises:
        OSError: the system has no such file.
    """
    return os.open(f"/proc/{process}/statm", os.O_RDONLY)


def trim() -> None:
    """Returns free memory to the system with malloc_trim; does nothing if the C library has none.

    glibc keeps the memory of freed tensors below 32 MB in pieces that tensors of other sizes do not fit into: over many
    tiles a process would come to hold several times what any tile needs.
    """
    _of_c_library("malloc_trim")(0)


def keep_free(most: int) -> None:
    """Lets glibc's heap hold so many free bytes at its end; values of 32 MB and more get pages of their own.

    Does nothing if the C library has no ``mallopt``.
    """
    set_option = _of_c_library("mallopt")
    set_option(_MMAP_THRESHOLD, CONSTANTS.heap_bytes)
    set_option(_TRIM_THRESHOLD, min(max(most, 2 * CONSTANTS.heap_bytes), _MOST_OPTION))


def keep_large_values(kept: bool) -> None:
    """Lets glibc take values of 32 MB and more from its heap, where their memory stays when they are freed, or not.

    Does nothing if the C library has no ``mallopt``.
    """
    _of_c_library("mallopt")(_MMAP_MAX, 0 if kept else _MMAP_MAX_DEFAULT)


@functools.cache
def _of_c_library(name: str) -> Callable[..., object]:
    """A function of the C library; one that does nothing if it has none of this name."""
    try:
        found: Callable[..., object] = getattr(ctypes.CDLL(None), name)
    except (AttributeError, OSError, TypeError):
        return lambda *arguments: None
    return found


def peak_bytes() -> int:
    """Greatest resident memory of the process so far; 0 if the system does not report it."""
    try:
        import resource
    except ImportError:
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
