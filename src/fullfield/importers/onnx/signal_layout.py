"""Finds whether an ONNX input is a signal, or has one band, by its first convolution or recurrent layer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import onnx

from fullfield.importers.onnx.input_layout import KEEPS, constant_tensors, ints_of, listed_input
from fullfield.model.signals import SignalAxes

_SAME_AXES = KEEPS | {
    "BatchNormalization", "Concat", "DequantizeLinear", "Elu", "Gelu", "InstanceNormalization", "LayerNormalization",
    "LeakyRelu", "LpNormalization", "MeanVarianceNormalization", "Pad", "QuantizeLinear", "Slice", "Split",
}  # fmt: skip
_RECURRENT = frozenset({"LSTM", "GRU", "RNN"})

InputAxis = int | Literal["new"] | None
"""An axis of the input, one of size 1 that the file adds, or a mixture."""
InputAxes = tuple[InputAxis, ...]
Sizes = Sequence[int | None]
_NEW: InputAxes = ("new",)


@dataclass(frozen=True)
class SignalLayout:
    """The order of a signal's axes, and its channels; ``None`` if the file does not state them."""

    axes: SignalAxes
    channels: int | None


def signal_layout(graph: onnx.GraphProto, entry: onnx.ValueInfoProto) -> SignalLayout | None:
    """How an input of two or three axes is read as a signal; ``None`` where it is none."""
    walk = _Walk(graph, _sizes(entry))
    first = walk.first_layer(entry.name)
    return None if first is None else walk.read(*first)


def has_one_band(graph: onnx.GraphProto, entry: onnx.ValueInfoProto) -> bool:
    """Whether an input of three axes is ``(n, h, w)``: images of one band, without an axis for it.

    The first convolution tells; without one, only the batch is free.
    """
    sizes = _sizes(entry)
    first = _Walk(graph, sizes).first_layer(entry.name)
    return sizes[0] is None and None not in sizes[1:] if first is None else first[1] == (0, "new", 1, 2)


def _sizes(entry: onnx.ValueInfoProto) -> Sizes:
    return [max(dim.dim_value, 0) or None for dim in entry.type.tensor_type.shape.dim]


