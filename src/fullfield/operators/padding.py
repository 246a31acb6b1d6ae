"""Padding by a constant or by the map's own cells; negative padding crops."""

from __future__ import annotations

from typing import Any

import torch

from fullfield.geometry.axis import Op
from fullfield.layers import custom_operators as own
from fullfield.operators.emitter import Call, Emitter, Strips
from fullfield.operators.record import Args, Operator, Shapes, Windowed
from fullfield.operators.strips import gathered

aten = torch.ops.aten


def _constant(args: Args, shapes: Shapes) -> tuple[Op, Op]:
    left, right, top, bottom = args["pad"]
    return Op(1, 1, top, bottom), Op(1, 1, left, right)


def _own_cells(args: Args, shapes: Shapes) -> tuple[Op, Op]:
    left, right, top, bottom = args["pad"]
    pads = (top, bottom), (left, right)
    y, x = (Op(1, 1, low, high, edge=args["mode"]) if low or high else Op(1) for low, high in pads)
    return y, x


def _emit_constant(to: Emitter, call: Call, strip: Any, strips: Strips) -> Any:
    """The strip is padded already."""
    return strip


def _emit_own_cells(to: Emitter, call: Call, strip: Any, strips: Strips) -> Any:
    return gathered(to, strip, strips)


RECORDS = (
    Operator(
        (aten.constant_pad_nd,),
        windowed=Windowed(_constant, _emit_constant, padding=lambda args: float(args["value"])),
        movement="arrange",
        new_memory=True,
        independent="first",
    ),
    Operator((aten.pad,), windowed=Windowed(_own_cells, _emit_own_cells), movement="arrange", independent="first"),
    Operator((own.fill_cells,), movement="arrange", in_place=own.fill_cells_.default, new_memory=True),
    Operator((aten.reflection_pad2d, aten.replication_pad2d), independent="first"),
)
