"""Typed access to the fields of a Torch7 module."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn

from fullfield.importers.limits import LayerRefused
from fullfield.importers.torch7.reader import LuaObject, LuaTable
from fullfield.text import size_text

LARGEST = 2**31


class Fields:
    """Typed access to the fields of one module.

    Raises:
        LayerRefused: in every method, if a field is missing or has another type.
    """

    def __init__(self, source: LuaObject) -> None:
        self.kind, self.version, self._fields = source.kind, source.version, source.fields

    def has(self, name: str) -> bool:
        """Whether the field exists and is not nil."""
        return self._fields.get(name) is not None

    def number(self, name: str, default: float | None = None) -> float:
        """A finite number."""
        value = self._fields.get(name)
        if value is None and default is not None:
            return default
        if not isinstance(value, float) or not math.isfinite(value):
            raise LayerRefused(f"{name} is {_short(value)}, not a number")
        return value

    def integer(self, name: str, default: int | None = None, *, least: int | None = None) -> int:
        """A whole number below 2**31."""
        value = self.number(name, default)
        if value != int(value) or abs(value) > LARGEST or (least is not None and value < least):
            raise LayerRefused(
                f"{name} is {value:g}, not a whole number" + ("" if least is None else f" from {least} up")
            )
        return int(value)

    def pair(self, name: str, default: int | None = None, *, least: int = 0) -> tuple[int, int]:
        """``<name>H`` and ``<name>W``: along y and x."""
        return self.integer(f"{name}H", default, least=least), self.integer(f"{name}W", default, least=least)

    def flag(self, name: str, default: bool) -> bool:
        """Lua's truth value: all but false and nil are true; the default if the field is missing."""
        value = self._fields.get(name)
        return default if value is None else value is not False

    def tensor(self, name: str) -> torch.Tensor:
        """A copy of a tensor, as float32, or as float64 if the file has doubles."""
        value = self._fields.get(name)
        if not isinstance(value, torch.Tensor) or not value.numel():
            raise LayerRefused(f"{name} is {_short(value)}, not a tensor with numbers")
        if value.numel() > max(value.untyped_storage().nbytes() // value.element_size(), 1):
            raise LayerRefused(f"{name} has more numbers than its storage")
        return value.to(torch.float64 if value.dtype == torch.float64 else torch.float32).contiguous().clone()

    def parameter(self, name: str, shape: tuple[int, ...]) -> nn.Parameter:
        """A tensor as a parameter, in the shape that the module needs."""
        value = self.tensor(name)
        if value.numel() != math.prod(shape):
            wanted = size_text(shape)
            raise LayerRefused(f"{name} of {size_text(value.shape)} where the layer needs {wanted}")
        return nn.Parameter(value.reshape(shape))

    def sizes(self, name: str) -> list[int]:
        """The numbers of a ``LongStorage``."""
        value = self._fields.get(name)
        if not isinstance(value, torch.Tensor) or value.dim() != 1 or value.is_floating_point() or len(value) > 16:
            raise LayerRefused(f"{name} is {_short(value)}, not a list of sizes")
        return [int(n) for n in value]

    def table(self, name: str) -> list[Any]:
        """The entries 1, 2, ... of a table."""
        value = self._fields.get(name)
        if not isinstance(value, dict):
            raise LayerRefused(f"{name} is {_short(value)}, not a table")
        return entries(value)

    def modules(self) -> list[LuaObject]:
        """The modules of a container."""
        found = self.table("modules")
        if not all(isinstance(entry, LuaObject) for entry in found):
            raise LayerRefused("modules has entries that are not modules")
        return found


def entries(table: LuaTable) -> list[Any]:
    """The values at 1, 2, ... up to the first gap."""
    found: list[Any] = []
    while len(found) + 1 in table:
        found.append(table[len(found) + 1])
    return found


def _short(value: Any) -> str:
    if value is None:
        return "missing"
    return value.kind[:60] if isinstance(value, LuaObject) else f"a {type(value).__name__}"
