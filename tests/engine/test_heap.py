"""Memory handed back between tiles."""

from __future__ import annotations

import ctypes
import sys
from typing import Any

import numpy as np
import pytest

from fullfield.engine import heap
from tests.engine.peak import resident


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_free_memory_goes_back_to_the_system() -> None:
    if not hasattr(ctypes.CDLL(None), "malloc_trim"):
        pytest.skip("not glibc")
    blocks = [np.ones(8000) for _ in range(4000)]  # 64 kB each: small enough to come from the heap
    held = blocks[::2]
    last = blocks[-1]
    full = resident()
    del blocks
    heap.give_back()
    assert full - resident() > 0.4 * 4000 * 64000
    assert held[0].sum() + last.sum() == 16000


@pytest.mark.parametrize("error", [AttributeError, OSError, TypeError])
def test_elsewhere_nothing_happens(error: type[Exception], monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: object) -> Any:
        raise error

    heap._trimmer.cache_clear()
    monkeypatch.setattr(heap.ctypes, "CDLL", missing)
    heap.give_back()
    heap._trimmer.cache_clear()
