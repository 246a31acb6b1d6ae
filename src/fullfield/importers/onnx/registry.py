"""The table of operators, and ``OnnxCall``, the input of every mapping."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar, cast

from fullfield.importers.limits import LayerRefused
from fullfield.importers.onnx.builder import AtenBuilder
from fullfield.importers.onnx.values import Known, OnnxValue, Traced, listed

Body = Callable[[Sequence[OnnxValue]], tuple[OnnxValue, ...]]


@dataclass(frozen=True)
class OnnxCall:
    """One ONNX node with its input values.

    Args:
        inputs: ``None`` where an optional input is left out.
        outputs: number of outputs that are used.
        consumers: number of nodes and graph outputs that read each input.
    """

    op: str
    inputs: tuple[OnnxValue | None, ...]
    attributes: dict[str, Any]
    outputs: int
    opset: int
    consumers: tuple[int, ...]

    def input(self, index: int) -> OnnxValue:
        """A required input."""
        value = self.optional(index)
        if value is None:
            raise LayerRefused(f"lacks input {index}")
        return value

    def optional(self, index: int) -> OnnxValue | None:
        """An input that may be left out."""
        return self.inputs[index] if index < len(self.inputs) else None

    def known(self, index: int) -> Known:
        """A required input that must not depend on the pixels."""
        value = self.input(index)
        if isinstance(value, Traced):
            raise LayerRefused(f"input {index} depends on the pixels; only constants and shapes work there")
        return value

    def constant(self, index: int) -> Known | None:
        """An input if it is a constant that does not depend on the batch size."""
        value = self.optional(index)
        return value if isinstance(value, Known) and value.fixed else None

    def weight(self, index: int) -> OnnxValue | None:
        """An optional input, which becomes a parameter if it is a constant."""
        value = self.optional(index)
        return replace(value, learned=True) if isinstance(value, Known) else value

    def buffer(self, index: int) -> OnnxValue:
        """A required input, which becomes a buffer (not trained) if it is a constant."""
        value = self.input(index)
        return replace(value, learned=False) if isinstance(value, Known) else value

    def ints(self, name: str, default: Sequence[int] | None = None) -> list[int] | None:
        """A list attribute."""
        value = self.attributes.get(name)
        if value is None:
            return None if default is None else list(default)
        return [int(v) for v in value]

    def integer(self, name: str, default: int) -> int:
        """An integer attribute."""
        return int(self.attributes.get(name, default))

    def real(self, name: str, default: float) -> float:
        """A real attribute in its shortest decimal form: 0.2, not the nearest 32-bit float."""
        return shortest(self.attributes.get(name, default))

    def body(self, name: str) -> Body:
        """The graph in an attribute: a function of its inputs that maps its nodes and returns its outputs."""
        value = self.attributes.get(name)
        if not callable(value):
            raise LayerRefused(f"lacks the graph {name!r}")
        return cast(Body, value)

    def text(self, name: str, default: str) -> str:
        """A string attribute."""
        value = self.attributes.get(name, default)
        return value.decode() if isinstance(value, bytes) else str(value)

    def integers(self, name: str, index: int) -> list[int] | None:
        """A list that is an attribute in older opsets and a constant input in newer ones."""
        if name in self.attributes:
            return self.ints(name)
        if self.optional(index) is None:
            return None
        numbers = self.known(index)
        if not numbers.fixed:
            raise LayerRefused(f"{name} depends on the batch")
        return listed(numbers.tensors[0])


def shortest(value: float) -> float:
    """The shortest decimal that rounds to the same 32-bit float."""
    import numpy as np

    single = np.float32(value)
    return float(str(single)) if float(single) == value else float(value)


OperatorMapping = Callable[[AtenBuilder, OnnxCall], "OnnxValue | tuple[OnnxValue | None, ...]"]
"""Makes the values of a node; ``None`` for those that are not computed, and that no other node may read."""
REGISTRY: dict[str, OperatorMapping] = {}


_Mapping = TypeVar("_Mapping", bound=OperatorMapping)


def operator(*names: str) -> Callable[[_Mapping], _Mapping]:
    """Registers a mapping for ONNX operators."""

    def enter(mapping: _Mapping) -> _Mapping:
        for name in names:
            assert name not in REGISTRY, name
            REGISTRY[name] = mapping
        return mapping

    return enter
