"""Strides, padding and output sizes of ONNX operators with kernels, at a fixed window size."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from fullfield.geometry.axis import Op
from fullfield.importers.limits import LayerRefused
from fullfield.importers.onnx.builder import AtenBuilder
from fullfield.importers.onnx.registry import OnnxCall
from fullfield.importers.onnx.values import OnnxValue

aten = torch.ops.aten


@dataclass(frozen=True)
class WindowGeometry:
    """The geometry of an operator with a kernel, along each axis."""

    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    low: tuple[int, ...]
    high: tuple[int, ...]
    ceil: bool

    @property
    def even(self) -> bool:
        """Whether the padding is equal at both ends of every axis and not negative."""
        return self.low == self.high and min(self.low, default=0) >= 0

    def axes(self) -> tuple[Op, ...]:
        """One operator for each axis."""
        columns = zip(self.kernel, self.strides, self.low, self.high, self.dilations, strict=True)
        return tuple(Op(k, s, low, high, d, self.ceil) for k, s, low, high, d in columns)

    def output_cells(self, sizes: Sequence[int]) -> tuple[int, ...]:
        """Output cells along each axis."""
        return tuple(op.cells(n) for op, n in zip(self.axes(), sizes, strict=True))


def window_geometry(call: OnnxCall, x: OnnxValue, kernel: Sequence[int]) -> WindowGeometry:
    """The geometry of a node; ``auto_pad`` is resolved for the size of ``x``.

    Source: ONNX operators Conv and MaxPool: SAME pads to ``ceil(size / stride)`` output cells; if
    the padding is odd, the larger half is at the end (SAME_UPPER) or at the start (SAME_LOWER).
    """
    rank = len(kernel)
    strides, dilations = call.ints("strides", [1] * rank) or [], call.ints("dilations", [1] * rank) or []
    pads = call.ints("pads", [0] * 2 * rank) or []
    given = call.ints("kernel_shape", kernel) or []
    if list(given) != list(kernel) or not len(strides) == len(dilations) == len(pads) / 2 == rank:
        raise LayerRefused(
            f"kernel {list(kernel)} with strides {strides}, dilations {dilations}, pads {pads}: wrong counts"
        )
    if min(*strides, *dilations, *kernel) < 1:
        raise LayerRefused(f"kernel {list(kernel)}, strides {strides}, dilations {dilations} must be positive")
    low, high = pads[:rank], pads[rank:]
    auto = call.text("auto_pad", "NOTSET")
    if auto == "VALID":
        low, high = [0] * rank, [0] * rank
    elif auto in ("SAME_UPPER", "SAME_LOWER"):
        for i, size in enumerate(x.shapes[0][2:]):
            extent = dilations[i] * (kernel[i] - 1) + 1
            total = max(0, (-(-size // strides[i]) - 1) * strides[i] + extent - size)
            low[i] = total // 2 if auto == "SAME_UPPER" else total - total // 2
            high[i] = total - low[i]
    elif auto != "NOTSET":
        raise LayerRefused(f"auto_pad {auto!r} is not known")
    ceil = bool(call.integer("ceil_mode", 0))
    return WindowGeometry(tuple(kernel), tuple(strides), tuple(dilations), tuple(low), tuple(high), ceil)


def pad(b: AtenBuilder, x: OnnxValue, low: Sequence[int], high: Sequence[int], number: float) -> OnnxValue:
    """``x`` with its last axes padded by a number; negative padding crops."""
    if not any((*low, *high)):
        return x
    pairs = [size for pair in reversed(list(zip(low, high, strict=True))) for size in pair]
    return b.call(aten.pad.default, x, pairs, "constant", number)
