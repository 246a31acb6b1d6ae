"""How many multiply-adds a second this machine's CPU computes."""

from __future__ import annotations

import functools
import time

import torch

from fullfield.engine.engines.torch import use_threads


@functools.cache
def macs_per_second(threads: int | None = None) -> float:
    """Multiply-adds a second of a large convolution in float32, the faster of two runs; takes a tenth of a second.

    Args:
        threads: that compute; as many as torch uses by default.
    """
    maps = torch.ones(4, 64, 58, 58).contiguous(memory_format=torch.channels_last)
    weight = torch.ones(64, 64, 3, 3).contiguous(memory_format=torch.channels_last)

    def seconds() -> float:
        started = time.perf_counter()
        torch.conv2d(maps, weight)
        return time.perf_counter() - started

    with torch.inference_mode(), use_threads(threads):
        seconds()  # the first run also sets torch up
        return 4 * 56 * 56 * weight.numel() / min(seconds(), seconds())
