"""Memory handed back between tiles."""

from __future__ import annotations

import ctypes
import sys
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from fullfield.engine import heap
from tests.engine.peak import resident


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_free_memory_is_released_to_the_system() -> None:
    if not hasattr(ctypes.CDLL(None), "malloc_trim"):
        pytest.skip("not glibc")
    blocks = [np.ones(8000) for _ in range(4000)]  # 64 kB each: small enough to come from the heap
    held = blocks[::2]
    last = blocks[-1]
    full = resident()
    del blocks
    heap.trim()
    assert full - resident() > 0.4 * 4000 * 64000
    assert held[0].sum() + last.sum() == 16000


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_values_that_are_freed_within_a_tile_leave_their_pages_to_the_next_ones() -> None:
    if not hasattr(ctypes.CDLL(None), "mallopt"):
        pytest.skip("not glibc")

    def returned() -> int:
        values = [np.ones(2_500_000) for _ in range(10)]  # 20 MB each: small enough to come from the heap
        full = resident()
        del values
        return full - resident()

    heap.keep_free(0)
    assert returned() > 100e6  # all beyond 64 MB
    heap.keep_free(2**30)
    assert returned() < 20e6
    heap.keep_free(0)
    heap.trim()


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("kept", [0, 10**8])
def test_a_scan_whose_plan_has_room_keeps_the_pages_of_large_values(kept: int) -> None:
    if not hasattr(ctypes.CDLL(None), "mallopt"):
        pytest.skip("not glibc")

    def returned() -> int:
        heap.trim()
        value = np.ones(6_000_000)  # 48 MB: enough to get pages of its own
        full = resident()
        del value
        return full - resident()

    with heap.Heap(plan_of(10**9, 10**9, kept=kept)):
        assert (returned() < 5e6) == (kept > 0)
    assert returned() > 40e6
    heap.keep_free(0)
    heap.trim()


class Held:
    """A process's memory: what is in use, and what is held free until it is handed back."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, used: int) -> None:
        self.used, self.free, self.times = used, 0, 0
        monkeypatch.setattr(heap, "held_bytes", lambda: self.used + self.free)
        monkeypatch.setattr(heap, "trim", self.back)

    def back(self) -> None:
        self.free, self.times = 0, self.times + 1


def plan_of(peak: int, budget: int, beside: int = 0, kept: int = 0) -> Any:
    memory = SimpleNamespace(tile_bytes=peak, overhead_bytes=beside, total_bytes=peak + beside, kept_bytes=kept)
    return SimpleNamespace(memory=memory, spare_bytes=budget - peak)


def test_free_memory_beyond_a_quarter_of_the_peak_is_released(monkeypatch: pytest.MonkeyPatch) -> None:
    held = Held(monkeypatch, 1000)
    tight = heap.Heap(plan_of(100, 100))
    held.free = 25
    tight.trim_excess()
    assert held.times == 0
    held.free = 26
    tight.trim_excess()
    assert (held.times, held.free) == (1, 0)


def test_with_room_in_the_budget_the_memory_of_a_tile_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    held = Held(monkeypatch, 1000)
    for budget, allowed in ((100, 25), (150, 50), (200, 75), (10**6, 75)):
        roomy = heap.Heap(plan_of(100, budget, beside=7))
        held.free, held.times = allowed + 7, 0
        roomy.trim_excess()
        assert held.times == 0
        held.free += 1
        roomy.trim_excess()
        assert held.times == 1


def test_memory_that_cannot_be_released_raises_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    held = Held(monkeypatch, 1000)
    settled = heap.Heap(plan_of(100, 100))
    held.used += 500  # a cache that grows
    for _ in range(9):
        held.free = 25
        settled.trim_excess()
    assert held.times == 1


def test_within_a_tile_most_of_what_is_predicted_may_be_held(monkeypatch: pytest.MonkeyPatch) -> None:
    held = Held(monkeypatch, 1000)
    held.free = 500
    heap.trim_excess_within_tile()  # of no scan
    assert held.times == 0
    held.free = 0
    with heap.Heap(plan_of(1600, 1600)):
        held.used += 600
        for held.free in (600, 601):
            heap.trim_excess_within_tile()
        assert (held.times, held.free) == (1, 0)
        held.used += 1000  # what is in use does not come back: the limit rises
        heap.trim_excess_within_tile()
        heap.trim_excess_within_tile()
        assert held.times == 2
    held.free = 10**6
    heap.trim_excess_within_tile()
    assert held.times == 2


def test_where_the_held_memory_is_unknown_all_free_memory_is_released(monkeypatch: pytest.MonkeyPatch) -> None:
    held = Held(monkeypatch, 0)
    unknown = heap.Heap(plan_of(100, 1000))
    unknown.trim_excess()
    unknown.trim_excess()
    assert held.times == 2


@pytest.mark.parametrize("error", [AttributeError, OSError, TypeError])
def test_other_c_libraries_release_and_keep_nothing(error: type[Exception], monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: object) -> Any:
        raise error

    heap._of_c_library.cache_clear()
    monkeypatch.setattr(heap.ctypes, "CDLL", missing)
    heap.trim()
    heap.keep_free(1)
    heap._of_c_library.cache_clear()


def test_without_proc_the_held_memory_is_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(path: str, flags: int) -> int:
        raise FileNotFoundError(path)

    heap._statm.cache_clear()
    monkeypatch.setattr(heap.os, "open", missing)
    monkeypatch.delattr(heap.os, "pread", raising=False)  # as on Windows
    assert heap.held_bytes() == 0
