"""Torch7's containers, and its layers that work on tables of values."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fullfield.importers.limits import LayerRefused


class Container(nn.Module):
    """Modules named 1, 2, ..., as in Torch7's output."""

    def __init__(self, parts: list[nn.Module]) -> None:
        super().__init__()
        for position, part in enumerate(parts, 1):
            self.add_module(str(position), part)

    @property
    def parts(self) -> list[nn.Module]:
        """The modules in order; one that occurs twice is the same object, which ``children`` would give once."""
        return [part for part in self._modules.values() if part is not None]


class Sequential(Container):
    """Runs its modules one after the other."""

    def forward(self, x: Any) -> Any:
        """The output of the last module."""
        for part in self.parts:
            x = part(x)
        return x


class ConcatTable(Container):
    """Runs all modules on the same input; returns a table of their outputs."""

    def forward(self, x: Any) -> list[Any]:
        """The outputs."""
        return [part(x) for part in self.parts]


class ParallelTable(Container):
    """Runs each module on its entry of a table."""

    def forward(self, values: Any) -> list[Any]:
        """The outputs."""
        table = as_table(values, len(self.parts))
        return [part(value) for part, value in zip(self.parts, table, strict=True)]


class ConcatOutputs(Container):
    """Runs all modules on the same input and concatenates the outputs."""

    def __init__(self, parts: list[nn.Module], dim: int, *, centred: bool = False) -> None:
        super().__init__(parts)
        self.dim, self.centred = dim, centred

    def forward(self, x: Any) -> Tensor:
        """The concatenated outputs; with ``centred``, smaller maps are padded with zeros to the largest size."""
        values = [part(x) for part in self.parts]
        return torch.cat(_centred(values) if self.centred else values, self.dim)


def _centred(values: list[Tensor]) -> list[Tensor]:
    height, width = (max(int(v.shape[d]) for v in values) for d in (2, 3))
    padded = []
    for value in values:
        y, x = height - int(value.shape[2]), width - int(value.shape[3])
        padded.append(F.pad(value, (x // 2, x - x // 2, y // 2, y - y // 2)) if y or x else value)
    return padded


class Parallel(Container):
    """Runs each module on its slice of the input along one dimension and concatenates along another."""

    def __init__(self, parts: list[nn.Module], input_dim: int, output_dim: int) -> None:
        super().__init__(parts)
        self.input_dim, self.output_dim = input_dim, output_dim

    def forward(self, x: Tensor) -> Tensor:
        """The concatenated outputs."""
        if x.shape[self.input_dim] != len(self._modules):
            raise LayerRefused(f"{len(self._modules)} modules for {int(x.shape[self.input_dim])} slices")
        return torch.cat(
            [part(x.select(self.input_dim, i)) for i, part in enumerate(self.parts)], self.output_dim
        )  # fmt: skip


class Join(nn.Module):
    """Concatenates the values of a table along a dimension, which may count without the batch."""

    def __init__(self, dim: int, dims: int | None) -> None:
        super().__init__()
        self.dim, self.dims = dim, dims

    def forward(self, values: Any) -> Tensor:
        """The concatenated value."""
        table = as_table(values)
        return torch.cat(table, dimension(self.dim, table[0].dim(), self.dims))


class Combine(nn.Module):
    """The sum, product, difference, quotient, maximum or minimum of the values of a table."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind

    def forward(self, values: Any) -> Tensor:
        """The combined value."""
        joined, *others = as_table(values)
        operation: Any = {
            "CAddTable": torch.add, "CMulTable": torch.mul, "CSubTable": torch.sub, "CDivTable": torch.div,
            "CMaxTable": torch.maximum, "CMinTable": torch.minimum,
        }[self.kind]  # fmt: skip
        for value in others:
            joined = operation(joined, value)
        result: Tensor = joined
        return result


class SelectEntries(nn.Module):
    """One entry of a table, or several consecutive entries."""

    def __init__(self, start: int, length: int | None) -> None:
        super().__init__()
        self.start, self.length = start, length

    def forward(self, values: Any) -> Any:
        """The entry, or the list of entries."""
        table = as_table(values)
        start = self.start - 1 if self.start > 0 else len(table) + self.start
        if not 0 <= start < len(table):
            raise LayerRefused(f"entry {self.start} of {len(table)}")
        return table[start] if self.length is None else table[start : start + self.length]


class FlattenTable(nn.Module):
    """The values of nested tables as one flat table."""

    def forward(self, values: Any) -> list[Tensor]:
        """The flat table."""
        return [value for entry in values for value in self.forward(entry)] if isinstance(values, list) else [values]


class SplitTable(nn.Module):
    """A value's slices along a dimension as a table."""

    def __init__(self, dim: int, dims: int | None) -> None:
        super().__init__()
        self.dim, self.dims = dim, dims

    def forward(self, x: Tensor) -> list[Tensor]:
        """The slices."""
        return list(x.unbind(dimension(self.dim, x.dim(), self.dims)))


def as_table(values: Any, count: int | None = None) -> list[Any]:
    """The values as a table.

    Raises:
        LayerRefused: they are a single tensor, or another number of values.
    """
    if not isinstance(values, list) or not values or (count is not None and len(values) != count):
        raise LayerRefused(
            "takes a table of values, but its input is one value"
            if not isinstance(values, list)
            else "it has too few or too many"
        )
    return values


def dimension(dim: int, found: int, dims: int | None = None) -> int:
    """A dimension from 1 up, or from the end, as an index into a batch of ``found`` dimensions.

    ``dims`` is the number of dimensions that the file expects of one window, without the batch.

    Raises:
        LayerRefused: there is no such dimension, or it is the batch.
    """
    index = found + dim if dim < 0 else dim - 1
    if dim > 0 and dims is not None and found == dims + 1:
        index += 1
    if not 0 < index < found:
        where = "is the batch" if index == 0 else f"of {found}"
        raise LayerRefused(f"dimension {dim} {where}")
    return index
