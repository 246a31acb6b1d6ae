"""The fields of a Torch module, read with their types checked."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn

from fullfield.importers.limits import Refusal
from fullfield.importers.torch7.reader import Object, Table

LARGEST = 2**31


class Fields:
    """Typed access to the fields of one module.

    Raises:
        Refusal: in every method, where a field is missing or of another kind.
    """

    def __init__(self, source: Object) -> None:
        self.kind, self.version, self._fields = source.kind, source.version, source.fields

    def has(self, name: str) -> bool:
        """Whether the field is there and not nil."""
        return self._fields.get(name) is not None

    def number(self, name: str, default: float | None = None) -> float:
        """A finite number."""
        value = self._fields.get(name)
        if value is None and default is not None:
            return default
        if not isinstance(value, float) or not math.isfinite(value):
            raise Refusal(f"{name} is {_short(value)}, not a number")
        return value

    def integer(self, name: str, default: int | None = None, *, least: int | None = None) -> int:
        """A whole number below 2**31."""
        value = self.number(name, default)
        if value != int(value) or abs(value) > LARGEST or (least is not None and value < least):
            raise Refusal(f"{name} is {value:g}, not a whole number" + ("" if least is None else f" from {least} up"))
        return int(value)

    def pair(self, name: str, default: int | None = None, *, least: int = 0) -> tuple[int, int]:
        """``<name>H`` and ``<name>W``: along y, then along x."""
        return self.integer(f"{name}H", default, least=least), self.integer(f"{name}W", default, least=least)

    def flag(self, name: str, default: bool) -> bool:
        """Lua's truth: all but false and nil are true; the default where the field is missing."""
        value = self._fields.get(name)
        return default if value is None else value is not False

    def tensor(self, name: str) -> torch.Tensor:
        """A tensor's own copy, float32, or float64 where the file has doubles."""
        value = self._fields.get(name)
        if not isinstance(value, torch.Tensor) or not value.numel():
            raise Refusal(f"{name} is {_short(value)}, not a tensor with numbers")
        if value.numel() > max(value.untyped_storage().nbytes() // value.element_size(), 1):
            raise Refusal(f"{name} has more numbers than its storage")
        return value.to(torch.float64 if value.dtype == torch.float64 else torch.float32).contiguous().clone()

    def parameter(self, name: str, shape: tuple[int, ...]) -> nn.Parameter:
        """A tensor that is learned, in the shape that the module needs."""
        value = self.tensor(name)
        if value.numel() != math.prod(shape):
            wanted = "x".join(map(str, shape))
            raise Refusal(f"{name} of {'x'.join(map(str, value.shape))} where the layer needs {wanted}")
        return nn.Parameter(value.reshape(shape))

    def sizes(self, name: str) -> list[int]:
        """The numbers of a ``LongStorage``."""
        value = self._fields.get(name)
        if not isinstance(value, torch.Tensor) or value.dim() != 1 or value.is_floating_point() or len(value) > 16:
            raise Refusal(f"{name} is {_short(value)}, not a list of sizes")
        return [int(n) for n in value]

    def table(self, name: str) -> list[Any]:
        """The entries 1, 2, ... of a table."""
        value = self._fields.get(name)
        if not isinstance(value, dict):
            raise Refusal(f"{name} is {_short(value)}, not a table")
        return entries(value)

    def modules(self) -> list[Object]:
        """The modules of a container."""
        found = self.table("modules")
        if not all(isinstance(entry, Object) for entry in found):
            raise Refusal("modules holds something else than modules")
        return found


def entries(table: Table) -> list[Any]:
    """The values at 1, 2, ... up to the first gap."""
    found: list[Any] = []
    while len(found) + 1 in table:
        found.append(table[len(found) + 1])
    return found


def _short(value: Any) -> str:
    if value is None:
        return "missing"
    return value.kind[:60] if isinstance(value, Object) else f"a {type(value).__name__}"
