"""fullfield's own operators (``fullfield.layers``)."""

from __future__ import annotations

import math
from typing import Any

import torch

from fullfield.geometry.axis import Op
from fullfield.geometry.network import Scratch
from fullfield.geometry.strip import Gather, Slide, Strip
from fullfield.layers import custom_operators as own
from fullfield.operators.emitter import Call, Emitter, Strips
from fullfield.operators.pools import average
from fullfield.operators.record import Args, Operator, Shapes, Windowed, kernel_geometry
from fullfield.operators.strips import gathered, sums
from fullfield.operators.work import Work

aten = torch.ops.aten


def _sliding_pool(args: Args, shapes: Shapes) -> tuple[Op, Op]:
    y, x = (Op(k, 1, k // 2, (k - 1) // 2, edge="inside") if k > 1 else Op(1) for k in args["kernel_size"])
    return y, x


def _emit_sliding_pool(to: Emitter, call: Call, strip: Any, strips: Strips) -> Any:
    """One axis after the other over all of the strip; then the cells whose kernels were moved inside the map."""
    kernel = call.args["kernel_size"]
    dilation = [s.how.dilation if isinstance(s.how, Gather) else s.slide.dilation for s in strips]
    if not call.args["largest"]:
        sy, sx = (Strip(s.pieces, Slide(dilation=d)) for s, d in zip(strips, dilation, strict=True))
        total = sums(to, strip, (sy, sx), kernel)
        return gathered(to, to.call(aten.div.Tensor, total, math.prod(kernel)), strips)
    (ky, kx), (dy, dx) = kernel, dilation
    strip = to.call(aten.max_pool2d.default, strip, [ky, 1], [1, 1], [0, 0], [dy, 1], False)
    strip = to.call(aten.max_pool2d.default, strip, [1, kx], [1, 1], [0, 0], [1, dx], False)
    return gathered(to, strip, strips)


def _variance_pool(args: Args, shapes: Shapes) -> tuple[Op, Op]:
    y, x = (Op(k, s) for k, s in zip(args["kernel_size"], args["stride"], strict=True))
    return y, x


def _emit_variance_pool(to: Emitter, call: Call, strip: Any, strips: Strips) -> Any:
    stride, dilation = [s.slide.stride for s in strips], [s.slide.dilation for s in strips]
    return to.call(own.variance_pool.default, strip, call.args["kernel_size"], stride, dilation)


def _partial_sums(ops: tuple[Op, Op], taps: int) -> Scratch:
    """The sums of 1, 2, 4, … neighbours, of which several are held at once."""
    return Scratch(results=max((op.kernel.bit_count() + 1 for op in ops if op.edge == "inside"), default=0))


def _normed(taps: int, read: int, written: int) -> Work:
    """Squares, their mean, ``alpha`` times it plus ``k``, to a power, as divisor."""
    return Work(adds=taps, multiplies=1, divisions=2, functions=1) * written + Work(multiplies=read)


def _lrn_across(args: Args, read: int, written: int) -> Work:
    return _normed(args["size"], read, written)


def _lrn_within(args: Args, read: int, written: int) -> Work:
    return _normed(args["size"] ** 2, read, written)


def _within(args: Args, shapes: Shapes) -> tuple[Op, Op]:
    before, after = args["size"] // 2, args["size"] - 1 - args["size"] // 2
    return (Op(args["size"], 1, before, after),) * 2


def _root_of_pool(args: Args, read: int, written: int) -> Work:
    """As in canonical form: squares, a mean, times its divisor where the sum is meant, and the root."""
    root = Work(multiplies=0 if args["mean"] else 1, functions=1) * written
    return average(args, read, written) + root + Work(multiplies=read)


def _root_of_features(args: Args, read: int, written: int) -> Work:
    return Work(adds=args["width"] - 1, functions=1) * written + Work(multiplies=read)


RECORDS = (
    Operator(
        (own.sliding_pool,),
        windowed=Windowed(_sliding_pool, _emit_sliding_pool, reads_window=True, scratch=_partial_sums),
        independent="first",
    ),
    Operator(
        (own.variance_pool,),
        windowed=Windowed(_variance_pool, _emit_variance_pool, scratch=lambda ops, taps: Scratch(results=5)),
        new_memory=True,
        independent="first",
    ),
    Operator(
        (own.fft_conv2d,),
        windowed=Windowed(kernel_geometry, slides=True),
        new_memory=True,
        independent="first",
    ),
    Operator((own.locally_connected2d,), windowed=Windowed(kernel_geometry, slides=True), independent="first"),
    Operator(
        (own.l2_pool2d,),
        windowed=Windowed(kernel_geometry, slides=True),
        counts=_root_of_pool,
        independent="first",
    ),
    Operator(
        (own.local_response_norm_within,),
        windowed=Windowed(_within, slides=True),
        counts=_lrn_within,
        independent="first",
        title="lrn_within_map",
    ),
    Operator((own.local_response_norm,), kind="per_cell", counts=_lrn_across, independent="first"),
    Operator((own.feature_l2_pool,), kind="per_cell", counts=_root_of_features, independent="first"),
    Operator((own.root,), independent="first"),
)
