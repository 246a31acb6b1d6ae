"""Resizing, and channels put in the places within blocks of cells."""

from __future__ import annotations

import torch

from fullfield.geometry.axis import Op
from fullfield.layers import custom_operators
from fullfield.operators.record import Args, Operator, Shapes, Windowed

aten = torch.ops.aten


def _nearest(args: Args, shapes: Shapes) -> tuple[Op, Op]:
    y, x = args["scale_factors"]
    return Op(1, up=int(y)), Op(1, up=int(x))


def _pixel_shuffle(args: Args, shapes: Shapes) -> tuple[Op, Op]:
    return Op(1, up=args["upscale_factor"]), Op(1, up=args["upscale_factor"])


def _depth_to_space(args: Args, shapes: Shapes) -> tuple[Op, Op]:
    y, x = args["factors"]
    return Op(1, up=y), Op(1, up=x)


RECORDS = (
    Operator((aten.upsample_nearest2d,), windowed=Windowed(_nearest), moves="arrange", independent="first"),
    Operator((aten.pixel_shuffle,), windowed=Windowed(_pixel_shuffle), moves="arrange", independent="first"),
    Operator(
        (custom_operators.depth_to_space,),
        windowed=Windowed(_depth_to_space),
        moves="arrange",
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
