"""The process's heap between tiles."""

from __future__ import annotations

import ctypes
import functools
import mmap
import sys
from collections.abc import Callable
from pathlib import Path

_PAGE = mmap.PAGESIZE


class Heap:
    """The memory that a run may hold between its tiles before it goes back.

    To hand it back after every tile would cost as much as a small tile takes: the next one asks for the same again.

    Args:
        most_bytes: above what the process holds now.
    """

    def __init__(self, most_bytes: int) -> None:
        self.limit = held_bytes() + most_bytes

    def settle(self) -> None:
        """Hands free memory back if more than that is held, or nobody knows."""
        held = held_bytes()
        if not held or held > self.limit:
            give_back()


def held_bytes() -> int:
    """Memory that the process holds; 0 where the system does not say."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * _PAGE
    except OSError:
        return 0


def give_back() -> None:
    """Hands memory that is free but still held back to the system, where the C library can.

    glibc keeps what tensors below 32 MB leave behind, in pieces that tensors of other sizes do not fit into: over many
    tiles a process would come to hold several times what any of them needs.
    """
    _trimmer()(0)


@functools.cache
def _trimmer() -> Callable[[int], object]:
    """glibc's ``malloc_trim``; elsewhere nothing."""
    try:
        trim: Callable[[int], object] = ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError, TypeError):
        return lambda pad: None
    return trim


def peak_bytes() -> int:
    """Most memory that the process has held; 0 where the system does not say."""
    try:
        import resource
    except ImportError:
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