class _Walk:
    """Follows the axes of an input through the nodes of a graph."""

    def __init__(self, graph: onnx.GraphProto, sizes: Sizes) -> None:
        self.nodes, self.sizes = graph.node, sizes
        self.constants = constant_tensors(graph)
        self.makers = {output: node for node in graph.node for output in node.output}

    def first_layer(self, name: str) -> tuple[onnx.NodeProto, InputAxes] | None:
        """The first convolution, or recurrent layer, that reads the input, and the order in which it does.

        Its axes are followed through arithmetic, transposes and changes of rank.
        """
        known: dict[str, InputAxes] = {name: tuple(range(len(self.sizes)))}
        for node in self.nodes:
            axes = max((known[name] for name in node.input if name in known), key=len, default=None)
            if axes is None:
                continue
            if node.op_type == "Conv" or node.op_type in _RECURRENT:
                return node, axes
            after = self.after(node, axes)
            if after:
                known.update(dict.fromkeys(node.output, after))
        return None

    def after(self, node: onnx.NodeProto, axes: InputAxes) -> InputAxes | None:
        """The axes of what a node makes; ``None`` if they are not known."""
        if node.op_type in _SAME_AXES:
            ranks = [len(self.constants[name].dims) for name in node.input if name in self.constants]
            added = max(ranks, default=0) - len(axes) if node.op_type in KEEPS else 0
            return (*_NEW * added, *axes)
        if node.op_type == "Transpose":
            order = ints_of(node, "perm") or list(reversed(range(len(axes))))
            return tuple(axes[axis] for axis in order) if sorted(order) == list(range(len(axes))) else None
        if node.op_type == "MatMul" and len(axes) == 3:
            return (*axes[:-1], None) if len(self._shape(node, 1)) == 2 else None
        if node.op_type in ("Unsqueeze", "Squeeze"):
            return self._of_rank(node, axes)
        if node.op_type == "Gather":
            return self._gathered(node, axes)
        return self._reshaped(node, axes) if node.op_type == "Reshape" else None

    def _shape(self, node: onnx.NodeProto, index: int) -> list[int]:
        found = self.constants.get(node.input[index]) if index < len(node.input) else None
        return [] if found is None else list(found.dims)

    def _of_rank(self, node: onnx.NodeProto, axes: InputAxes) -> InputAxes | None:
        """With axes of size 1 put in, or taken out."""
        places = ints_of(node, "axes") or listed_input(node, 1, self.constants)
        if not places:
            alone = node.op_type == "Squeeze" and len(node.input) < 2
            return tuple(axis for axis in axes if axis == 0 or not self._is_one(axis)) if alone else None
        rank = len(axes) + len(places) if node.op_type == "Unsqueeze" else len(axes)
        chosen = {place % rank for place in places}
        if node.op_type == "Squeeze":
            return tuple(axis for place, axis in enumerate(axes) if place not in chosen)
        rest = iter(axes)
        return tuple("new" if place in chosen else next(rest, None) for place in range(rank))

    def _gathered(self, node: onnx.NodeProto, axes: InputAxes) -> InputAxes | None:
        """Without the axis of which one number is taken."""
        indices = self.constants.get(node.input[1]) if len(node.input) > 1 else None
        if indices is None or len(indices.dims) > 1:
            return None
        place = (ints_of(node, "axis") or [0])[0] % len(axes)
        return axes if indices.dims else axes[:place] + axes[place + 1 :]

    def _reshaped(self, node: onnx.NodeProto, axes: InputAxes) -> InputAxes | None:
        """In the order in which they were, between axes of size 1; samples cut into frames are a mixture."""
        shape: Sizes = ints_of(node, "shape") or (self._shape_asked(node.input[1]) if len(node.input) > 1 else [])
        if not shape or axes[0] != 0:
            return None
        kept = [axis for axis in axes[1:] if not self._is_one(axis)]
        places = [place for place, size in enumerate(shape) if place and size != 1]
        if len(kept) == len(places) and all(map(self._fits, kept, (shape[place] for place in places))):
            found = dict(zip(places, kept, strict=True))
            return (0, *(found.get(place, "new") for place in range(1, len(shape))))
        return (0, None, None) if len(shape) == 3 else None

    def _shape_asked(self, name: str) -> Sizes:
        """The numbers of a shape; ``None`` for each that the file computes from the input."""
        node = self.makers.get(name)
        parts = node.input if node is not None and node.op_type == "Concat" else [name]
        found: list[int | None] = []
        for part in parts:
            found += listed_input(onnx.NodeProto(input=[part]), 0, self.constants) or [None]
        return found

    def _is_one(self, axis: InputAxis) -> bool:
        return axis == "new" or (axis is not None and self.sizes[axis] == 1)

    def _fits(self, axis: InputAxis, size: int | None) -> bool:
        before = None if axis is None or axis == "new" else self.sizes[axis]
        return before is None or size is None or size <= 0 or size == before

    def read(self, node: onnx.NodeProto, axes: InputAxes) -> SignalLayout | None:
        """The layout of a signal whose axes a layer reads in this order; ``None`` where they are no signal's."""
        recurrent, shape = node.op_type in _RECURRENT, self._shape(node, 1)
        if len(axes) not in ((3,) if recurrent else (3, 4)):
            return None
        batch_first = not recurrent or ints_of(node, "layout") == [1]
        windows = axes[0] if batch_first else axes[1]
        channel, places = (axes[2], axes[:2]) if recurrent else (axes[1], axes[2:])
        samples = [axis for axis in places if axis != "new" and axis != 0]
        if windows != 0 or len(samples) != 1 or (samples[0] is None and len(axes) == 4):
            return None
        if len(self.sizes) == 2:
            return SignalLayout("nt", 1)
        order: SignalAxes = "ntc" if samples[0] == 1 else "nct"
        other = 2 if order == "ntc" else 1
        groups = (ints_of(node, "group") or [1])[0]
        read = shape[2] if recurrent else shape[1] * groups if len(shape) > 1 else None
        return SignalLayout(order, self.sizes[other] or (read if channel == other else None))
