"""The form in memory of the pixels that a network's programs read."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fullfield.engine.aligned import ALIGNED


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
