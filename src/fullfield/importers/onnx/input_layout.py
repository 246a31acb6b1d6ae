"""Finds the order of the axes of an ONNX input, and gives a batch to an input that has none."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import onnx
import onnx.numpy_helper

from fullfield.errors import CaptureError

_CHANNELS = (1, 3, 4)
KEEPS = frozenset({
    "Abs", "Add", "Cast", "Clip", "DequantizeLinear", "Div", "Dropout", "Exp", "Identity", "Log", "Max", "Min", "Mul",
    "Neg", "Pow", "QuantizeLinear", "Relu", "Sigmoid", "Sqrt", "Sub", "Tanh",
})  # fmt: skip
"""Operators that compute number by number; other operands are broadcast to the last axes."""
_MOVES = frozenset({"Concat", "Gather", "Pad", "Slice", "Split"})
_QUANTISES = frozenset({"DequantizeLinear", "QuantizeLinear"})
_WEIGHTS = {"Conv": 1, "ConvInteger": 1, "FusedConv": 1, "NhwcFusedConv": 1, "QLinearConv": 3}
"""Convolutions, and which of their inputs are the weights."""
_LAST, _FIRST = [0, 3, 1, 2], [0, 2, 3, 1]


def channels_last(graph: onnx.GraphProto, name: str, sizes: Sequence[int | None]) -> bool:
    """Whether the input is ``(n, h, w, c)``.

    The first operators tell that move axes or convolve, behind scaling and other arithmetic; else the sizes do.
    """
    told = set(_told(graph, name))
    if len(told) == 1:
        return told.pop()
    channels = first_channels(graph)
    if sizes[1] is not None and sizes[1] == channels != sizes[3]:
        return False
    if sizes[3] is not None and sizes[3] == channels != sizes[1]:
        return True
    return sizes[3] in _CHANNELS and sizes[1] not in _CHANNELS and sizes[1] is not None


def first_channels(graph: onnx.GraphProto) -> int | None:
    """Input channels of the first convolution of two axes."""
    shapes = {tensor.name: list(tensor.dims) for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type in _QUANTISES and node.input[0] in shapes:
            shapes[node.output[0]] = shapes[node.input[0]]
        place = _WEIGHTS.get(node.op_type, 0)
        if place and len(shapes.get(node.input[place] if place < len(node.input) else "", ())) == 4:
            groups = next((a.i for a in node.attribute if a.name == "group"), 1)
            return int(shapes[node.input[place]][1] * groups)
    return None


def _told(graph: onnx.GraphProto, name: str) -> Iterator[bool]:
    """Whether the channels are last, as each operator tells that ends the arithmetic on the input."""
    same = {name}
    for node in graph.node:
        if same.isdisjoint(node.input):
            continue
        if node.op_type in KEEPS | _MOVES:
            same.update(node.output)
        elif node.op_type == "Transpose" and ints_of(node, "perm") in (_LAST, _FIRST):
            yield ints_of(node, "perm") == _LAST
        elif node.op_type in _WEIGHTS:
            yield node.op_type == "NhwcFusedConv" or ints_of(node, "channels_last") == [1]


def add_batch(graph: onnx.GraphProto, entry: onnx.ValueInfoProto, path: Path) -> None:
    """Gives a batch of one to an input of one window ``(c, h, w)`` or ``(h, w, c)``, and to all that is made of it.

    Exact: yes

    Raises:
        CaptureError: an operator reads the window before it becomes a batch, and is none that keeps its axes apart.
    """
    constants = constant_tensors(graph)
    windows = {entry.name}
    for node in graph.node:
        if windows.isdisjoint(node.input):
            continue
        kept = _WITH_BATCH.get(node.op_type, _number_by_number)(node, constants)
        if kept is None:
            what = f"its input {entry.name!r} is one window without a batch, which {node.op_type} reads as it is"
            raise CaptureError(str(path), what, fix="export it with a batch: (n, c, h, w)")
        if kept:
            windows.update(node.output)
    dims = [onnx.TensorShapeProto.Dimension(dim_value=1), *entry.type.tensor_type.shape.dim]
    del entry.type.tensor_type.shape.dim[:]
    entry.type.tensor_type.shape.dim.extend(dims)


ConstantTensors = Mapping[str, onnx.TensorProto]
# Changes a node so that it takes windows in a batch. Returns whether the file's own result has no batch yet; ``None``
# where the node cannot be changed.
BatchMapping = Callable[[onnx.NodeProto, ConstantTensors], bool | None]


def _number_by_number(node: onnx.NodeProto, constants: ConstantTensors) -> bool | None:
    """Operands of four axes bring a batch of one; a scale for each place along an axis is not moved to the next."""
    if node.op_type not in KEEPS:
        return None
    if node.op_type in _QUANTISES and math.prod(constants[node.input[1]].dims) > 1:
        return None
    return all(len(constants[name].dims) < 4 for name in node.input if name in constants)


def _transpose(node: onnx.NodeProto, constants: ConstantTensors) -> bool:
    order = ints_of(node, "perm") or [2, 1, 0]
    del node.attribute[:]
    node.attribute.append(onnx.helper.make_attribute("perm", [0, *(axis + 1 for axis in order)]))
    return True


def _along_axis(node: onnx.NodeProto, constants: ConstantTensors) -> bool:
    given = [attribute for attribute in node.attribute if attribute.name == "axis"]
    for attribute in given:
        attribute.i += attribute.i >= 0
    if not given:
        node.attribute.append(onnx.helper.make_attribute("axis", 1))
    return True


def _unsqueeze(node: onnx.NodeProto, constants: ConstantTensors) -> bool | None:
    """An axis before the window is the batch."""
    axes = ints_of(node, "axes") or listed_input(node, 1, constants) or []
    if axes not in ([0], [-4]):
        return None
    node.op_type = "Identity"
    del node.attribute[:], node.input[1:]
    return False


def _reshape(node: onnx.NodeProto, constants: ConstantTensors) -> bool | None:
    """To a shape with a batch of one, which the importer makes free."""
    shape = ints_of(node, "shape") or listed_input(node, 1, constants) or []
    return False if len(shape) == 4 and shape[0] == 1 and 0 not in shape else None


_WITH_BATCH: Mapping[str, BatchMapping] = {
    "Transpose": _transpose,
    "Unsqueeze": _unsqueeze,
    "Reshape": _reshape,
    "Gather": _along_axis,
    "Concat": _along_axis,
    "Split": _along_axis,
}


def constant_tensors(graph: onnx.GraphProto) -> dict[str, onnx.TensorProto]:
    """The weights, and the tensors in nodes."""
    constants = {tensor.name: tensor for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type == "Constant" and node.attribute and node.attribute[0].name == "value":
            constants[node.output[0]] = node.attribute[0].t
    return constants


def listed_input(node: onnx.NodeProto, index: int, constants: ConstantTensors) -> list[int] | None:
    """An input that is a constant list of at most four numbers."""
    tensor = constants.get(node.input[index]) if index < len(node.input) else None
    if tensor is None or len(tensor.dims) != 1 or tensor.dims[0] > 4 or tensor.external_data:
        return None
    return [int(number) for number in onnx.numpy_helper.to_array(tensor)]


def ints_of(node: onnx.NodeProto, name: str) -> list[int] | None:
    """An attribute of a node that is an integer, or a list of them."""
    found = next((a for a in node.attribute if a.name == name), None)
    if found is None:
        return None
    return [found.i] if found.type == onnx.AttributeProto.INT else list(found.ints)
