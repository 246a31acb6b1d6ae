"""Resizing, and channels put in the places within blocks of cells."""

from __future__ import annotations

from typing import Any

import torch

from fullfield.geometry.axis import Op
from fullfield.layers import custom_operators
from fullfield.operators.emitter import Call, Emitter, Strips
from fullfield.operators.record import Args, Operator, Shapes, Windowed
from fullfield.operators.strips import cropped

aten = torch.ops.aten


def _nearest(args: Args, shapes: Shapes) -> tuple[Op, Op]:
    y, x = args["scale_factors"]
    return Op(1, up=int(y)), Op(1, up=int(x))


def _pixel_shuffle(args: Args, shapes: Shapes) -> tuple[Op, Op]:
    return Op(1, up=args["upscale_factor"]), Op(1, up=args["upscale_factor"])


def _depth_to_space(args: Args, shapes: Shapes) -> tuple[Op, Op]:
    y, x = args["factors"]
    top, bottom, left, right = args["inside"]
    return Op(1, up=y, inside=(top, bottom)), Op(1, up=x, inside=(left, right))


def _emit_nearest(to: Emitter, call: Call, strip: Any, strips: Strips) -> Any:
    for dim, s in zip((-2, -1), strips, strict=True):
        if s.factor > 1:
            strip = to.call(aten.repeat_interleave.self_int, strip, s.factor, dim)
    return cropped(to, strip, strips)


def _emit_pixel_shuffle(to: Emitter, call: Call, strip: Any, strips: Strips) -> Any:
    return cropped(to, to.call(aten.pixel_shuffle.default, strip, strips[0].factor), strips)


def _emit_depth_to_space(to: Emitter, call: Call, strip: Any, strips: Strips) -> Any:
    fy, fx = (s.factor for s in strips)
    if fy == fx:
        return _emit_pixel_shuffle(to, call, strip, strips)
    apart = to.call(aten.unflatten.int, strip, 1, [-1, fy, fx])
    moved = to.call(aten.permute.default, apart, [0, 1, 4, 2, 5, 3])
    rows = to.call(aten.flatten.using_ints, to.call(aten.flatten.using_ints, moved, 4, 5), 2, 3)
    return cropped(to, rows, strips)


RECORDS = (
    Operator(
        (aten.upsample_nearest2d,), windowed=Windowed(_nearest, _emit_nearest), movement="arrange", independent="first"
    ),
    Operator(
        (aten.pixel_shuffle,),
        windowed=Windowed(_pixel_shuffle, _emit_pixel_shuffle),
        movement="arrange",
        independent="first",
    ),
    Operator(
        (custom_operators.depth_to_space,),
        windowed=Windowed(_depth_to_space, _emit_depth_to_space),
        movement="arrange",
        independent="first",
    ),
    Operator((aten.pixel_unshuffle,), independent="first"),
    Operator(
        (
            *(aten.upsample_bilinear2d, aten._upsample_bilinear2d_aa),
            *(aten.upsample_bicubic2d, aten._upsample_bicubic2d_aa),
        ),
        independent="first",
    ),
)
