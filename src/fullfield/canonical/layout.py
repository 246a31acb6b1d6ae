"""Records which axes of the map each dimension of an original tensor holds.

A network may permute, flatten and split its tensors. The canonical graph keeps each of them as
``(n, *channels, y, x)``, and a ``Layout`` says how the original tensor follows from that.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from fullfield.canonical.refusal import Refusal

Symbol = str  # "n", "c", "y" or "x"
Dim = tuple[Symbol, ...]
_Atom = tuple[Symbol, int]  # an axis, or a part of one, and its size

BATCH: Dim = ("n",)
CHANNEL: Dim = ("c",)


@dataclass(frozen=True)
class Layout:
    """The original dimensions of a tensor whose canonical form is ``(n, *channels, height, width)``.

    Args:
        dims: what each original dimension holds, slowest first: ``("c",)`` a channel dimension,
            ``("c", "y", "x")`` a flattened map, ``("y", "x")`` tokens. Each channel dimension is part of one of
            them, in the order of ``channels``. A spatial axis that is part of none has one cell.
        channels: sizes of the channel dimensions.
        height: cells along y.
        width: cells along x.
        sliding_cells: height and width of the canonical form where it is not one value for the window but a map of
            such values that slides with the window; ``None`` otherwise.

    Examples:
        >>> Layout.plain(64, 7, 7).shape(2)
        (2, 64, 7, 7)
    """

    dims: tuple[Dim, ...]
    channels: tuple[int, ...]
    height: int
    width: int
    sliding_cells: tuple[int, int] | None = None

    @classmethod
    def plain(cls, channels: int, height: int, width: int) -> Layout:
        """The layout of ``(n, c, y, x)``."""
        return cls((BATCH, CHANNEL, ("y",), ("x",)), (channels,), height, width)

    @property
    def is_plain(self) -> bool:
        """Whether the original tensor is ``(n, c, y, x)`` itself."""
        return self.dims == (BATCH, CHANNEL, ("y",), ("x",))

    @property
    def single(self) -> bool:
        """Whether there is one cell only."""
        return self.height == self.width == 1

    def size(self, symbol: Symbol) -> int:
        """Cells along ``symbol``; for ``c`` the size of the first channel dimension."""
        return {"y": self.height, "x": self.width}.get(symbol) or self.channels[0]

    def shape(self, batch: int) -> tuple[int, ...]:
        """Shape of the original tensor for ``batch`` windows."""
        return tuple(math.prod(size for _, size in dim) for dim in self._atoms(batch))

    def channel_index(self, dim: int) -> int | None:
        """Which canonical channel dimension original dimension ``dim`` holds alone; ``None`` if it holds more.

        Spatial axes of one cell do not count.
        """
        symbols = [s for s in self.dims[dim] if s == "c" or self._spatial_size(s) > 1]
        if symbols != ["c"]:
            return None
        return sum("c" in d for d in self.dims[:dim])

    def spatial(self, dim: int) -> Dim | None:
        """The spatial axes that original dimension ``dim`` holds, if it holds nothing else."""
        symbols = self.dims[dim]
        return symbols if symbols and all(s in "yx" for s in symbols) else None

    def _spatial_size(self, symbol: Symbol) -> int:
        return {"y": self.height, "x": self.width}.get(symbol, 2)

    def _atoms(self, batch: int) -> list[list[_Atom]]:
        """The axes in each original dimension, with their sizes."""
        sizes = iter(self.channels)
        spatial = {"n": batch, "y": self.height, "x": self.width}
        return [[(s, spatial[s] if s in spatial else next(sizes)) for s in dim] for dim in self.dims]

    def permuted(self, order: Sequence[int]) -> tuple[Layout, tuple[int, ...]]:
        """The layout after a permutation, and the order of the canonical channel dimensions in it.

        Examples:
            >>> Layout.plain(8, 4, 5).permuted((0, 2, 3, 1))[0].dims
            (('n',), ('y',), ('x',), ('c',))
        """
        dims = tuple(self.dims[i] for i in order)
        holders = [i for i, d in enumerate(self.dims) if "c" in d]
        channel_order = tuple(holders.index(i) for i in order if "c" in self.dims[i])
        return replace(self, dims=dims, channels=tuple(self.channels[i] for i in channel_order)), channel_order

    def viewed(self, shape: Sequence[int], batch: int) -> Layout | Refusal:
        """The layout after ``view(shape)``, where ``batch`` is the number of windows in ``shape``.

        Channels may be split and merged, rows and columns merged with others. Where rows and columns are split into
        blocks, the blocks are the cells, and the places within a block are channels.

        Examples:
            >>> Layout.plain(8, 4, 5).viewed((2, 160), 2).dims
            (('n',), ('c', 'y', 'x'))
            >>> blocks = Layout.plain(8, 4, 6).viewed((2, 8, 2, 2, 2, 3), 2)
            >>> blocks.dims, blocks.channels, blocks.height, blocks.width
            ((('n',), ('c',), ('y',), ('c',), ('x',), ('c',)), (8, 2, 3), 2, 2)
        """
        atoms = [a for dim in self._atoms(batch) for a in dim if a[1] > 1 or a[0] == "n"]
        groups = _split(atoms, shape)
        if isinstance(groups, Refusal):
            return groups
        merged = _merge(_named(groups))
        if isinstance(merged, Refusal):
            return merged
        dims, channels = merged
        cells = dict(atom for group in groups for atom in group)
        return replace(self.with_cells(cells.get("y", 1), cells.get("x", 1)), dims=dims, channels=channels)

    def block_order(self) -> tuple[int, ...]:
        """The order of channel dimensions once rows and columns are in blocks.

        The canonical ones count first, then the two of the places within a block; those follow their axes.

        Examples:
            >>> Layout.plain(8, 4, 6).permuted((0, 2, 3, 1))[0].block_order()
            (1, 2, 0)
        """
        rank = len(self.channels)
        channel = iter(range(rank))
        within = {"y": rank, "x": rank + 1}
        order = [within[s] if s in within else next(channel) for dim in self.dims for s in dim if s != "n"]
        return (*order, *(i for i in within.values() if i not in order))

    def without(self, dim: int) -> Layout:
        """The layout without original dimension ``dim``, of one channel or one cell."""
        index = sum("c" in d for d in self.dims[:dim])
        channels = self.channels
        if "c" in self.dims[dim]:
            channels = channels[:index] + channels[index + 1 :]
        return replace(self, dims=self.dims[:dim] + self.dims[dim + 1 :], channels=channels)

    def with_channel(self, dim: int, size: int) -> Layout:
        """The layout with a new channel dimension of ``size`` before original dimension ``dim``.

        Examples:
            >>> Layout.plain(8, 4, 5).with_channel(1, 3).shape(2)
            (2, 3, 8, 4, 5)
        """
        index = sum("c" in d for d in self.dims[:dim])
        channels = (*self.channels[:index], size, *self.channels[index:])
        return replace(self, dims=(*self.dims[:dim], CHANNEL, *self.dims[dim:]), channels=channels)

    def with_channels(self, sizes: Sequence[int]) -> Layout:
        """The same dimensions with other channel sizes."""
        return replace(self, channels=tuple(sizes))

    def with_cells(self, height: int, width: int) -> Layout:
        """The same dimensions with other counts of cells."""
        return replace(self, height=height, width=width)


def _split(atoms: Sequence[_Atom], shape: Sequence[int]) -> list[list[_Atom]] | Refusal:
    """Each dimension of a view as a run of atoms.

    An atom that lies across two dimensions is split; what is left of it are channels: of rows or columns, the places
    within a block.
    """
    left = list(reversed(atoms))
    groups = []
    for size in shape:
        group: list[_Atom] = []
        while size > 1:
            symbol, cells = left.pop() if left else ("n", 0)
            if cells and size % cells == 0:
                group.append((symbol, cells))
                size //= cells
            elif symbol != "n" and cells % size == 0:
                group.append((symbol, size))
                left.append(("c", cells // size))
                size = 1
            else:
                return Refusal("regroups dimensions in a way that mixes positions")
        groups.append(group)
    return groups


def _named(groups: Sequence[list[_Atom]]) -> list[list[_Atom]]:
    """The groups, where dimensions of one hold the axes that no other holds, else a channel."""
    used = {symbol for group in groups for symbol, _ in group}
    axes = ("c", "x", "y") if len(groups) == 3 else ("c", "y", "x")  # of a signal (n, c, x), x comes first
    missing = [s for s in axes if s not in used]
    named = [group or [(missing.pop(0) if missing else "c", 1)] for group in groups]
    flat = next((k for k, group in enumerate(named) if len(merged_channels([s for s, _ in group])) > 1), None)
    if flat is not None and "c" in missing:  # the one channel of a flattened grey map
        named[flat] = [("c", 1), *named[flat]]
    return named


def _merge(groups: Sequence[list[_Atom]]) -> tuple[tuple[Dim, ...], tuple[int, ...]] | Refusal:
    """What each dimension holds, neighbouring channels as one, and the sizes of the channel dimensions."""
    if [s for s, _ in groups[0]] != ["n"] or any(s == "n" for group in groups[1:] for s, _ in group):
        return Refusal("mixes the windows of a batch")
    dims = tuple(merged_channels([s for s, _ in group]) for group in groups)
    if any(dim.count("c") > 1 for dim in dims):
        return Refusal("interleaves channels with positions")
    sizes = (math.prod(n for s, n in group if s == "c") for group, dim in zip(groups, dims, strict=True) if "c" in dim)
    return dims, tuple(sizes)


def merged_channels(symbols: Sequence[Symbol]) -> Dim:
    """The symbols of one dimension, with neighbouring channels as one.

    Examples:
        >>> merged_channels(("y", "c", "c", "x"))
        ('y', 'c', 'x')
    """
    return tuple(s for k, s in enumerate(symbols) if s != "c" or k == 0 or symbols[k - 1] != "c")
