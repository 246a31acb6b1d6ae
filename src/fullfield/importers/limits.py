"""Limits on the memory and arithmetic of foreign model files, checked before anything is allocated."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from fullfield.errors import CaptureError

FILE_BYTES = 4 * 2**30
"""The most bytes of a file, and of all weights of a network together."""
MAP_BYTES = 2**30
"""The most bytes of one value inside a network, for one window."""
PRODUCTS = 2**43
"""The most multiply-adds for one window: a thousand times those of the largest classifiers."""
PROBE_BATCH = 2


class LayerRefused(Exception):
    """The reason why a layer cannot be read; the importer adds file and layer.

    Args:
        fix: what to do about it, where that is known better than for layers in general.
    """

    def __init__(self, what: str, *, fix: str = "") -> None:
        super().__init__(what)
        self.fix = fix


def broken(path: Path, what: str) -> CaptureError:
    """The error for a damaged file."""
    return CaptureError(str(path), what, fix="export or download the file again")


def read_bytes(path: Path, *, cap_bytes: int = FILE_BYTES) -> bytes:
    """The file's content.

    Raises:
        CaptureError: it cannot be read, is not a regular file, or is larger than allowed.
    """
    try:
        check_size(path, cap_bytes=cap_bytes)
        return path.read_bytes()
    except OSError as error:
        raise CaptureError(str(path), f"cannot be read ({error.strerror})", fix="check the path") from error


def check_size(path: Path, *, cap_bytes: int = FILE_BYTES) -> None:
    """Refuses what cannot be read whole.

    Raises:
        CaptureError: it is not a regular file, or larger than allowed.
    """
    size = path.stat().st_size
    if not path.is_file():  # reading a pipe or /dev/zero would never end
        raise CaptureError(str(path), "is not a regular file", fix="copy its content to a file first")
    if size > cap_bytes:
        raise CaptureError(str(path), f"has {size} bytes, more than the {cap_bytes} allowed", fix="is it the file?")


def check_elements(shape: Sequence[int], *, cap_bytes: int = FILE_BYTES) -> int:
    """The number of elements of a shape.

    Raises:
        LayerRefused: a size is negative, or the tensor would take more than ``cap_bytes`` as float32.
    """
    count = math.prod(shape)
    if any(size < 0 for size in shape) or count * 4 > cap_bytes:
        raise LayerRefused(f"a tensor of {tuple(shape)} is more than the {cap_bytes} bytes allowed")
    return count


class _Cost(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Refuses values and products beyond the limits while a network runs on tensors without data."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.products = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for value in result if isinstance(result, (tuple, list)) else (result,):
            if isinstance(value, torch.Tensor):
                check_elements(value.shape, cap_bytes=PROBE_BATCH * MAP_BYTES)
        self.products += _products(args, result)
        if self.products > PROBE_BATCH * PRODUCTS:
            raise LayerRefused(f"a window costs more than the {PRODUCTS:,} multiply-adds allowed")
        return result


def _products(args: Any, result: Any) -> int:
    """An upper bound of the multiply-adds: elements of the result times the elements that each can read."""
    if not isinstance(result, torch.Tensor):
        return 0
    tensors = [a for a in args if isinstance(a, torch.Tensor)]
    weights = [t for t in tensors[1:] if t.dim() > 1]
    kernels = [math.prod(a) for a in args if isinstance(a, (list, tuple)) and a and all(type(n) is int for n in a)]
    each = max(1, *(t.numel() // max(1, max(t.shape[:2])) for t in weights), *kernels[:1], 1)
    return result.numel() * each


class DryRun:
    """Runs layers on tensors without data, to learn output shapes and refuse what exceeds the limits."""

    def __init__(self) -> None:
        self._mode, self._cost = FakeTensorMode(allow_non_fake_inputs=True), _Cost()

    def value(self, shape: Sequence[int], dtype: torch.dtype = torch.float32) -> torch.Tensor:
        """A tensor without data of ``PROBE_BATCH`` windows, each of this shape."""
        check_elements(shape, cap_bytes=MAP_BYTES)
        with self._mode:
            return torch.empty(PROBE_BATCH, *shape, dtype=dtype)

    def __call__(self, module: nn.Module, *values: torch.Tensor) -> Any:
        """The module's output in evaluation mode, without data.

        Raises:
            LayerRefused: it exceeds the limits.
        """
        with self._mode, self._cost, torch.no_grad():
            return module.eval()(*values)
