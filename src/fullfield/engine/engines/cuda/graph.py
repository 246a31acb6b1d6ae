"""Runs one kind of tile on a device: launched operator by operator at first, as one graph from the second tile on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from fullfield.engine.engines.cuda.device import Device, Replay
from fullfield.engine.engines.input_form import InputForm
from fullfield.errors import first_line

TileModule = Callable[[Tensor], Tensor]  # pixels (1, c, y, x) -> scores (y, x, k)


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
