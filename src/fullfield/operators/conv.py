"""Convolutions."""

from __future__ import annotations

import math

import torch

from fullfield.operators.record import Operator, Shapes, Windowed, kernel_geometry

aten = torch.ops.aten


def taps_of_weight(shapes: Shapes) -> int:
    """Multiply-adds of one number of a convolution: channels of its group times the kernel's taps."""
    return math.prod(shapes["weight"][1:])


RECORDS = (
    Operator(
        (aten.conv2d,),
        windowed=Windowed(kernel_geometry, slides=True),
        macs=taps_of_weight,
        new_memory=True,
        independent="first",
    ),
    Operator((aten.conv3d,), kind="per_cell", macs=taps_of_weight, independent="first"),
    Operator(
        (aten.conv1d, aten.convolution, aten.conv_transpose1d, aten.conv_transpose2d),
        independent="first",
    ),
)
