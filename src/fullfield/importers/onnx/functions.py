"""Replaces the calls of a file's own functions by their nodes, after these are counted."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import onnx
import onnx.inliner

from fullfield.errors import CaptureError, first_line
from fullfield.importers.limits import broken

MOST_NODES = 50_000
"""The most nodes that the scores depend on; the largest classifiers have a few thousand."""
FREE_NODES = 2_000
NODES_PER_NODE = 16
"""The most nodes after the functions are replaced, for each node that is written in the file, beyond those free."""
MOST_LEVELS = 100

FunctionKey = tuple[str, str, str]


def drop_dead_nodes(graph: onnx.GraphProto, output: str) -> None:
    """Removes the nodes that the output does not depend on."""
    names, kept = {output}, []
    for node in reversed(graph.node):
        if not names.isdisjoint(node.output):
            kept.append(node)
            names.update(node.input)
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
    written = len(model.graph.node) + sum(len(function.node) for function in model.functions)
    most = min(MOST_NODES, max(len(model.graph.node), FREE_NODES + NODES_PER_NODE * written))
    if nodes > most:
        raise CaptureError(
            str(path),
            f"has {nodes:,} nodes after its functions are replaced by theirs, more than the {most:,} that are read",
            fix="export the network again, or simplify it with onnxsim",
        )
    if size > cap_bytes:
        raise broken(path, f"its functions take {size} bytes where they are called, more than {cap_bytes}")
    if not model.functions or nodes == len(model.graph.node):
        return model
    try:
        return onnx.inliner.inline_local_functions(model)
    except Exception as error:  # the inliner raises many types for a damaged file
        raise broken(path, f"its functions cannot be inlined ({first_line(error)})") from error


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
