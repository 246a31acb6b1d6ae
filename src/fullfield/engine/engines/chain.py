"""A lowered program as a chain of an engine's programs, with moves between them in torch."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from operator import getitem
from typing import Any

import torch
from torch import Tensor, nn
from torch.fx import Graph, GraphModule, Node

from fullfield.engine.engines.emission.table import TO_CELLS_LAST, TO_CHANNELS_FIRST, memory_shape, supports
from fullfield.engine.engines.split import Part, fixed_nodes, split
from fullfield.engine.heap import trim, trim_excess_within_tile
from fullfield.graph.calls import held_tensor, op_name
from fullfield.graph.shape_rules import known_result
from fullfield.graph.shapes import signature
from fullfield.lower.inplace import NEW_MEMORY, reuse

aten = torch.ops.aten
Run = Callable[[Sequence[Tensor], Sequence[Tensor]], None]  # contiguous inputs, memory of the outputs


@dataclass(frozen=True)
class UncompiledPart:
    """A part that an engine is to compile.

    Args:
        part: its nodes.
        values: what every node gives, as tensors without data.
        constants: tensors that do not depend on the program's inputs.
    """

    part: Part
    values: Mapping[Node, Any]
    constants: Mapping[Node, Tensor]


class EnginePart(nn.Module):
    """One program of an engine. Maps come and go as ``(n, c, y, x)``, in channels-last memory.

    It is compiled when it first runs, and what that took is handed back to the system: until it has run OpenVINO holds
    memory for its inputs, of which all parts of a tile together have several times what is in use at once.

    Args:
        compile_part: makes the program.
        shapes: of the outputs, as the engine writes them.
    """

    def __init__(self, compile_part: Callable[[], Run], shapes: Sequence[tuple[int, ...]]) -> None:
        super().__init__()
        self.compile_part, self.shapes = compile_part, tuple(shapes)
        self.lock = threading.Lock()
        self.compiled: Run | None = None

    def run(self, inputs: Sequence[Tensor], outputs: Sequence[Tensor]) -> None:
        """Computes the outputs, in their memory."""
        with self.lock:
            if first := self.compiled is None:
                self.compiled = self.compile_part()
                del self.compile_part
        self.compiled(inputs, outputs)
        if first:
            trim()
        else:
            trim_excess_within_tile()

    def release(self) -> None:
        """Frees the program; it does not run again."""
        self.compiled = None
        self.__dict__.pop("compile_part", None)

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """The outputs."""
        read = [(x.permute(TO_CELLS_LAST) if x.dim() == 4 else x).contiguous() for x in inputs]
        written = [torch.empty(shape, dtype=torch.float32) for shape in self.shapes]
        self.run(read, written)
        return tuple(y.permute(TO_CHANNELS_FIRST) if y.dim() == 4 else y for y in written)


def chained(
    module: GraphModule, inputs: Sequence[Tensor], compile_part: Callable[[UncompiledPart], Run]
) -> tuple[GraphModule, list[Tensor]]:
    """A lowered program as a chain, and its results as tensors without data.

    Args:
        module: the program, without operators that write in place.
        inputs: its inputs, as tensors without data.
        compile_part: makes an engine's program of a part.
    """
    parts, values, constants = divided(module, inputs)
    root, graph = nn.Module(), Graph()
    new = {n: graph.placeholder(n.name) for n in module.graph.nodes if n.op == "placeholder"}

    def known(node: Node) -> Node:
        """A node in the new graph; a fixed tensor when it is first read there."""
        if node not in new:
            name = f"fixed_{len(new)}"
            root.register_buffer(name, constants[node], persistent=False)
            new[node] = graph.get_attr(name)
        return new[node]

    for part, number in zip(parts, itertools.count()):
        if part.engine:
            name = f"part_{number}"
            compiled = partial(compile_part, UncompiledPart(part, values, constants))
            root.add_module(name, EnginePart(compiled, [memory_shape(tuple(values[n].shape)) for n in part.outputs]))
            call = graph.call_module(name, tuple(known(n) for n in part.inputs))
            for k, node in enumerate(part.outputs):
                new[node] = graph.call_function(getitem, (call, k))
                new[node].meta[NEW_MEMORY] = True
        else:
            for node in part.nodes:
                new[node] = graph.node_copy(node, known)
                if op_name(node) in ("view", "_unsafe_view"):  # memory may be in another order than in torch
                    new[node].target = aten.reshape.default
    (output,) = [n for n in module.graph.nodes if n.op == "output"]
    graph.output(torch.fx.node.map_arg(output.args[0], known))
    reuse(graph)
    return GraphModule(root, graph, "Chain"), results_of(module, values)


def results_of(module: GraphModule, values: Mapping[Node, Any]) -> list[Tensor]:
    """What a program returns, as tensors without data."""
    ((returned,),) = (n.args for n in module.graph.nodes if n.op == "output")
    return [values[n] for n in (returned if isinstance(returned, tuple) else [returned])]


def divided(
    module: GraphModule, inputs: Sequence[Tensor]
) -> tuple[list[Part], Mapping[Node, Any], Mapping[Node, Tensor]]:
    """The parts of a lowered program, what every node gives, as tensors without data, and the fixed tensors.

    Args:
        module: the program, without operators that write in place.
        inputs: its inputs, as tensors without data.
    """
    fixed = fixed_nodes(module.graph)
    constants = _constants(module, fixed)
    values = _values(module.graph, inputs, constants)
    return split(module.graph, values, fixed, lambda node: supports(node, values, constants)), values, constants


def _constants(module: GraphModule, fixed: set[Node]) -> dict[Node, Tensor]:
    """The tensors that do not depend on the program's inputs, weights in the network's own memory."""
    found: dict[Node, Any] = {}
    for node in (n for n in module.graph.nodes if n in fixed):
        if node.op == "get_attr":
            found[node] = held_tensor(module, node.target).detach()
        else:
            args, kwargs = torch.fx.node.map_arg((node.args, node.kwargs), found.__getitem__)
            with torch.no_grad():
                found[node] = node.target(*args, **kwargs)
    return found


def _values(graph: Graph, inputs: Sequence[Tensor], constants: Mapping[Node, Tensor]) -> dict[Node, Any]:
    """What every node gives, as tensors without data, in plain order; calls of equal arguments are made once.

    torch infers what no rule knows; of some operators only after importing its compiler, which takes a second.
    """
    found: dict[Node, Any] = {node: _plain(tensor) for node, tensor in constants.items()}
    placeholders = (node for node in graph.nodes if node.op == "placeholder")
    found |= dict(zip(placeholders, inputs, strict=True))
    known: dict[Hashable, Any] = {}
    with torch.no_grad():
        for node in graph.nodes:
            if node.op != "call_function" or node in found:
                continue
            args, kwargs = torch.fx.node.map_aggregate(
                torch.fx.node.map_arg((node.args, node.kwargs), found.__getitem__), _without_device
            )
            key = signature((node.target, args, kwargs))
            if key not in known:
                result = known_result(node.target, args, kwargs)
                known[key] = _plain(node.target(*args, **kwargs) if result is None else result)
            found[node] = known[key]
    return found


def _plain(value: Any) -> Any:
    """A tensor of the same shape without data, its memory in the order of its dimensions; tensors in sequences too."""
    if isinstance(value, Tensor):
        return torch.empty(value.shape, dtype=value.dtype, device="meta")
    return type(value)(map(_plain, value)) if isinstance(value, (list, tuple)) else value


def _without_device(value: Any) -> Any:
    """Tensors without data lie on a device of their own."""
    return torch.device("meta") if isinstance(value, torch.device) else value
