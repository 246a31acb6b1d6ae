"""How fast this machine runs a network, or a convolution: what turns a plan's cost into seconds."""

from __future__ import annotations

import functools
import time

import torch

from fullfield.engine.engines.torch import use_threads
from fullfield.engine.protocols import Source
from fullfield.model.cuda_arithmetic import cuda_arithmetic
from fullfield.model.model import Model
from fullfield.planning import Plan
from fullfield.planning.choose import time_per_window

_ENOUGH_S = 0.1  # a run as long as this is timed well
_LARGEST = 64  # windows in one run, at most
_WORTH = 25  # times as long as a measurement a scan must be predicted to take
_SLOWEST = 1e9  # multiply-adds a second of a machine on which a scan may take so long, at least


def crop_seconds(net: Model, source: Source) -> float:
    """Seconds that one window of the image takes by itself, in batches large enough to be timed.

    Takes about a second, or three windows where these are slower.
    """
    pixels = torch.from_numpy(source.read(0, net.window[0], 0, net.window[1])).to(net.device, net.dtype)
    windows = pixels.unsqueeze(0)
    _timed(net, windows)  # the first run also sets torch up
    seconds = _timed(net, windows)
    while seconds < _ENOUGH_S and len(windows) < _LARGEST:
        windows = torch.cat([windows, windows])
        seconds = _timed(net, windows)
    return min(seconds, _timed(net, windows)) / len(windows)


def _timed(net: Model, windows: torch.Tensor) -> float:
    started = time.perf_counter()
    with torch.inference_mode(), cuda_arithmetic(net.device):
        net(windows).cpu()  # waits for devices that compute on their own
    return time.perf_counter() - started


@functools.cache
def macs_per_second(threads: int | None = None) -> float:
    """Multiply-adds a second of a large convolution in float32 on the CPU, the faster of two runs.

    Takes a tenth of a second, once in a process: for decisions that ``crop_seconds`` would take too long for.

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


def window_seconds(plan: Plan, threads: int | None) -> float:
    """Seconds that a window of a scan is predicted to take."""
    return time_per_window(plan) / macs_per_second(threads)


def is_worth_measuring(plan: Plan, windows: float, threads: int | None, measuring_s: float) -> bool:
    """Whether windows are predicted to take many times as long as a measurement that may make them faster.

    Args:
        plan: of the scan.
        windows: that are computed.
        threads: that compute.
        measuring_s: seconds that the measurement takes.
    """
    macs, enough_s = windows * time_per_window(plan), _WORTH * measuring_s
    return macs >= _SLOWEST * enough_s and macs >= macs_per_second(threads) * enough_s
