"""Explains why a module cannot be captured: it does not run on such windows, or ``torch.export`` cannot follow it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from fullfield.errors import CaptureError, first_line
from fullfield.model.module_check import unchanged
from fullfield.model.outputs import ScoreOutput
from fullfield.model.quiet import quiet
from fullfield.model.signals import only_signals, takes_signals_first
from fullfield.text import number_of


@dataclass(frozen=True)
class Channels:
    """A number of input channels, and where it is from if it was not given.

    Examples:
        >>> print(Channels(3, "a guess"))
        3 channels (a guess)
    """

    count: int
    source: str = ""

    def __str__(self) -> str:
        return number_of(self.count, "channel") + (f" ({self.source})" if self.source else "")


def explain(module: ScoreOutput, example: torch.Tensor, channels: Channels, error: Exception) -> CaptureError:
    """The error for a module whose export failed; it is run to see whether it runs at all.

    Args:
        module: in evaluation mode.
        example: two windows that were to be exported.
        channels: of these.
        error: what the export raised.
    """
    name = type(module.module).__name__
    failed = _failure(module, example)
    if isinstance(failed, CaptureError):
        return failed
    if failed is None:
        return CaptureError(
            name,
            f"cannot be exported: {first_line(error)}",
            fix="remove Python control flow that depends on the data or the batch, or export to ONNX and load that",
        )
    if volumes := _convolution_of_volumes(module.module):
        what = f"takes volumes (n, c, z, y, x): its first convolution, {volumes}, is a Conv3d"
        return CaptureError(
            name, what, fix="fullfield scans images and signals; scan planes, in a module that takes them"
        )
    height, width = example.shape[2:]
    if height != 1 and only_signals(module.module):
        what = f"takes signals, and the window is {height}x{width} px"
        return CaptureError(name, what, fix=f"give its samples: window={width}, or --window {width}")
    return CaptureError(
        name,
        f"does not run on {_windows(module.module, height, width)} with {channels}: {first_line(failed)}",
        fix="pass the window= and the channels= that the network was trained with",
    )


def _windows(module: nn.Module, height: int, width: int) -> str:
    """The windows that were tried, in words."""
    signals = height == 1 and takes_signals_first(module)
    return f"signals of {width} samples" if signals else f"windows of {height}x{width} px"


def _failure(module: nn.Module, example: torch.Tensor) -> Exception | None:
    """What the module raises when it is run."""
    try:
        with unchanged(module), torch.no_grad(), quiet():
            module(example)
    except Exception as error:  # noqa: BLE001  the module's own code may raise anything
        return error
    return None


def _convolution_of_volumes(module: nn.Module) -> str:
    """The name of the first convolution, if that takes volumes."""
    for path, part in module.named_modules():
        if isinstance(part, (nn.Conv1d, nn.Conv2d)):
            return ""
        if isinstance(part, nn.Conv3d):
            return path or "itself"
    return ""
