"""Which axis of the map each dimension of a tensor holds: the bookkeeping behind canonical form.

A network may permute, flatten and split its tensors as it likes. The converted graph keeps every one of them in
*canonical form* ``(n, *channels, y, x)``, and a ``Layout`` remembers what the original tensor would have looked like.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from fullfield.canonical.refusal import Refusal

Symbol = str  # "n", "c", "y" or "x"
Dim = tuple[Symbol, ...]

BATCH: Dim = ("n",)
CHANNEL: Dim = ("c",)


@dataclass(frozen=True)
class Layout:
    """The original dimensions of a tensor whose canonical form is ``(n, *channels, height, width)``.

    Args:
        dims: what each original dimension holds, slowest first: ``("c",)`` a channel dimension,
            ``("c", "y", "x")`` a flattened map, ``("y", "x")`` tokens. Each channel dimension stands in one
            dim, in the order of ``channels``. A spatial axis that stands in none has one cell.
        channels: sizes of the channel dimensions.
        height: cells along y.
        width: cells along x.
        sliding_cells: height and width that the canonical form has instead, where one value for the window has become a
            map of values that slides with it; ``None`` otherwise.

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
        """``(n, c, y, x)`` as it stands."""
        return cls((BATCH, CHANNEL, ("y",), ("x",)), (channels,), height, width)

    @property
    def is_plain(self) -> bool:
        """Whether the original tensor is ``(n, c, y, x)`` itself."""
        return self.dims == (BATCH, CHANNEL, ("y",), ("x",))

    @property
    def single(self) -> bool:
        """Whether there is one cell only."""
        return self.height == self.width == 1

    def size(self, symbol: Symbol, channel: int = 0) -> int:
        """Cells or channels that ``symbol`` stands for; ``channel`` counts channel dimensions."""
        return {"y": self.height, "x": self.width}.get(symbol) or self.channels[channel]

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

    def _atoms(self, batch: int) -> list[list[tuple[Symbol, int]]]:
        sizes = iter(self.channels)
        spatial = {"n": batch, "y": self.height, "x": self.width}
        return [[(s, spatial[s] if s in spatial else next(sizes)) for s in dim] for dim in self.dims]

    def permuted(self, order: Sequence[int]) -> tuple[Layout, tuple[int, ...]]:
        """The layout after a permutation, and the order it asks of the canonical channel dimensions.

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

        Channels may be split and merged, rows and columns merged with others. Rows and columns split into blocks leave
        the blocks as cells, and the places within a block as channels.

        Examples:
            >>> Layout.plain(8, 4, 5).viewed((2, 160), 2).dims
            (('n',), ('c', 'y', 'x'))
            >>> blocks = Layout.plain(8, 4, 6).viewed((2, 8, 2, 2, 2, 3), 2)
            >>> blocks.dims, blocks.channels, blocks.height, blocks.width
            ((('n',), ('c',), ('y',), ('c',), ('x',), ('c',)), (8, 2, 3), 2, 2)
        """
        blocks = {"y": 1, "x": 1}
        atoms = [a for dim in self._atoms(batch) for a in dim if a[1] > 1 or a[0] == "n"]
        groups: list[list[tuple[Symbol, int]]] = []
        for wanted in shape:
            group: list[tuple[Symbol, int]] = []
            while wanted > 1:
                if not atoms:
                    return Refusal("regroups dimensions in a way that mixes positions")
                symbol, size = atoms[0]
                if wanted % size == 0:
                    group.append(atoms.pop(0))
                    wanted //= size
                elif symbol != "n" and size % wanted == 0:
                    group.append((symbol, wanted))
                    atoms[0] = ("c", size // wanted)
                    if symbol != "c":
                        blocks[symbol] = size // wanted
                    wanted = 1
                else:
                    return Refusal("regroups dimensions in a way that mixes positions")
            groups.append(group)
        blocked = self.with_cells(self.height // blocks["y"], self.width // blocks["x"])
        return blocked._from_groups(groups)

    def block_order(self) -> tuple[int, ...]:
        """Where channel dimensions stand once rows and columns are in blocks.

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

    def _from_groups(self, groups: list[list[tuple[Symbol, int]]]) -> Layout | Refusal:
        """The layout of regrouped atoms; dimensions of size one become the axes that are missing."""
        used = [s for group in groups for s, _ in group]
        if used.count("n") != 1 or groups[0][:1] != [g for g in groups[0] if g[0] == "n"] or len(groups[0]) != 1:
            return Refusal("mixes the windows of a batch")
        missing = [s for s in ("c", "y", "x") if s not in used]
        dims: list[Dim] = []
        channels: list[int] = []
        for group in groups:
            if not group:
                group = [(missing.pop(0), 1)] if missing else [("c", 1)]
            merged = [s for k, (s, _) in enumerate(group) if s != "c" or k == 0 or group[k - 1][0] != "c"]
            if merged.count("c") > 1:
                return Refusal("interleaves channels with positions")
            if "c" in merged:
                channels.append(math.prod(size for s, size in group if s == "c"))
            dims.append(tuple(merged))
        flat = next((k for k, dim in enumerate(dims) if len(dim) > 1), None)
        if "c" in missing and flat is not None:  # the one channel of a flattened grey map
            channels.insert(sum("c" in dim for dim in dims[:flat]), 1)
            dims[flat] = ("c", *dims[flat])
        return replace(self, dims=tuple(dims), channels=tuple(channels))

    def without(self, dim: int) -> Layout:
        """The layout after original dimension ``dim``, of one channel or one cell, is gone."""
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
