"""One call of an ATen operator, as the table's entries read it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.fx import Node

from fullfield.engine.engines.emission.writer import GraphValue, GraphWriter
from fullfield.graph.calls import bind


@dataclass(frozen=True)
class OperatorCall:
    """One call.

    Args:
        node: the operator.
        values: what every node gives, as fake tensors.
        constants: tensors that do not depend on the program's inputs.
        written: of nodes, in the engine's graph.
    """

    node: Node
    values: Mapping[Node, Any]
    constants: Mapping[Node, Tensor]
    written: Mapping[Node, GraphValue] = field(default_factory=dict)
    args: dict[str, Any] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "args", bind(self.node))

    def __getitem__(self, name: str) -> Any:
        return self.args.get(name)

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the result."""
        return tuple(self.values[self.node].shape)

    def shape_of(self, name: str) -> tuple[int, ...]:
        """Of an argument; of a number none."""
        value = self.args[name]
        return tuple(self.values[value].shape) if isinstance(value, Node) else ()

    def fixed(self, name: str) -> Tensor | None:
        """An argument that does not depend on the program's inputs."""
        value = self.args.get(name)
        return self.constants.get(value) if isinstance(value, Node) else None

    def value(self, to: GraphWriter, name: str) -> GraphValue:
        """A tensor or a number among the arguments, as a value of the graph."""
        return self.written_value(to, self.args[name])

    def optional(self, to: GraphWriter, name: str) -> GraphValue | None:
        """The same; ``None`` where it is left out."""
        return None if self.args.get(name) is None else self.value(to, name)

    def several(self, to: GraphWriter, name: str) -> list[GraphValue]:
        """A list of tensors among the arguments."""
        return [self.written_value(to, value) for value in self.args[name]]

    def written_value(self, to: GraphWriter, value: Any) -> GraphValue:
        """A node or a number as a value of the graph; fixed tensors as floating-point numbers."""
        if not isinstance(value, Node):
            return number(to, value)
        if value in self.written:
            return self.written[value]
        tensor = self.constants[value]
        return to.constant(tensor if tensor.dtype == torch.float32 else tensor.float())

    def dims(self, name: str, of: str) -> list[int]:
        """Dimensions of argument ``of``, counted from 0, in their order; all where none are given."""
        rank = len(self.shape_of(of))
        given = self.args.get(name)
        if given is None or given == []:
            return list(range(rank))
        return sorted(d % rank for d in ([given] if isinstance(given, int) else given))


Entry = Callable[[GraphWriter, OperatorCall], Any]  # -> a value, or several of an operator that gives several


@dataclass(frozen=True)
class Translation:
    """How an operator is written.

    Args:
        write: writes one call.
        when: whether it can write a call.
    """

    write: Entry
    when: Callable[[OperatorCall], bool] = lambda call: True


def number(to: GraphWriter, value: float) -> GraphValue:
    """A number as a value."""
    if isinstance(value, float) and math.isinf(value):
        value = math.copysign(torch.finfo(torch.float32).max, value)
    return to.constant(torch.tensor(float(value)))
