"""Replaces the calls of a file's own functions by their nodes, after these are counted."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from pathlib import Path

import onnx
import onnx.inliner

from fullfield.errors import CaptureError, first_line
from fullfield.importers.limits import broken
from fullfield.importers.onnx.registry import REGISTRY
from fullfield.importers.onnx.subgraphs import all_graphs, inner_graphs, read_names

MOST_NODES = 50_000
"""The most nodes that the scores depend on; the largest classifiers have a few thousand."""
FREE_NODES = 2_000
NODES_PER_NODE = 16
"""The most nodes after the functions are replaced, for each node that is written in the file, beyond those free."""
MOST_LEVELS = 100
_NODES_PER_OPERATOR = 100  # of one that ONNX defines by others
FunctionKey = tuple[str, str, str]


def drop_dead_nodes(graph: onnx.GraphProto, output: str) -> None:
    """Removes the nodes that the output does not depend on."""
    names, kept = {output}, []
    for node in reversed(graph.node):
        if not names.isdisjoint(node.output):
            kept.append(node)
            names.update(read_names(node))
    if len(kept) < len(graph.node):
        copies = [onnx.NodeProto.FromString(node.SerializeToString()) for node in reversed(kept)]
        del graph.node[:]
        graph.node.extend(copies)


def inline(model: onnx.ModelProto, path: Path, *, cap_bytes: int) -> onnx.ModelProto:
    """The model with the nodes of its functions in the place of their calls.

    Raises:
        CaptureError: these are too many nodes or bytes, or the functions are damaged.
    """
    counts = _Expansion(model, path)
    nodes, size = counts.of(model.graph.node)
    most = min(MOST_NODES, max(len(model.graph.node), most_nodes(model)))
    if nodes > most:
        raise CaptureError(
            str(path),
            f"has {nodes:,} nodes after its functions are replaced by theirs, more than the {most:,} that are read",
            fix="export the network again, or simplify it with onnxsim",
        )
    if size > cap_bytes:
        raise broken(path, f"its functions take {size} bytes where they are called, more than {cap_bytes}")
    try:
        if model.functions and nodes != len(model.graph.node):
            model = onnx.inliner.inline_local_functions(model)
        return _without_composed(model, path)
    except CaptureError:
        raise
    except Exception as error:  # the inliner raises many types for a damaged file
        raise broken(path, f"its functions cannot be inlined ({first_line(error)})") from error


def most_nodes(model: onnx.ModelProto) -> int:
    """The most nodes that functions and loops may make of those that are written in the file."""
    written = _size(model) + sum(len(function.node) for function in model.functions)
    return min(MOST_NODES, FREE_NODES + NODES_PER_NODE * written)


def _without_composed(model: onnx.ModelProto, path: Path) -> onnx.ModelProto:
    """The model without operators that ONNX defines by others and that the table lacks.

    Raises:
        CaptureError: these would be too many nodes.
    """
    for _ in range(MOST_LEVELS):
        before = _size(model)
        nodes = (node for graph in all_graphs(model.graph) for node in graph.node)
        names = [node.op_type for node in nodes if node.domain in ("", "ai.onnx")]
        composed = [name for name in names if name not in REGISTRY and name in _composed()]
        if not composed:
            break
        if before + _NODES_PER_OPERATOR * len(composed) > MOST_NODES:
            what = f"has {len(composed):,} operators that ONNX defines by others, too many to replace"
            raise CaptureError(str(path), what, fix="export the network again, in an older opset")
        known = {value.name for value in model.graph.value_info}
        for tensor in model.graph.initializer:  # the inliner needs their types
            if tensor.name not in known:
                model.graph.value_info.add(name=tensor.name).type.tensor_type.elem_type = tensor.data_type
        functions = [("", name) for name in sorted(set(composed))]
        model = onnx.inliner.inline_selected_functions(model, functions, inline_schema_functions=True)
        if _size(model) == before:
            break
    return model


@cache
def _composed() -> frozenset[str]:
    """The operators that ONNX defines by others; to list them takes a twentieth of a second."""
    kinds = ("has_function", "has_context_dependent_function")
    schemas = (schema for schema in onnx.defs.get_all_schemas() if not schema.domain)
    return frozenset(schema.name for schema in schemas if any(getattr(schema, kind, False) for kind in kinds))


def _size(model: onnx.ModelProto) -> int:
    """The number of nodes, those in graphs inside others counted too."""
    return sum(len(graph.node) for graph in all_graphs(model.graph))


class _Expansion:
    """Counts nodes and bytes as they are after functions are replaced, without replacing any."""

    def __init__(self, model: onnx.ModelProto, path: Path) -> None:
        self.path = path
        self.functions = {(f.domain, f.name, f.overload): f for f in model.functions}
        self.known: dict[FunctionKey, tuple[int, int]] = {}
        self.open: list[FunctionKey] = []

    def of(self, nodes: Iterable[onnx.NodeProto]) -> tuple[int, int]:
        """Numbers of nodes and of bytes."""
        total, size = 0, 0
        for node in nodes:
            key = (node.domain, node.op_type, node.overload)
            count, each = self._function(key) if key in self.functions else (1, node.ByteSize())
            total, size = total + count, size + each
            for inner in inner_graphs(node):
                count, each = self.of(inner.node)
                total, size = total + count, size + each
        return total, size

    def _function(self, key: FunctionKey) -> tuple[int, int]:
        if key not in self.known:
            if key in self.open or len(self.open) >= MOST_LEVELS:
                why = "calls itself" if key in self.open else f"is called {MOST_LEVELS} functions deep"
                raise broken(self.path, f"the function {key[1]!r} {why}")
            self.open.append(key)
            self.known[key] = self.of(self.functions[key].node)
            self.open.pop()
        return self.known[key]
