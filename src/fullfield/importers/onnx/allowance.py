"""What the nodes of an ONNX file may make, relative to its bytes: checked before anything is allocated.

A few nodes can ask for any amount: constants that are joined to themselves, functions that call functions, wide maps.
A trained network makes little that its weights do not pay for, so that each limit is a floor plus a multiple of the
bytes of the file.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from fullfield.importers.limits import PRODUCTS, LayerRefused
from fullfield.importers.onnx.values import BATCHES

MIB = 2**20
MOST_AXES = 64
"""The most dimensions of a tensor: those that torch has."""


@dataclass
class Allowance:
    """Bytes and multiply-adds that the nodes of a file of ``file_bytes`` may still take.

    Args:
        file_bytes: of the file and of its external data.
    """

    file_bytes: int

    def __post_init__(self) -> None:
        self.value_bytes = min(2**31, 64 * MIB + 1024 * self.file_bytes)
        self.live_bytes = 4 * self.value_bytes
        self.constant_bytes = 64 * MIB + 16 * self.file_bytes
        self.products = min(PRODUCTS, 2**32 + MIB * self.file_bytes)
        self._constants = self._live = self._products = 0

    def check(self, shape: Sequence[int], dtype: torch.dtype, *, windows: int = 1) -> None:
        """Refuses a value that is too large for these windows together.

        Raises:
            LayerRefused: it is, or has too many dimensions.
        """
        if len(shape) > MOST_AXES:
            raise LayerRefused(f"has a value of {len(shape)} dimensions, more than {MOST_AXES}")
        if math.prod(shape) * dtype.itemsize > self.value_bytes * windows:
            what = f"has a value of shape {tuple(shape)}, more than the {self.value_bytes // MIB} MiB a window"
            raise LayerRefused(f"{what} that a file of {self.file_bytes} bytes may hold")

    def fold(self, shape: Sequence[int], dtype: torch.dtype) -> None:
        """Counts a constant that is about to be computed from others.

        Raises:
            LayerRefused: all constants together take too much.
        """
        self._constants += math.prod(shape) * dtype.itemsize
        if self._constants > self.constant_bytes:
            what = f"computes constants of more than the {self.constant_bytes // MIB} MiB"
            raise LayerRefused(f"{what} that a file of {self.file_bytes} bytes may, with a tensor of {tuple(shape)}")

    def hold(self, count: int) -> None:
        """Counts the bytes of values of one window that are held, or with a negative count those that are let go.

        Raises:
            LayerRefused: the values that are needed at the same time take too much.
        """
        self._live += count
        if self._live > self.live_bytes:
            what = f"needs values of more than the {self.live_bytes // MIB} MiB a window at the same time"
            raise LayerRefused(f"{what} that a file of {self.file_bytes} bytes may")

    def multiply(self, count: int) -> None:
        """Counts multiply-adds of the windows of both batches, which are about to be done.

        Raises:
            LayerRefused: all together are too many.
        """
        self._products += count
        if self._products > self.products * sum(BATCHES):
            what = f"costs more than the {self.products:,} multiply-adds a window"
            raise LayerRefused(f"{what} that a file of {self.file_bytes} bytes may")


class CountsProducts(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch's class has no types
    """Counts multiply-adds while it is active, each before it is done. Its first use imports torch's compiler."""

    def __init__(self, allowance: Allowance) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.allowance = allowance

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        formula = flop_registry.get(func._overloadpacket)
        if formula is not None:
            args_meta, kwargs_meta = torch.utils._pytree.tree_map_only(
                torch.Tensor, lambda t: t.to("meta"), (args, kwargs or {})
            )
            result = func(*args_meta, **kwargs_meta)
            self.allowance.multiply(int(formula(*args, **(kwargs or {}), out_val=result)) // 2)
        return func(*args, **(kwargs or {}))
