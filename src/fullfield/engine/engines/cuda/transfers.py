"""Sends tiles to a device and fetches their scores, two at a time, so that copying and computing overlap."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fullfield.engine.engines.cuda.device import Device, Event

_SLOTS = 2  # tiles on their way: one is computed while another is sent or its scores are fetched
BUFFERED = 2 * _SLOTS  # tiles whose pixels are held, on the host and on the device
TileWork = Callable[[Tensor, Tensor], None]  # reads a tile's pixels (c, y, x), and writes its scores (y, x, k)


class Pending:
    """Scores on their way from a device. Calling it waits for them; any thread may, and more than once.

    Args:
        fetched: event after their copy.
        scores: ``(y, x, k)``, in memory of the host that the next tile uses again.
        work: which computes them; kept until they are there.
    """

    def __init__(self, fetched: Event, scores: Tensor, work: TileWork) -> None:
        self._lock = threading.Lock()
        self._waiting: tuple[Event, Tensor, TileWork] | None = (fetched, scores, work)
        self._scores: NDArray[np.floating] | None = None

    def __call__(self) -> NDArray[np.floating]:
        """The scores ``(k, y, x)``."""
        with self._lock:
            if self._waiting is not None:
                fetched, scores, _ = self._waiting
                fetched.wait()
                self._scores = np.array(scores.numpy()).transpose(2, 0, 1)
                self._waiting = None
            assert self._scores is not None
            return self._scores


class Transfers:
    """Runs tiles on a device, each in one of two slots in turn.

    A slot has memory for the pixels and scores of a tile, on the host and on the device. It is used again only when the
    scores of its last tile were fetched: then nothing reads or writes it any more, and no other order needs be kept.

    Args:
        device: to compute on.
    """

    def __init__(self, device: Device) -> None:
        self.device = device
        self._lock = threading.Lock()
        self._slots = [_Slot(device) for _ in range(_SLOTS)]

    def begin(
        self, pixels: NDArray[np.floating], shape: tuple[int, int, int], dtype: torch.dtype, work: TileWork
    ) -> Pending:
        """Sends a tile; returns before it is computed.

        Args:
            pixels: ``(c, y, x)``; they may be changed as soon as it returns.
            shape: of the scores, ``(y, x, k)``.
            dtype: of the scores.
            work: which computes them, on the computing stream.
        """
        with self._lock:
            slot = self._slots[0]
            slot.finish()
            self._slots = [*self._slots[1:], slot]
            try:
                return slot.begin(pixels, shape, dtype, work)
            except BaseException:
                self.device.synchronize()  # the slot's memory may be on its way
                raise


class _Slot:
    """Memory of one tile on its way."""

    def __init__(self, device: Device) -> None:
        self.device = device
        self.sent = _Buffer(device.host_memory)
        self.pixels = _Buffer(lambda count: device.memory(count, device.sending))
        self.scores = _Buffer(lambda count: device.memory(count, device.computing))
        self.fetched = _Buffer(device.host_memory)
        self.pending: Pending | None = None

    def finish(self) -> None:
        """Waits for the scores of the last tile, and takes them out of the slot's memory."""
        if self.pending is not None:
            self.pending()
            self.pending = None

    def begin(
        self, pixels: NDArray[np.floating], shape: tuple[int, int, int], dtype: torch.dtype, work: TileWork
    ) -> Pending:
        device, source = self.device, torch.from_numpy(pixels)
        sent, arrived = (b.view(pixels.shape, source.dtype) for b in (self.sent, self.pixels))
        computed, fetched = (b.view(shape, dtype) for b in (self.scores, self.fetched))
        sent.copy_(source)
        device.sending.run(lambda: _copy(arrived, sent))
        device.computing.catch_up()
        device.computing.wait_for(device.sending.record())
        device.computing.run(lambda: work(arrived, computed))
        device.fetching.wait_for(device.computing.record())
        device.fetching.run(lambda: _copy(fetched, computed))
        self.pending = Pending(device.fetching.record(), fetched, work)
        return self.pending


def _copy(target: Tensor, source: Tensor) -> None:
    target.copy_(source, non_blocking=True)


class _Buffer:
    """Memory that grows to the largest value which it held."""

    def __init__(self, allocate: Callable[[int], Tensor]) -> None:
        self.allocate = allocate
        self.memory: Tensor | None = None

    def view(self, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        """The first bytes as a tensor."""
        count = math.prod(shape) * dtype.itemsize
        if self.memory is None or self.memory.numel() < count:
            self.memory = None  # freed first: both need not fit
            self.memory = self.allocate(count)
        return self.memory[:count].view(dtype).view(shape)
