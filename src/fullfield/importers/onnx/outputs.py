"""Chooses the value of an ONNX graph that holds the scores: an output, what an output is the index of, or any other."""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import onnx

from fullfield.arguments import nearest
from fullfield.errors import CaptureError
from fullfield.graph.layers import layer_value
from fullfield.importers.onnx.layer_names import layer_path
from fullfield.model.features import ScoreChoice, index_or_name

_MOVES = frozenset({"Cast", "Dropout", "Flatten", "Identity", "Reshape", "Squeeze", "Unsqueeze"})
_NORMALISES = frozenset({"Softmax", "LogSoftmax"})
_SAME_CLASSES = _MOVES | _NORMALISES | {"Sigmoid"}
_INDICES = frozenset({"ArgMax", "ArgMin", "TopK", "NonZero"})
_CLASSIFIERS = frozenset({"LinearClassifier", "SVMClassifier", "TreeEnsembleClassifier"})  # give a label, then scores
_LOOKUPS = {"ArrayFeatureExtractor": 1, "Gather": 1, "LabelEncoder": 0, "ZipMap": 0}  # input that is looked up
_WHOLE = frozenset({onnx.TensorProto.INT32, onnx.TensorProto.INT64, onnx.TensorProto.BOOL})  # labels, not scores
_STRING = onnx.TensorProto.STRING


@dataclass(frozen=True)
class ChosenValue:
    """The value that holds the scores.

    Args:
        name: of the value.
        layer: as the user named it, where it is what an inner layer gives and no scores.
        labels: names of the classes that the file gives next to it.
    """

    name: str
    layer: str | None = None
    labels: tuple[str, ...] | None = None


def choose_value(graph: onnx.GraphProto, choice: ScoreChoice, path: Path) -> ChosenValue:
    """The value that holds the scores; where none is chosen, the only output that can, or the only softmax.

    Raises:
        CaptureError: the graph has no such value, it is an index, or there are several and none is chosen.
    """
    values = _Values(graph, path)
    if choice.name is None:
        return values.chosen(values.default())
    name = index_or_name(choice.name, values.has)
    if isinstance(name, int):
        if not -len(graph.output) <= name < len(graph.output):
            raise values.unknown(name)
        return values.chosen(graph.output[name].name)
    if name in (value.name for value in graph.output):
        return values.chosen(name)
    found = values.find(name)
    if found is None:
        raise values.unknown(name)
    return ChosenValue(found, None if found in values.scores() else name)


