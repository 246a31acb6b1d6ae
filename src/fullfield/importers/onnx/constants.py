"""Maps ONNX constants, and operators that return shapes."""

from __future__ import annotations

import math

import onnx
import torch

from fullfield.importers.limits import LayerRefused
from fullfield.importers.onnx.builder import AtenBuilder
from fullfield.importers.onnx.registry import OnnxCall, operator
from fullfield.importers.onnx.tensors import to_torch, torch_dtype
from fullfield.importers.onnx.values import Known, OnnxValue, listed

aten = torch.ops.aten


@operator("Constant")
def constant(b: AtenBuilder, call: OnnxCall) -> OnnxValue:
    """The tensor in the node's attribute."""
    for name, dtype in (("float", torch.float32), ("int", torch.int64)):
        for key in (f"value_{name}", f"value_{name}s"):
            if key in call.attributes:
                return Known.constant(torch.tensor(call.attributes[key], dtype=dtype))
    return Known.constant(_tensor(call, "value"))


@operator("ConstantOfShape")
def constant_of_shape(b: AtenBuilder, call: OnnxCall) -> OnnxValue:
    """A tensor of a given shape filled with one number."""
    number = _tensor(call, "value") if "value" in call.attributes else torch.zeros(1)
    if number.numel() != 1:
        raise LayerRefused(f"its value has {number.numel()} elements, not one")
    low, high = (tuple(listed(t)) for t in call.known(0).tensors)
    if min((*low, *high), default=0) < 0:
        raise LayerRefused(f"shape {low} has a negative size")
    return b.full((low, high), number.item(), number.dtype)


@operator("EyeLike")
def eye_like(b: AtenBuilder, call: OnnxCall) -> OnnxValue:
    """Ones on a diagonal of a matrix as large as another one."""
    x, shift = call.input(0), call.integer("k", 0)
    kind = torch_dtype(call.integer("dtype", 0)) or x.dtype
    both = []
    for rows, columns in x.shapes:
        b.allowance.fold((rows, columns), kind)
        places = torch.arange(columns) - torch.arange(rows)[:, None]
        both.append((places == shift).to(kind))
    return Known.of(both[0], both[1])


@operator("Shape")
def shape(b: AtenBuilder, call: OnnxCall) -> OnnxValue:
    """The input's shape."""
    stop = call.attributes.get("end")
    part = slice(call.integer("start", 0), None if stop is None else int(stop))
    low, high = (torch.tensor(s[part], dtype=torch.int64) for s in call.input(0).shapes)
    return Known.of(low, high)


@operator("Size")
def size(b: AtenBuilder, call: OnnxCall) -> OnnxValue:
    """The number of the input's elements."""
    low, high = (torch.tensor(t.numel(), dtype=torch.int64) for t in call.input(0).tensors)
    return Known.of(low, high)


@operator("Range")
def range_(b: AtenBuilder, call: OnnxCall) -> OnnxValue:
    """Numbers from a start to a limit."""
    limits = [call.known(index) for index in range(3)]
    both = []
    for at in (0, 1):
        start, limit, step = (_number(value.tensors[at]) for value in limits)
        if step == 0 or not math.isfinite((limit - start) / step):
            raise LayerRefused(f"from {start} to {limit} by {step}")
        b.allowance.fold((math.ceil(abs((limit - start) / step)),), limits[0].dtype)
        both.append(torch.arange(start, limit, step, dtype=limits[0].dtype))
    return Known.of(both[0], both[1])


def _number(tensor: torch.Tensor) -> float | int:
    if tensor.numel() != 1:
        raise LayerRefused(f"a limit has {tensor.numel()} elements, not one")
    number: float | int = tensor.item()
    return number


def _tensor(call: OnnxCall, name: str) -> torch.Tensor:
    proto = call.attributes.get(name)
    if not isinstance(proto, onnx.TensorProto):
        raise LayerRefused(f"has no tensor attribute {name!r}")
    return to_torch(proto, folder=None)
