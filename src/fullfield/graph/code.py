"""Makes the code of programs. torch's own writer, which knows more kinds of nodes, takes five times as long."""

from __future__ import annotations

import math
import re
from collections import defaultdict
from functools import reduce
from typing import Any

from torch.fx import GraphModule, Node

from fullfield.graph.rewriting import make_code

_WRITTEN = frozenset(("placeholder", "get_attr", "call_function", "output"))


def make_program_code(module: GraphModule) -> None:
    """Makes the code of a module that only calls functions, now and not at its first call; changed in place.

    It is torch's own code without annotations: each value is freed after its last reader.
    """
    nodes = list(module.graph.nodes)
    if any(node.op not in _WRITTEN for node in nodes):
        make_code(module)
        return
    writer = _Writer(nodes)
    module._code = writer.method()
    exec(compile(module._code, f"<{type(module).__name__}>", "exec"), writer.constants)  # noqa: S102 - as torch does
    type(module).forward = writer.constants["forward"]


class _Writer:
    """Writes the source of a method, and collects what it names: functions, and values that are no text.

    Args:
        nodes: of a graph.
    """

    def __init__(self, nodes: list[Node]) -> None:
        self.nodes = nodes
        self.constants: dict[str, Any] = {}
        self._names: dict[int, str] = {}  # of constants, by identity
        self._prefix = "_" * (1 + max(len(node.name) - len(node.name.lstrip("_")) for node in nodes))

    def method(self) -> str:
        """The nodes in their order."""
        ended = _ended(self.nodes)
        inputs = ["self", *(str(node.target) for node in self.nodes if node.op == "placeholder")]
        lines = [f"def forward({', '.join(inputs)}):"]
        for node in self.nodes:
            text = self._statement(node)
            if ended[node]:
                text += f"; {' = '.join(last.name for last in ended[node])} = None"
            lines.append(f"    {text}")
        return "\n".join(lines) + "\n"

    def _statement(self, node: Node) -> str:
        """What computes a node."""
        if node.op == "output":
            return f"return {self._text(node.args[0])}"
        if node.op == "placeholder":
            return f"{node.name} = {node.target}"
        if node.op == "get_attr":
            return f"{node.name} = {reduce(_attribute, str(node.target).split('.'), 'self')}"
        given = [*map(self._text, node.args), *(f"{key} = {self._text(value)}" for key, value in node.kwargs.items())]
        return f"{node.name} = {self._constant(node.target)}({', '.join(given)})"

    def _text(self, value: Any) -> str:
        """An argument."""
        kind = type(value)
        if kind is Node:
            return str(value.name)
        if value is None or kind in (int, bool, str) or (kind is float and math.isfinite(value)):
            return repr(value)
        if isinstance(value, list):
            return f"[{', '.join(map(self._text, value))}]"
        if isinstance(value, tuple):
            return f"({''.join(f'{self._text(part)}, ' for part in value)})"
        if isinstance(value, dict):
            return f"{{{', '.join(f'{key!r}: {self._text(part)}' for key, part in value.items())}}}"
        if isinstance(value, slice):
            return f"slice({self._text(value.start)}, {self._text(value.stop)}, {self._text(value.step)})"
        return self._constant(value)

    def _constant(self, value: Any) -> str:
        """The name of a value that is no text."""
        if id(value) not in self._names:
            words = re.sub(r"\W", "_", getattr(value, "__name__", type(value).__name__))
            name = self._names[id(value)] = f"{self._prefix}{words}_{len(self._names)}"
            self.constants[name] = value
        return self._names[id(value)]


def _attribute(owner: str, name: str) -> str:
    """An attribute of an object, whatever its name."""
    return f"{owner}.{name}" if name.isidentifier() else f"getattr({owner}, {name!r})"


def _ended(nodes: list[Node]) -> dict[Node, list[Node]]:
    """The values that are not read after a node, by the node."""
    seen: set[Node] = set()
    found: dict[Node, list[Node]] = defaultdict(list)
    for node in reversed(nodes):
        if node.op == "output":
            seen.update(node.all_input_nodes)
            continue
        last = [n for n in node.all_input_nodes if n not in seen]
        seen.update(last)
        found[node] = last if node.users or node.op == "placeholder" else [*last, node]
    return found