class _Values:
    """The values of a graph, by name."""

    def __init__(self, graph: onnx.GraphProto, path: Path) -> None:
        self.graph, self.path = graph, path
        self.makers = {name: node for node in graph.node for name in node.output if name}
        self.infos = {value.name: value for value in graph.output}
        self.inputs = {value.name for value in graph.input} - {tensor.name for tensor in graph.initializer}

    def default(self) -> str:
        """The output that holds the scores where none is chosen."""
        names = [str(value.name) for value in self.graph.output]
        if len(names) == 1:
            return names[0]
        numbers = [name for name in names if self.infos[name].type.tensor_type.elem_type not in _WHOLE] or names
        possible = {self.under_table(name): name for name in numbers if not self.index_of(name)}
        vectors = {value: name for value, name in possible.items() if not self._is_map(value)} or possible
        if len(vectors) == 1:
            return next(iter(vectors.values()))
        normalised = [name for value, name in vectors.items() if self._op_before(value) in _NORMALISES]
        if len(normalised) == 1:
            return normalised[0]
        what = f"has {len(names)} outputs ({self.listed()})"
        under = {self.index_of(name) for name in names}
        if len(under) == 1 and (scores := under.pop()):
            what += ", all of the classes with the highest scores"
            raise CaptureError(str(self.path), what, fix=f"choose the scores under them: {_say(scores)}")
        raise CaptureError(str(self.path), what, fix=f"choose the one that holds the scores: {_say(0)}, say")

    def chosen(self, output: str) -> ChosenValue:
        """The scores of an output: what a table of class names is made of, or the output itself.

        Raises:
            CaptureError: it is an index.
        """
        scores = self.index_of(output)
        if scores:
            what = f"output {output!r} is the index of a class, not its scores"
            raise CaptureError(str(self.path), what, fix=f"choose the scores under it: {_say(scores)}")
        return ChosenValue(self.under_table(output), labels=self._labels(output))

    def find(self, name: str) -> str | None:
        """A value by its name, its node's, or that of the layer that makes it."""
        if name in self.makers:
            return name
        named = next((node for node in self.graph.node if node.name == name and node.output), None)
        if named is not None:
            return str(named.output[0])
        return layer_value(
            (([layer_path(node)], [*node.input], [each for each in node.output if each]) for node in self.graph.node),
            name,
        )

    def has(self, name: str) -> bool:
        """Whether it is the name of an output, a value, a node or a layer."""
        return name in self.infos or self.find(name) is not None

    def scores(self) -> set[str]:
        """The values that are scores of the classes: outputs, and what becomes one by operators that keep classes."""
        found: set[str] = set()
        for output in self.graph.output:
            value = str(output.name)
            value = self.index_of(value) or value
            while value and value not in found:
                found.add(value)
                node = self.makers.get(value)
                kept = node is not None and node.op_type in (_SAME_CLASSES | _LOOKUPS.keys())
                value = node.input[_LOOKUPS.get(node.op_type, 0)] if kept and node is not None and node.input else ""
        return found

    def under_table(self, value: str) -> str:
        """What a table of classes and scores (ZipMap) is made of; other values as they are."""
        node = self.makers.get(value)
        return str(node.input[0]) if node is not None and node.op_type == "ZipMap" and node.input else value

    def index_of(self, value: str) -> str:
        """The scores that a value is an index of, or a name looked up by one; empty where it is neither."""
        for _ in range(len(self.graph.node)):
            node = self.makers.get(value)
            if node is None or not node.input:
                return ""
            if node.op_type in _INDICES:
                return str(node.input[0])
            if node.op_type in _CLASSIFIERS:
                return str(node.output[1]) if value == node.output[0] and len(node.output) > 1 else ""
            place = 0 if node.op_type in _MOVES else _LOOKUPS.get(node.op_type, -1)
            if node.op_type == "ZipMap" or not 0 <= place < len(node.input):
                return ""
            if place and self._is_computed(node.input[0]):
                return ""  # numbers are looked up, no names
            value = node.input[place]
        return ""

    def _is_computed(self, value: str) -> bool:
        """Whether a value is the input of the network or depends on it, for all that one node tells."""
        node = self.makers.get(value)
        return value in self.inputs if node is None else node.op_type != "Constant"

    def unknown(self, name: int | str) -> CaptureError:
        """The error for a name that no output, value, node and layer has; names similar ones."""
        what = f"has no output, value, node or layer {name!r}; its outputs are {self.listed()}"
        known = {
            path: None for node in self.graph.node for path in (*node.output, *_outer(layer_path(node)), node.name)
        }
        near = nearest(name, filter(None, known)) if isinstance(name, str) else []
        fix = f"did you mean {', '.join(map(repr, near))}?" if near else f"choose one of these: {_say(0)}, say"
        return CaptureError(str(self.path), what, fix=fix)

    def listed(self) -> str:
        """The outputs with the shapes that the file states."""
        return ", ".join(f"{i}: {value.name}{stated_shape(value)}" for i, value in enumerate(self.graph.output))

    def _labels(self, output: str) -> tuple[str, ...] | None:
        """The names of classes in a table, or in the classifier that gives the scores."""
        node = self.makers.get(output)
        while node is not None and node.op_type in _SAME_CLASSES | {"Normalizer"} and node.input:
            node = self.makers.get(node.input[0])
        if node is None or node.op_type not in _CLASSIFIERS | {"ZipMap"}:
            return None
        lists = {each.name: [*each.strings, *each.ints] for each in node.attribute}
        names = ("classlabels_strings", "classlabels_int64s", "classlabels_ints")
        labels = next(filter(None, map(lists.get, names)), [])
        return (
            tuple(each.decode("utf-8", "replace") if isinstance(each, bytes) else str(each) for each in labels) or None
        )

    def _op_before(self, value: str) -> str:
        """The operator that made a value, looked for through those that only move numbers."""
        for _ in range(len(self.graph.node)):
            node = self.makers.get(value)
            if node is None or node.op_type not in _MOVES:
                return "" if node is None else str(node.op_type)
            value = node.input[0]
        return ""

    def _is_map(self, value: str) -> bool:
        """Whether the file states more than one size beyond 1 for a window, or text."""
        info = self.infos.get(value)
        if info is None:
            return False
        tensor = info.type.tensor_type
        sizes = [d.dim_value if d.HasField("dim_value") else -1 for d in tensor.shape.dim][1:]
        return bool(tensor.elem_type == _STRING) or sum(size != 1 for size in sizes) > 1


def _say(score: int | str) -> str:
    """How a user chooses a score, in Python and in the shell.

    Examples:
        >>> _say(0), _say("/fc/Gemm_output_0")
        ('score=0, --score 0', "score='/fc/Gemm_output_0', --score /fc/Gemm_output_0")
    """
    return f"score={score!r}, --score {shlex.quote(str(score))}"


def _outer(path: str) -> Iterable[str]:
    """A layer's path, and those of the layers around it.

    Examples:
        >>> list(_outer("layer4.0.conv1"))
        ['layer4', 'layer4.0', 'layer4.0.conv1']
    """
    parts = path.split(".")
    return (".".join(parts[:count]) for count in range(1, len(parts) + 1))


def stated_shape(value: onnx.ValueInfoProto) -> str:
    """The shape of an input or output as the file states it, ``?`` for sizes that are free without a name."""
    tensor = value.type.tensor_type
    if not tensor.HasField("shape"):
        return ""
    return f" ({', '.join(str(d.dim_value or d.dim_param or '?')[:20] for d in tensor.shape.dim)})"
