"""Finds the values of a quantised ONNX graph that are kept as real numbers, and leaves out their conversions.

An operator that reads the integers themselves would compute something else and is refused.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import onnx
import onnx.numpy_helper

from fullfield.errors import CaptureError
from fullfield.importers.onnx.layer_names import layer_path
from fullfield.importers.onnx.subgraphs import inner_graphs

_KEEPS = frozenset({
    "Concat", "DepthToSpace", "Expand", "Flatten", "Gather", "GatherElements", "GatherND", "Identity", "MaxPool",
    "NhwcMaxPool", "ReduceMax", "ReduceMin", "Relu", "Reshape", "Resize", "Slice", "SpaceToDepth", "Split", "Squeeze",
    "Tile", "Transpose", "Unsqueeze", "Upsample",
})  # fmt: skip
"""Operators that compute the same from integers and from the real numbers that these mean, but for rounding."""
_READS_ORDER = frozenset({"ArgMax", "ArgMin", "Shape", "Size"})
"""Operators whose result says nothing of the numbers but their order or shape."""
_FOLDED = _KEEPS | {"QuantizeLinear", "DequantizeLinear", "Cast", "Add", "Sub", "Mul", "Div", "Neg", "Sqrt"}
"""Operators by which files make constants of constants."""
_INTEGER = frozenset({"ConvInteger", "MatMulInteger", "MatMulIntegerToFloat", "QAttention"})
_ZERO_POINTS = {"ConvInteger": 2, "MatMulInteger": 2}
_FLOATS = frozenset({"DynamicQuantizeLSTM", "DynamicQuantizeMatMul", "MatMulNBits"})
OF_CONSTANT = "of_constant"
"""The attribute of a ``QuantizeLinear`` of a constant, whose result stays integers, as if the file held them."""
REAL_WEIGHT = "real_weight"
"""The attribute of an operator whose weights are kept as real numbers."""
_WITH_WEIGHTS = frozenset({"QLinearConv", "QGemm"})
_PAIRS = {"QLinearConv": (0,), "QLinearMatMul": (0, 3), "QLinearAdd": (0, 3), "QLinearMul": (0, 3)}


@dataclass(frozen=True)
class IntegerScale:
    """How integers are related to the real numbers that they mean: the names of a scale and of a zero point."""

    scale: str
    zero: str


def keep_real(graph: onnx.GraphProto, path: Path) -> bool:
    """Leaves out the conversions of values that are kept as real numbers; returns whether the network is quantised.

    Raises:
        CaptureError: an operator computes with the integers of such a value.
    """
    kept = _Kept(path, {tensor.name for tensor in graph.initializer})
    kept.rewrite(graph)
    return kept.found


@dataclass
class _Kept:
    """The values that are kept as real numbers; ``None`` where the integers are defined to be equal to them."""

    path: Path
    constants: set[str]
    real: dict[str, IntegerScale | None] = field(default_factory=dict)
    found: bool = False

    def rewrite(self, graph: onnx.GraphProto) -> None:
        nodes: list[onnx.NodeProto] = []
        for node in graph.node:
            if node.op_type == "Constant":
                self.constants.update(node.output)
            self._node(node, graph, nodes)
            nodes.append(onnx.NodeProto.FromString(node.SerializeToString()))
            for inner in inner_graphs(nodes[-1]):
                self.constants.update(tensor.name for tensor in inner.initializer)
                self.rewrite(inner)
        del graph.node[:]
        graph.node.extend(nodes)

    def _node(self, node: onnx.NodeProto, graph: onnx.GraphProto, before: list[onnx.NodeProto]) -> None:
        """Changes a node that makes or reads quantised values; what has to come before it is appended."""
        op = node.op_type
        if op in _FOLDED and self.constants.issuperset(filter(None, node.input)):
            self.constants.update(node.output)
        if op == "QuantizeLinear" and node.input[0] in self.constants:
            self.found = True
            _state_type(node, graph)
            node.attribute.append(onnx.helper.make_attribute(OF_CONSTANT, 1))
        elif op == "QuantizeLinear":
            _state_type(node, graph)
            self._make(node, IntegerScale(node.input[1], _at(node, 2)))
        elif op == "DynamicQuantizeLinear":
            self._make(node, None)
        elif op.startswith("QLinear") or op == "QGemm":
            self._operands(node, before)
            self._make(node, *_result(node))
        elif op in _INTEGER:
            self.found = True
            self._integers(node, graph, before)
        elif op == "DequantizeLinear" or op in _FLOATS:
            self.found = True
            if op in _FLOATS and node.input[1] in self.real:
                raise self._refused(node, node.input[1])
            if op == "DequantizeLinear" and node.input[0] in self.real:
                node.op_type = "Identity"
                del node.attribute[:], node.input[1:]
        elif op == "Pad" and node.input and node.input[0] in self.real:
            self._pad(node, graph, before)
        else:
            self._others(node)

    def _make(self, node: onnx.NodeProto, *scaled: IntegerScale | None) -> None:
        self.found = True
        self.real.update(dict.fromkeys(node.output[:1], scaled[0]) if scaled else {})

    def _operands(self, node: onnx.NodeProto, before: list[onnx.NodeProto]) -> None:
        """Brings operands that are integers, such as an input of pixels or a constant, to real numbers."""
        places = range(2, len(node.input), 3) if node.op_type == "QLinearConcat" else _PAIRS.get(node.op_type, (0,))
        for place in places:
            name = node.input[place]
            if name not in self.real:
                result = f"{node.output[0]}.real{place}"
                before.append(_dequantise(name, node.input[place + 1], _at(node, place + 2), result))
                if node.op_type == "QLinearMatMul":
                    before[-1].attribute.append(onnx.helper.make_attribute("axis", -1))
                node.input[place] = result
        if node.op_type in _WITH_WEIGHTS and node.input[3] in self.real:
            node.attribute.append(onnx.helper.make_attribute(REAL_WEIGHT, 1))

    def _integers(self, node: onnx.NodeProto, graph: onnx.GraphProto, before: list[onnx.NodeProto]) -> None:
        """Operands of an integer product: those with a scale of one, or integers less their zero point."""
        name, place = node.input[0], _ZERO_POINTS.get(node.op_type)
        if node.input[1] in self.real:
            raise self._refused(node, node.input[1])
        if name in self.real:
            if self.real[name] is not None:
                raise self._refused(node, name)
        elif place is not None and _at(node, place):
            graph.initializer.append(onnx.helper.make_tensor(f"{name}.one", onnx.TensorProto.FLOAT, [], [1.0]))
            before.append(_dequantise(name, f"{name}.one", node.input[place]))
            node.input[0], node.input[place] = before[-1].output[0], ""

    def _pad(self, node: onnx.NodeProto, graph: onnx.GraphProto, before: list[onnx.NodeProto]) -> None:
        """Padding with the real number that an integer means; without one that is zero."""
        scaled = self.real[node.input[0]]
        self.real[node.output[0]] = scaled
        if scaled is None:
            return
        given = _at(node, 2)
        if not given:
            if not scaled.zero:
                return
            before.append(onnx.helper.make_node("Sub", [scaled.zero, scaled.zero], [f"{node.output[0]}.zero"]))
            given = before[-1].output[0]
        before.append(_dequantise(given, scaled.scale, scaled.zero, f"{node.output[0]}.padding"))
        while len(node.input) < 3:
            node.input.append("")
        node.input[2] = before[-1].output[0]

    def _others(self, node: onnx.NodeProto) -> None:
        names = [name for name in node.input if name in self.real]
        if node.op_type in _KEEPS and names:
            self.real.update(dict.fromkeys(node.output, self.real[names[0]]))
        elif node.op_type not in _READS_ORDER:
            for name in names:
                if self.real[name] is not None:
                    raise self._refused(node, name)

    def _refused(self, node: onnx.NodeProto, name: str) -> CaptureError:
        return CaptureError(
            f"{self.path}: {layer_path(node)} ({node.op_type})",
            f"computes with the integers of the quantised value {name!r}, which is read as real numbers",
            fix="export the network before it is quantised",
        )


def _at(node: onnx.NodeProto, index: int) -> str:
    return str(node.input[index]) if index < len(node.input) else ""


def _result(node: onnx.NodeProto) -> Iterable[IntegerScale | None]:
    """The scale and zero point of the result, by its operator; none where the result is a float."""
    if node.op_type == "QLinearConcat":
        return [IntegerScale(node.input[0], node.input[1])]
    first = {"QGemm": 7, "QLinearWhere": 7}.get(node.op_type, 6 if node.op_type in _PAIRS else 3)
    return [IntegerScale(node.input[first], _at(node, first + 1))] if _at(node, first) else []


def _dequantise(name: str, scale: str, zero: str, result: str = "") -> onnx.NodeProto:
    inputs = [name, scale, *([zero] if zero else [])]
    return onnx.helper.make_node("DequantizeLinear", inputs, [result or f"{name}.real"])


def _state_type(node: onnx.NodeProto, graph: onnx.GraphProto) -> None:
    """Writes the type of the integers into the node, where only its zero point tells it: torch has none of 4 bits."""
    zero = next((each for each in graph.initializer if each.name == _at(node, 2)), None)
    if zero is not None and all(each.name != "output_dtype" or not each.i for each in node.attribute):
        kept = [each for each in node.attribute if each.name != "output_dtype"]
        del node.attribute[:]
        node.attribute.extend([*kept, onnx.helper.make_attribute("output_dtype", zero.data_type)])
