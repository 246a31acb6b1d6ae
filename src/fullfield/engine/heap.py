"""The process's heap between tiles."""

from __future__ import annotations

import ctypes
import functools
import sys
from collections.abc import Callable


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
