"""The one table of operators, and what a mapping is given."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from fullfield.importers.onnx.builder import Builder, Refusal
from fullfield.importers.onnx.values import Known, Traced, Value

__all__ = ["REGISTRY", "Call", "Mapping", "Refusal", "operator"]


@dataclass(frozen=True)
class Call:
    """One ONNX node with its inputs looked up.

    Args:
        inputs: ``None`` where an optional input is left out.
        outputs: count of outputs that the node names.
        consumers: count of nodes and graph outputs that read each input.
    """

    op: str
    inputs: tuple[Value | None, ...]
    attributes: dict[str, Any]
    outputs: int
    opset: int
    consumers: tuple[int, ...]

    def input(self, index: int) -> Value:
        """A required input."""
        value = self.optional(index)
        if value is None:
            raise Refusal(f"lacks input {index}")
        return value

    def optional(self, index: int) -> Value | None:
        """An input that may be left out."""
        return self.inputs[index] if index < len(self.inputs) else None

    def known(self, index: int) -> Known:
        """A required input whose numbers must be known at import."""
        value = self.input(index)
        if isinstance(value, Traced):
            raise Refusal(f"input {index} depends on the pixels; only constants and shapes work there")
        return value

    def constant(self, index: int) -> Known | None:
        """An input when it is a constant, the same at every batch size."""
        value = self.optional(index)
        return value if isinstance(value, Known) and value.fixed else None

    def weight(self, index: int) -> Value | None:
        """An optional input that becomes a parameter when it is a constant."""
        value = self.optional(index)
        return replace(value, learned=True) if isinstance(value, Known) else value

    def buffer(self, index: int) -> Value:
        """A required input that becomes a buffer when it is a constant: not trained."""
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
        """A real attribute, as written: 0.2 and not its nearest 32-bit float."""
        return _shortest(self.attributes.get(name, default))

    def text(self, name: str, default: str) -> str:
        """A string attribute."""
        value = self.attributes.get(name, default)
        return value.decode() if isinstance(value, bytes) else str(value)

    def integers(self, name: str, index: int) -> list[int] | None:
        """A list that older opsets give as an attribute and newer ones as a constant input."""
        if name in self.attributes:
            return self.ints(name)
        if self.optional(index) is None:
            return None
        numbers = self.known(index)
        if not numbers.fixed:
            raise Refusal(f"{name} depends on the batch")
        return [int(v) for v in numbers.at[0].reshape(-1).tolist()]


def _shortest(value: float) -> float:
    """The shortest decimal that is the same 32-bit float."""
    import numpy as np

    single = np.float32(value)
    return float(str(single)) if float(single) == value else float(value)


Mapping = Callable[[Builder, Call], "Value | tuple[Value, ...]"]
REGISTRY: dict[str, Mapping] = {}


def operator(*names: str) -> Callable[[Mapping], Mapping]:
    """Enters a mapping under its ONNX operators' names."""

    def enter(mapping: Mapping) -> Mapping:
        for name in names:
            assert name not in REGISTRY, name
            REGISTRY[name] = mapping
        return mapping

    return enter
