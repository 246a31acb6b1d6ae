"""Takes networks that are trained for integers as the float networks that they approximate.

Training for integers (QAT) rounds weights and activations to what integers can hold. Weights stay rounded: they are
computed once. Activations are clamped to the range of the integers and not rounded, as in quantised ONNX files: a
rounding would turn the last bit of a sum into a whole step of the integers, and no two orders of a sum agree on it.

Source: Jacob et al. 2018, "Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only
Inference", section 3, arXiv 1712.05877; torch.ao.quantization, torchao.quantization.pt2e
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor
from torch.fx import Graph, GraphModule, Node

from fullfield.graph.attributes import free_name
from fullfield.graph.calls import bind, held_tensor
from fullfield.graph.shapes import propagate
from fullfield.layers.fake_quantise import along

aten = torch.ops.aten

READ_AS_FLOATS = "quantised, read as floats"
"""What the name of such a network says."""

_FAKE = "fullfield.fake_quantise"
_QUANTISE, _DEQUANTISE = "quantized_decomposed.quantize_per_", "quantized_decomposed.dequantize_per_"


def as_floats(graph: GraphModule, probe: Tensor) -> GraphModule | None:
    """The float network that a graph with rounding to integers approximates; ``None`` where nothing is rounded.

    Exact: no: activations are not rounded

    Args:
        graph: of ``torch.export``; it is not changed, and shares its tensors with the result.
        probe: windows that it takes.
    """
    if not any(map(_rounds, graph.graph.nodes)):
        return None
    copied = Graph()
    copied.output(copied.graph_copy(graph.graph, {}))
    made = GraphModule(graph, copied, type(graph).__name__)
    constants = _constants(made.graph)
    values = propagate(made, tuple(probe.shape), probe.dtype)
    ranks = {node: value.dim() for node, value in values.items() if isinstance(value, Tensor)}
    for node in list(filter(_rounds, made.graph.nodes)):
        x = node.args[0]
        emit = _Emitter(made, node, probe.dtype, ranks[x])
        integers = _integers(emit, constants)
        real = x if integers is None else _weights(emit, x, integers) if x in constants else _clamped(emit, x, integers)
        if x in constants:
            constants.add(real)
        ranks[real] = ranks[x]
        node.replace_all_uses_with(real)
    made.graph.eliminate_dead_code()
    made.recompile()
    return made


def _rounds(node: Node) -> bool:
    return node.op == "call_function" and any(_is(node, name) for name in (_FAKE, _QUANTISE, _DEQUANTISE))


def _is(node: Node, name: str) -> bool:
    """Whether a node calls an operator whose name begins so."""
    return str(node.target).startswith(name)


def _constants(graph: Graph) -> set[Node]:
    """The nodes that are computed from weights and numbers alone."""
    found: set[Node] = set()
    for node in graph.nodes:
        if node.op == "get_attr" or (node.op == "call_function" and found.issuperset(node.all_input_nodes)):
            found.add(node)
    return found


@dataclass(frozen=True)
class _Emitter:
    """Adds nodes to a graph before a rounding, to whose layer they belong; ``rank`` is that of what is rounded."""

    module: GraphModule
    node: Node
    dtype: torch.dtype
    rank: int

    def call(self, target: Any, *args: Any) -> Node:
        with self.module.graph.inserting_before(self.node):
            made = self.module.graph.call_function(target, args)
        made.meta = dict(self.node.meta)
        return made

    def numbers(self, value: Tensor, axis: int) -> Node:
        """A buffer of the network's type with numbers along an axis of what is rounded."""
        name = free_name(f"{self.node.name}_range", dir(self.module))
        self.module.register_buffer(name, along(value, self.rank, axis).to(self.dtype))
        with self.module.graph.inserting_before(self.node):
            made = self.module.graph.get_attr(name)
        made.meta = dict(self.node.meta)
        return made


@dataclass(frozen=True)
class _Integers:
    """Which real numbers integers represent: ``(q - zero) * scale`` with ``low <= q <= high``, along an axis or not."""

    scale: Tensor
    zero: Tensor
    low: int
    high: int
    axis: int


def _integers(emit: _Emitter, constants: set[Node]) -> _Integers | None:
    """The integers of a rounding; ``None`` where it is disabled, or where each input gives a range of its own."""
    given = bind(emit.node)
    names = ("scale", "scales"), ("zero", "zero_point", "zero_points"), ("low", "quant_min"), ("high", "quant_max")
    stated = [next((given[name] for name in each if given.get(name) is not None), 0) for each in names]
    numbers = [_number(emit.module, value, constants) for value in (*stated, given.get("enabled", True))]
    known = [number for number in numbers if number is not None]
    if len(known) < len(numbers) or not known[-1].all():
        return None
    scale, zero, low, high, _ = known
    return _Integers(scale.float(), zero.float().round(), int(low), int(high), given.get("axis", 0))


def _number(module: GraphModule, value: Any, constants: set[Node]) -> Tensor | None:
    """An argument's value; ``None`` where it depends on the input."""
    if not isinstance(value, Node):
        return torch.as_tensor(value)
    if value not in constants:
        return None
    if value.op == "get_attr":
        return held_tensor(module, value.target).detach()
    args, kwargs = torch.fx.node.map_arg((value.args, value.kwargs), lambda each: _number(module, each, constants))
    result: Tensor = cast(Any, value.target)(*args, **kwargs)
    return result


def _clamped(emit: _Emitter, x: Node, integers: _Integers) -> Node:
    """An activation, clamped to what the integers represent; what was clamped is not clamped again."""
    if _is(emit.node, _DEQUANTISE):
        return x
    ends = [(end - integers.zero) * integers.scale for end in (integers.low, integers.high)]
    if ends[0].numel() == 1:
        return emit.call(aten.clamp.default, x, *(float(end) for end in ends))
    return emit.call(aten.clamp.Tensor, x, *(emit.numbers(end, integers.axis) for end in ends))


def _weights(emit: _Emitter, x: Node, integers: _Integers) -> Node:
    """Weights, rounded to what the integers represent."""
    zero, scale = (emit.numbers(each, integers.axis) for each in (integers.zero, integers.scale))
    if not _is(emit.node, _DEQUANTISE):
        inverse = emit.numbers(integers.scale.reciprocal(), integers.axis)
        x = emit.call(aten.round.default, emit.call(aten.mul.Tensor, x, inverse))
        x = emit.call(aten.clamp.default, emit.call(aten.add.Tensor, x, zero), integers.low, integers.high)
    if _is(emit.node, _QUANTISE):
        return x
    return emit.call(aten.mul.Tensor, emit.call(aten.sub.Tensor, x, zero), scale)
