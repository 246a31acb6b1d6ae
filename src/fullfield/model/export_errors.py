"""Explains why a module cannot be captured: it does not run on such windows, or ``torch.export`` cannot follow it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from fullfield.errors import CaptureError, first_line
from fullfield.model.module_check import unchanged
from fullfield.model.outputs import ScoreOutput
from fullfield.model.quiet import quiet

_OTHER_INPUT = {
    nn.Conv1d: "sequences (n, c, x)",
    nn.Conv3d: "volumes (n, c, z, y, x)",
}


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
        plural = "" if self.count == 1 else "s"
        return f"{self.count} channel{plural}" + (f" ({self.source})" if self.source else "")


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
    if other := _first_other_convolution(module.module):
        return CaptureError(name, other, fix="wrap it in a module that takes images (n, c, y, x)")
    height, width = example.shape[2:]
    return CaptureError(
        name,
        f"does not run on windows of {height}x{width} px with {channels}: {first_line(failed)}",
        fix="pass the window= and the channels= that the network was trained with",
    )


def _failure(module: nn.Module, example: torch.Tensor) -> Exception | None:
    """What the module raises when it is run."""
    try:
        with unchanged(module), torch.no_grad(), quiet():
            module(example)
    except Exception as error:  # noqa: BLE001  the module's own code may raise anything
        return error
    return None


def _first_other_convolution(module: nn.Module) -> str:
    """What the first convolution takes, if not images."""
    for path, part in module.named_modules():
        if isinstance(part, nn.Conv2d):
            return ""
        for kind, taken in _OTHER_INPUT.items():
            if isinstance(part, kind):
                return f"takes no images: its first convolution, {path}, is a {kind.__name__}, which takes {taken}"
    return ""
