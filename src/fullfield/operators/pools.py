"""Pools."""

from __future__ import annotations

import math
from typing import Any

import torch

from fullfield.geometry.network import Scratch
from fullfield.graph.calls import pair
from fullfield.operators.emitter import Call, Emitter, Strips
from fullfield.operators.record import Args, Operator, Windowed, kernel_geometry
from fullfield.operators.strips import own_padding, sums
from fullfield.operators.work import Work

aten = torch.ops.aten
# torch's average pool adds all taps of every cell one after the other, which rounds worst.
_NATIVE = 16  # taps up to which it is taken
_BY_AXIS = 64  # taps up to which it is taken for each axis; beyond, sums in pairs are faster, and maxima axis by axis


def _largest(args: Args, read: int, written: int) -> Work:
    """Taps in padding count as taps."""
    return Work(comparisons=taps(args) - 1) * written


def average(args: Args, read: int, written: int) -> Work:
    """A sum over the taps, those in padding included, and a division."""
    return Work(adds=taps(args) - 1, divisions=1) * written


def taps(args: Args, rank: int = 2) -> int:
    """Cells under the kernel."""
    kernel = args["kernel_size"]
    return int(kernel**rank if isinstance(kernel, int) else math.prod(kernel) ** (rank // len(kernel)))


def _average_of_volume(args: Args, read: int, written: int) -> Work:
    return Work(adds=taps(args, 3) - 1, divisions=1) * written


def mean_of_all(args: Args, read: int, written: int) -> Work:
    """As many numbers of the input go into each of the output."""
    return Work(adds=-(-read // max(1, written)) - 1, divisions=1) * written


def _emit_largest(to: Emitter, call: Call, strip: Any, strips: Strips) -> Any:
    stride, dilation = [s.slide.stride for s in strips], [s.slide.dilation for s in strips]
    kernel = call.args["kernel_size"]
    strip, padding = own_padding(to, strip, strips, kernel, stride, -math.inf, [k // 2 for k in kernel])
    if math.prod(kernel) <= _BY_AXIS or min(kernel) == 1:
        return to.call(aten.max_pool2d.default, strip, kernel, stride, padding, dilation, False)
    (ky, kx), (sy, sx), (py, px), (dy, dx) = kernel, stride, padding, dilation
    strip = to.call(aten.max_pool2d.default, strip, [ky, 1], [sy, 1], [py, 0], [dy, 1], False)
    return to.call(aten.max_pool2d.default, strip, [1, kx], [1, sx], [0, px], [1, dx], False)


def _emit_average(to: Emitter, call: Call, strip: Any, strips: Strips) -> Any:
    kernel, divisor = call.args["kernel_size"], call.args["divisor_override"]
    counts = _counts(call.args, strips)
    uniform = _is_uniform(call.args, strips)
    if uniform and all(s.slide.dilation == 1 for s in strips) and math.prod(kernel) <= _BY_AXIS:
        return _native(to, strip, kernel, [s.slide.stride for s in strips], divisor or math.prod(kernel))
    total = sums(to, strip, strips, kernel)
    if uniform:
        return to.call(aten.div.Tensor, total, divisor or math.prod(kernel))
    for dim, count in zip((-2, -1), counts, strict=True):
        total = _divide(to, total, count, dim)
    return total


def _native(to: Emitter, strip: Any, kernel: list[int], stride: list[int], divisor: int) -> Any:
    """torch's average pool; of more than a few taps along one axis after the other."""
    (ky, kx), (sy, sx) = kernel, stride
    if ky * kx <= _NATIVE or min(ky, kx) == 1:
        return to.call(aten.avg_pool2d.default, strip, kernel, stride, [0, 0], False, True, divisor)
    strip = to.call(aten.avg_pool2d.default, strip, [ky, 1], [sy, 1], [0, 0], False, True, 1)
    return to.call(aten.avg_pool2d.default, strip, [1, kx], [1, sx], [0, 0], False, True, divisor)


def _average_of_windows(to: Emitter, args: dict[str, Any], cells: tuple[int, ...]) -> Any | None:
    """Means over the axes that the kernel covers: torch adds these in pairs, the taps of its pool one by one."""
    kernel, stride = pair(args["kernel_size"]), pair(args["stride"] or args["kernel_size"])
    if any(pair(args["padding"])) or args["divisor_override"] is not None:
        return None
    covered = [dim for dim, k, n in zip((-2, -1), kernel, cells[-2:], strict=True) if k == n > 1]
    single = all(k == n or k == s == 1 for k, s, n in zip(kernel, stride, cells[-2:], strict=True))
    return to.call(aten.mean.dim, args["self"], covered, True) if covered and single else None


def _counts(args: Args, strips: Strips) -> list[tuple[int, ...]]:
    """Cells that each row and each column of the result averages."""
    pairs = zip(strips, args["kernel_size"], strict=True)
    return [s.valid_taps(k, padding=args["count_include_pad"]) for s, k in pairs]


def _is_uniform(args: Args, strips: Strips) -> bool:
    """Whether all cells have one divisor; at an edge it may differ."""
    full = all(set(c) == {k} for c, k in zip(_counts(args, strips), args["kernel_size"], strict=True))
    return full or args["divisor_override"] is not None


def _counts_padding(args: Args) -> bool:
    """Whether a cell's divisor depends on how much padding is under its kernel."""
    padded = any(pair(args["padding"])) and not args["count_include_pad"]
    return args["divisor_override"] is None and (padded or bool(args["ceil_mode"]))


def _divide(to: Emitter, value: Any, counts: tuple[int, ...], dim: int) -> Any:
    """``value`` over one count a row (``dim`` -2) or column (-1)."""
    if len(set(counts)) == 1:
        return to.call(aten.div.Tensor, value, counts[0])
    divisors = to.constant(torch.tensor(counts).reshape([-1, 1] if dim == -2 else [-1]))
    return to.call(aten.div.Tensor, value, divisors)


RECORDS = (
    Operator(
        (aten.max_pool2d, aten.max_pool2d_with_indices),
        windowed=Windowed(
            kernel_geometry,
            _emit_largest,
            slides=True,
            padding=lambda args: -math.inf,
            scratch=lambda ops, taps: Scratch(index_bytes=8),  # of the maxima, where the kernel is dilated
        ),
        counts=_largest,
        new_memory=True,
        independent="first",
        title="max_pool2d",
    ),
    Operator(
        (aten.avg_pool2d,),
        windowed=Windowed(
            kernel_geometry, _emit_average, slides=True, uniform=_is_uniform, counts_padding=_counts_padding
        ),
        counts=average,
        new_memory=True,
        independent="first",
        on_windows=_average_of_windows,
    ),
    Operator((aten.avg_pool3d,), counts=_average_of_volume),
    Operator((aten.adaptive_avg_pool2d, aten._adaptive_avg_pool2d), counts=mean_of_all, independent="first"),
    Operator(
        (aten.max_pool1d, aten.avg_pool1d, aten.adaptive_avg_pool1d, aten.adaptive_max_pool2d),
        independent="first",
    ),
)
