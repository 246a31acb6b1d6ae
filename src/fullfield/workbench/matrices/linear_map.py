"""``LinearMap``, a layer before its matrix is computed, and helpers to make one of every kind of layer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from fullfield.arguments import parse_pair
from fullfield.errors import GeometryError
from fullfield.geometry.axis import Op
from fullfield.text import size_text
from fullfield.workbench.matrices.index_tables import Array, Ints, Reach, read_mask, window_taps
from fullfield.workbench.volume import Volume


@dataclass(frozen=True)
class LinearMap:
    """One layer: the size of its matrix, the inputs that it reads, and a function that computes matrix and bias.

    ``make`` is called only after the size was checked against the budget; it returns a CSR array and a vector.

    Args:
        outputs: the output volume.
        entries: of the matrix; an upper bound where that depends on the input.
        reach: which inputs every output reads; ``None`` where output ``i`` reads input ``i`` alone.
        dense: whether every output reads all inputs.
    """

    name: str
    outputs: Volume
    entries: int
    make: Callable[[], tuple[Any, Array]]
    reach: Reach | None = None
    dense: bool = False

    def after(self, earlier: Reach | None) -> Reach | None:
        """Which inputs of the first layer this layer's outputs read, given those that the layer before it reads."""
        if self.reach is None or earlier is None:
            return self.reach or earlier
        return earlier.gathered(self.outputs[0]) if self.dense else self.reach.after(earlier)


def numbers(tensor: torch.Tensor) -> Array:
    """A tensor as an array; half-precision types as float32."""
    t = tensor.detach().cpu()
    return t.float().numpy() if t.dtype in (torch.bfloat16, torch.float16) else t.numpy()


def as_map(name: str, volume: Volume, channels: int | None = None) -> tuple[int, int, int]:
    """The volume as a map; raises unless it is one, of so many channels."""
    if len(volume) != 3 or (channels is not None and volume[0] != channels):
        wanted = "a map" if channels is None else f"a map of {channels} channels"
        raise GeometryError(name, f"takes {wanted}, not {size_text(volume)}", fix="correct the input size")
    return volume[0], volume[1], volume[2]


def axis_ops_of(name: str, layer: Any, volume: Volume, *, ceil: bool = False) -> tuple[list[Op], tuple[int, int]]:
    """The layer's windows along y and x, and their numbers."""
    kernel, stride = parse_pair("kernel_size", layer.kernel_size), parse_pair("stride", layer.stride)
    dilation = parse_pair("dilation", getattr(layer, "dilation", 1))
    if isinstance(layer.padding, str):
        total = [d * (k - 1) if layer.padding == "same" else 0 for k, d in zip(kernel, dilation, strict=True)]
        pads = [(t // 2, t - t // 2) for t in total]
    else:
        pads = [(p, p) for p in parse_pair("padding", layer.padding, least=0)]
    ops = [Op(kernel[a], stride[a], *pads[a], dilation[a], ceil) for a in (0, 1)]
    found = [op.cells(n) for op, n in zip(ops, volume[1:], strict=True)]
    if min(found) < 1:
        size = size_text(volume[1:])
        raise GeometryError(name, f"kernel {kernel} does not fit {size} cells", fix="use a larger input")
    return ops, (found[0], found[1])


def tap_tables(
    ops: list[Op], cells: tuple[int, ...], counts: tuple[int, int], mode: str = "zeros"
) -> tuple[Ints, Ints]:
    """Tables of taps along y and x."""
    y, x = (
        window_taps(n, op.kernel, op.stride, op.low, op.high, op.dilation, mode=mode, count=m)
        for op, n, m in zip(ops, cells, counts, strict=True)
    )
    return y, x


def reach_of(y: Ints, x: Ints, volume: Volume, kernels: int, groups: int) -> Reach:
    """The reach of a layer with windows, whose kernels read all channels of their group."""
    group = np.repeat(np.arange(groups), kernels // groups)[:, None]
    return Reach(
        group == np.repeat(np.arange(groups), volume[0] // groups), read_mask(y, volume[1]), read_mask(x, volume[2])
    )
