"""Caches the programs of tiles, for every network and every way to run it."""

from __future__ import annotations

import gc
import linecache
import threading
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from typing import Generic, TypeVar
from weakref import WeakKeyDictionary, WeakValueDictionary

from torch.fx import graph_module

from fullfield.canonical.form import Canonical
from fullfield.geometry.tile import TileLayout
from fullfield.planning.programs import CACHED_PROGRAMS

P = TypeVar("P")


class ProgramCache(Generic[P]):
    """The programs of one network that were used last; shared by all threads that scan with it."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.items: list[tuple[TileLayout, int, P]] = []
        self.layouts: WeakValueDictionary[Hashable, TileLayout] = WeakValueDictionary()  # of kinds of tiles, in use
        self.dropped = 0  # since Python's garbage was last collected

    def layout(self, kind: Hashable, make: Callable[[], TileLayout]) -> TileLayout:
        """The layout of a kind of tile; that of its program, if there is one: comparing an object with itself is fast.

        Args:
            kind: equal for tiles of equal layout.
            make: lays the first tile of a kind out.
        """
        with self.lock:
            found = self.layouts.get(kind)
            if found is None:
                new = make()
                found = next((known for known, _, _ in self.items if known == new), new)
                self.layouts[kind] = found
            return found

    def get(self, layout: TileLayout, batch: int, make: Callable[[], P], most: int = CACHED_PROGRAMS) -> P:
        """The program of a layout that runs ``batch`` windows at a time; made if there is none.

        Args:
            layout: of the tile.
            batch: windows at a time.
            make: makes the program, after others were dropped.
            most: programs to keep, this one included.
        """
        with self.lock:
            found = next(
                (k for k, (known, size, _) in enumerate(self.items) if known is layout and size == batch), None
            )
            if found is None:
                equal = (k for k, (known, size, _) in enumerate(self.items) if size == batch and known == layout)
                found = next(equal, None)
            if found is None:
                self._drop(len(self.items) + 1 - most, most)
            if found is None:
                with forgotten_sources():
                    self.items.append((layout, batch, make()))
            else:
                self.items.append(self.items.pop(found))
            return self.items[-1][2]

    def _drop(self, count: int, most: int) -> None:
        """Drops the programs that were not used for longest, and frees them once they are as many as ``most``.

        Their graphs refer to themselves: Python would find them once they make up a quarter of all objects.
        """
        if count <= 0:
            return
        del self.items[:count]
        self.dropped += count
        if self.dropped >= most:
            self.dropped = 0
            gc.collect()


@contextmanager
def forgotten_sources() -> Iterator[None]:
    """Forgets the source of the graphs that become modules meanwhile.

    torch keeps it for tracebacks as long as the process lives, which would grow with every program that is made again.
    """
    kept: dict[str, str] = getattr(getattr(graph_module, "_loader", None), "eval_cache", {})
    before = set(kept)
    try:
        yield
    finally:
        for name in set(kept) - before:  # copied in one step: other threads add to it
            kept.pop(name, None)
            linecache.cache.pop(name, None)


Shared = TypeVar("Shared")
CACHES: WeakKeyDictionary[Canonical, dict[Hashable, object]] = WeakKeyDictionary()  # freed with their networks


def of_network(net: Canonical, key: Hashable, kind: type[Shared]) -> Shared:
    """What all engines of one network and one ``key`` share: an object of ``kind``, made by the first of them."""
    found = CACHES.setdefault(net, {}).setdefault((kind, key), kind())
    assert isinstance(found, kind)
    return found
