"""How fast this machine runs a network, measured on one of its windows: what turns a plan's cost into seconds."""

from __future__ import annotations

import time

import torch

from fullfield.engine.protocols import Source
from fullfield.model.cuda_arithmetic import cuda_arithmetic
from fullfield.model.model import Model

_ENOUGH_S = 0.1  # a run as long as this is timed well
_LARGEST = 64  # windows in one run, at most


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
