"""A layer as a matrix to be, and what every kind of layer needs to become one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from fullfield.errors import GeometryError
from fullfield.geometry.axis import Op
from fullfield.workbench.matrices.index_tables import Ints, Reach, reads, window_taps

Volume = tuple[int, ...]
Array = NDArray[Any]


@dataclass(frozen=True)
class Link:
    """One layer as a matrix to be: its size, what it reads, and how to make matrix and bias.

    ``make`` is only called once the size is known to be allowed; it returns a CSR array and a vector.

    Args:
        outputs: the volume that comes out.
        entries: of the matrix; the most there can be where that depends on the input.
        reach: which inputs every output reads; ``None`` where that is the number in its own place.
        dense: whether every output reads all inputs.
    """

    name: str
    outputs: Volume
    entries: int
    make: Callable[[], tuple[Any, Array]]
    reach: Reach | None = None
    dense: bool = False

    def after(self, earlier: Reach | None) -> Reach | None:
        """What this layer's outputs read of the input that all layers before it read so."""
        if self.reach is None or earlier is None:
            return self.reach or earlier
        return earlier.gathered(self.outputs[0]) if self.dense else self.reach.after(earlier)


def numbers(tensor: torch.Tensor) -> Array:
    """A tensor as NumPy has it; types that it lacks in float32."""
    t = tensor.detach().cpu()
    return t.float().numpy() if t.dtype in (torch.bfloat16, torch.float16) else t.numpy()


def map_of(name: str, volume: Volume, channels: int | None = None) -> tuple[int, int, int]:
    """The volume, if it is a map of so many channels."""
    if len(volume) != 3 or (channels is not None and volume[0] != channels):
        wanted = "a map" if channels is None else f"a map of {channels} channels"
        raise GeometryError(name, f"takes {wanted}, not {'x'.join(map(str, volume))}", fix="correct the input size")
    return volume[0], volume[1], volume[2]


def pair_of(value: Any) -> tuple[int, int]:
    """Numbers along y and x."""
    return (value, value) if isinstance(value, int) else (int(value[0]), int(value[1]))


def ops_of(name: str, layer: Any, volume: Volume, *, ceil: bool = False) -> tuple[list[Op], tuple[int, int]]:
    """The layer's windows along y and x, and how many there are."""
    kernel, stride = pair_of(layer.kernel_size), pair_of(layer.stride)
    dilation = pair_of(getattr(layer, "dilation", 1))
    if isinstance(layer.padding, str):
        total = [d * (k - 1) if layer.padding == "same" else 0 for k, d in zip(kernel, dilation, strict=True)]
        pads = [(t // 2, t - t // 2) for t in total]
    else:
        pads = [(p, p) for p in pair_of(layer.padding)]
    ops = [Op(kernel[a], stride[a], *pads[a], dilation[a], ceil) for a in (0, 1)]
    found = [op.cells(n) for op, n in zip(ops, volume[1:], strict=True)]
    if min(found) < 1:
        size = "x".join(map(str, volume[1:]))
        raise GeometryError(name, f"kernel {kernel} does not fit {size} cells once", fix="use a larger input")
    return ops, (found[0], found[1])


def tables(ops: list[Op], cells: tuple[int, ...], counts: tuple[int, int], mode: str = "zeros") -> tuple[Ints, Ints]:
    """The tables of taps along y and x."""
    y, x = (
        window_taps(n, op.kernel, op.stride, op.low, op.high, op.dilation, mode=mode, count=m)
        for op, n, m in zip(ops, cells, counts, strict=True)
    )
    return y, x


def reach_of(y: Ints, x: Ints, volume: Volume, kernels: int, groups: int) -> Reach:
    """Kernels of a group read all of its channels."""
    group = np.repeat(np.arange(groups), kernels // groups)[:, None]
    return Reach(group == np.repeat(np.arange(groups), volume[0] // groups), reads(y, volume[1]), reads(x, volume[2]))
