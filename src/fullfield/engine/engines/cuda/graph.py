"""Runs one kind of tile on a device: launched operator by operator at first, as one graph from the second tile on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fullfield.engine.aligned import ALIGNED
from fullfield.engine.engines.cuda.device import Device, Replay
from fullfield.errors import first_line

TileModule = Callable[[Tensor], Tensor]  # pixels (1, c, y, x) -> scores (y, x, k)


@dataclass(frozen=True)
class InputForm:
    """What a network's programs read.

    Args:
        dtype: of the pixels.
        channels_last: whether the channels of a pixel lie side by side in memory.
    """

    dtype: torch.dtype
    channels_last: bool

    @property
    def memory_format(self) -> torch.memory_format:
        """The order of the pixels in memory."""
        return torch.channels_last if self.channels_last else torch.contiguous_format

    def empty(self, shape: tuple[int, ...], place: torch.device) -> Tensor:
        """Memory for pixels ``(c, y, x)``. Shape: ``(1, c, y, x)``"""
        return torch.empty((1, *shape), dtype=self.dtype, device=place, memory_format=self.memory_format)

    def tensor(self, pixels: NDArray[np.floating], place: torch.device) -> Tensor:
        """Pixels ``(c, y, x)`` in memory aligned for vector instructions, as NumPy's may not be: theirs if it is."""
        found = torch.from_numpy(pixels).unsqueeze(0)
        as_read = found.is_contiguous(memory_format=self.memory_format) and not found.data_ptr() % ALIGNED
        if as_read and found.dtype == self.dtype and place.type == "cpu":
            return found
        return self.empty(pixels.shape, place).copy_(found)


@dataclass(frozen=True)
class _Captured:
    """A graph, and the tensors that it reads and writes whenever it runs."""

    replay: Replay
    pixels: Tensor
    scores: Tensor


class TileGraph:
    """Runs the program of one kind of tile.

    A graph is launched at once, where operators are launched one by one: small ones take less time than their launch.
    The first tile is run without: libraries prepare for its sizes then, and a kind of tile that comes once needs no
    graph. Where none can be recorded, or memory is short, operators are launched one by one for good.

    Args:
        device: to run on.
        form: of the program's input.

    Attributes:
        refused: why there is no graph; empty if there is one, or none was tried.
    """

    def __init__(self, device: Device, form: InputForm) -> None:
        self.device, self.form = device, form
        self.refused = ""
        self._captured: _Captured | None = None
        self._warm = False

    @property
    def is_captured(self) -> bool:
        """Whether there is a graph."""
        return self._captured is not None

    def run(self, module: TileModule, needed_bytes: int, pixels: Tensor, scores: Tensor) -> None:
        """Computes scores ``(y, x, k)`` of pixels ``(c, y, x)``; called as work of the computing stream.

        Args:
            module: the program, the same every time.
            needed_bytes: that it takes, about.
            pixels: on the device.
            scores: on the device, to write to.
        """
        if self._captured is None and self._warm and not self.refused:
            self._capture(module, needed_bytes, pixels.shape)
        if self._captured is not None:
            self._captured.pixels.copy_(pixels.unsqueeze(0))
            self._captured.replay()
            scores.copy_(self._captured.scores)
            return
        with self.device.in_pool():
            own = self.form.empty(pixels.shape, self.device.place)
            scores.copy_(module(own.copy_(pixels.unsqueeze(0))))
        self._warm = True

    def _capture(self, module: TileModule, needed_bytes: int, shape: tuple[int, ...]) -> None:
        free = self.device.free_bytes()
        if free < needed_bytes:
            self.refused = f"memory is short: {needed_bytes / 1e6:.0f} MB are needed, {free / 1e6:.0f} MB are free"
            return
        try:
            with self.device.in_pool():
                own = self.form.empty(shape, self.device.place)
            replay, result = self.device.capture(lambda: module(own))
        except RuntimeError as error:  # of torch and CUDA, out of memory among them
            self.refused = first_line(error)
        else:
            self._captured = _Captured(replay, own, result)
