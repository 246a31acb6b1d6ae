"""Caches which pixels of a region are shown, for the ``valid`` that follows a ``read``; threads share it."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any

import numpy as np
from numpy.typing import NDArray

_MOST_BYTES = 16 << 20
_ENTRY_BYTES = 256  # of a region besides its bits


class MaskCache:
    """The masks of the regions read last, a bit a pixel; at most ``most_bytes``."""

    def __init__(self, most_bytes: int = _MOST_BYTES) -> None:
        self.most_bytes = most_bytes
        self._masks: OrderedDict[Hashable, NDArray[np.uint8] | None] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    def put(self, region: Hashable, alpha: NDArray[Any] | None) -> None:
        """Caches the opacity ``(y, x)`` of a region, of which only 0 counts; ``None`` if all pixels are shown."""
        packed = None if alpha is None or alpha.all() else np.packbits(alpha != 0)
        with self._lock:
            if region in self._masks:
                self._bytes -= _size(self._masks.pop(region))
            self._masks[region] = packed
            self._bytes += _size(packed)
            while self._bytes > self.most_bytes:
                self._bytes -= _size(self._masks.popitem(last=False)[1])

    def fetch(
        self, region: Hashable, shape: tuple[int, int], load: Callable[[], NDArray[Any] | None]
    ) -> NDArray[np.bool_] | None:
        """Which pixels ``(y, x)`` of a region are shown; ``None`` if all are.

        Args:
            region: as in ``put``.
            shape: height and width, px.
            load: returns the opacity of a region that is not cached, as ``put`` takes it.
        """
        with self._lock:
            cached, packed = region in self._masks, self._masks.get(region)
        if cached:
            return None if packed is None else np.unpackbits(packed, count=shape[0] * shape[1]).reshape(shape) != 0
        alpha = load()
        self.put(region, alpha)
        return None if alpha is None or alpha.all() else np.asarray(alpha != 0)


def _size(packed: NDArray[np.uint8] | None) -> int:
    return _ENTRY_BYTES + (0 if packed is None else packed.nbytes)
