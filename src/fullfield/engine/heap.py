"""The process's heap between tiles."""

from __future__ import annotations

import ctypes
import functools
import mmap
import os
import sys
from collections.abc import Callable

from fullfield.planning import Plan

_PAGE = mmap.PAGESIZE


class Heap:
    """The memory that a run may hold between its tiles before it goes back.

    To hand it back after every tile would cost as much as a small tile takes: the next one asks for the same again.
    What cannot be handed back is in use, by whomever, and counts no more.

    Args:
        plan: what is run. A quarter of the bytes that it predicts may be held free, and half of them more where the
            budget has room, so that a whole tile finds what the last one left.
        beside_bytes: what else the run is predicted to take.
    """

    def __init__(self, plan: Plan, beside_bytes: int = 0) -> None:
        peak, room = plan.cost.peak_bytes, max(0, plan.budget_bytes - plan.cost.peak_bytes)
        self.most = peak // 4 + min(peak, room) // 2
        self.limit = held_bytes() + beside_bytes + self.most

    def settle(self) -> None:
        """Hands free memory back if more than that is held, or nobody knows."""
        held = held_bytes()
        if not held or held > self.limit:
            give_back()
            self.limit = max(self.limit, held_bytes() + self.most)


def held_bytes() -> int:
    """Memory that the process holds; 0 where the system does not say."""
    try:
        statm = _statm(os.getpid())  # first: where there is none, there may be no pread either
        return int(os.pread(statm, 128, 0).split()[1]) * _PAGE
    except OSError:
        return 0


@functools.lru_cache(1)
def _statm(process: int) -> int:
    """The system's account of this process's memory, opened once: it is asked after every tile, beside busy threads.

    Raises:
        OSError: there is none.
    """
    return os.open(f"/proc/{process}/statm", os.O_RDONLY)


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
