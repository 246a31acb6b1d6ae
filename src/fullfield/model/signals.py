"""Feeds images of height one to modules that take signals: ``(n, c, t)``, ``(n, t, c)`` or ``(n, t)``."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from fullfield.model.module_check import unchanged
from fullfield.model.outputs import tensors_of
from fullfield.model.quiet import quiet

SignalAxes = Literal["nct", "ntc", "nt"]
"""The order of windows, channels and samples in what a module takes."""

_TRIED = 3  # windows; unlike the two of an export, so that no size is theirs by chance
_OF_SIGNALS = (nn.Conv1d, nn.RNNBase)
_OF_IMAGES = (nn.Conv2d, nn.Conv3d)


def takes_signals_first(module: nn.Module) -> bool:
    """Whether a module's first convolution, or recurrent layer, is one of signals."""
    layers = (part for part in module.modules() if isinstance(part, _OF_SIGNALS + _OF_IMAGES))
    return isinstance(next(layers, None), _OF_SIGNALS)


def only_signals(module: nn.Module) -> bool:
    """Whether a module has convolutions, or recurrent layers, and all of them are of signals."""
    return takes_signals_first(module) and not any(isinstance(part, _OF_IMAGES) for part in module.modules())


def signal_channels(module: nn.Module) -> int:
    """Channels that the first layer of signals reads, or that the module says it takes; else one."""
    stated = getattr(module, "n_chans", None)  # of braindecode
    if isinstance(stated, int):
        return stated
    for part in module.modules():
        if isinstance(part, nn.Conv1d):
            return part.in_channels
        if isinstance(part, nn.RNNBase):
            return part.input_size
    return 1


def signal_axes(module: nn.Module, example: Tensor) -> SignalAxes | None:
    """The order of axes in which a module takes a signal; ``None`` if it takes none.

    It is run on a few windows; it is not changed. One that runs on none, but has layers of signals only, takes
    ``(n, c, t)`` of another size.

    Args:
        example: windows ``(n, c, 1, t)`` of its type and on its device.
    """
    if example.device.type == "meta":
        return "nct" if takes_signals_first(module) else None
    with unchanged(module), quiet():
        module.eval()
        found = running_axes(module, example)
    return found or ("nct" if only_signals(module) else None)


def running_axes(module: nn.Module, example: Tensor) -> SignalAxes | None:
    """The first order of axes in which a module runs on a few signals and returns something for each.

    Args:
        example: windows ``(n, c, 1, t)`` of its type and on its device.
    """
    windows = example[:1].expand(_TRIED, -1, -1, -1)
    for axes in get_args(SignalAxes):
        if axes == "nt" and example.shape[1] != 1:
            continue
        with contextlib.suppress(Exception), torch.no_grad():  # the module's own code may raise anything
            found = tensors_of(module(as_signal(windows, axes))).values()
            if any(tensor.dim() and tensor.shape[0] == _TRIED for tensor in found):
                order: SignalAxes = axes
                return order
    return None


def as_signal(windows: Tensor, axes: SignalAxes) -> Tensor:
    """Windows ``(n, c, 1, t)`` in the order of axes of a signal.

    Examples:
        >>> as_signal(torch.zeros(2, 3, 1, 8), "ntc").shape
        torch.Size([2, 8, 3])
    """
    signal = windows.squeeze(2)
    if axes == "nt":
        return signal.squeeze(1)
    return signal.transpose(1, 2) if axes == "ntc" else signal


@contextlib.contextmanager
def fed_with_images(module: nn.Module, axes: SignalAxes | None) -> Iterator[None]:
    """Lets a module that takes signals take images of height one; with ``None`` it stays as it is."""
    if axes is None:
        yield
        return

    def convert(_: nn.Module, given: tuple[Any, ...]) -> tuple[Any, ...]:
        first, *others = given
        return as_signal(first, axes), *others

    hook = module.register_forward_pre_hook(convert)
    try:
        yield
    finally:
        hook.remove()
