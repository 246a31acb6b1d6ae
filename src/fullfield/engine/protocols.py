"""Interfaces of the engine: image sources, masks and sinks, which other packages implement, and engines."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from fullfield.geometry.region import Pair
from fullfield.geometry.tile import TileLayout
from fullfield.planning import Plan

if TYPE_CHECKING:  # images and stored scores are opened without torch
    from torch.fx import GraphModule

Program = Callable[[NDArray[np.floating]], NDArray[np.floating]]  # pixels (c, y, x) -> scores (k, y, x)
Waiting = Callable[[], NDArray[np.floating]]  # waits for scores (k, y, x)


class AsyncProgram(Protocol):
    """A program on a device of its own, which computes while the next tile is read and sent."""

    def begin(self, pixels: NDArray[np.floating]) -> Waiting:
        """Sends a tile's pixels ``(c, y, x)``; what it returns waits for the scores, in any thread."""
        ...


def begin(program: Program, pixels: NDArray[np.floating]) -> Waiting:
    """Begins a tile; programs that run in the calling thread have computed it when this returns."""
    if hasattr(program, "begin"):  # as an ``AsyncProgram`` has; to ask for the protocol takes as long as an operator
        begun: Waiting = program.begin(pixels)
        return begun
    scores = program(pixels)
    return lambda: scores


class Source(Protocol):
    """A preprocessed image that is read by region, also from several threads at once."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height and width, px."""
        ...

    def read(self, top: int, bottom: int, left: int, right: int) -> NDArray[np.floating]:
        """Preprocessed pixels ``(c, y, x)`` of a half-open region inside the image."""
        ...


class WantedCells(Protocol):
    """Selects the cells of a score map that are computed; asked from several threads at once."""

    def cells(self, row: int, column: int, rows: int, columns: int) -> NDArray[np.bool_]:
        """Which cells ``(rows, columns)`` of the block that begins at ``(row, column)`` are wanted."""
        ...


class Sink(Protocol):
    """Takes the scores of a map block by block, in memory or on disk; knows which blocks are still to be computed.

    A block is a rectangle of cells that is finished and recorded as a whole. Blocks form a grid and are numbered row by
    row. ``run`` calls ``put`` for the tiles of a block one after another and then ``finish``; one block may be finished
    in one thread while tiles of the next are put in another.
    """

    @property
    def block(self) -> Pair:
        """Rows and columns of a block: multiples of the tile (of ``planning.shards.tile_extent``), or the whole map."""
        ...

    @property
    def todo(self) -> Sequence[int]:
        """Numbers of the blocks that are not finished, in the order in which they are to be computed."""
        ...

    @property
    def writes(self) -> bool:
        """Whether finishing a block writes it; where not, it takes no thread."""
        ...

    def put(
        self, block: int, cells: tuple[slice, slice], scores: NDArray[np.floating], mask: NDArray[np.bool_] | None
    ) -> None:
        """Takes the scores of one tile.

        Args:
            block: the block that the tile lies in.
            cells: rows and columns of the map, every one or at equal distances.
            scores: of these cells, ``(k, y, x)``.
            mask: the cells ``(y, x)`` whose scores are wanted; all where ``None``.
        """
        ...

    def finish(self, block: int) -> None:
        """Completes a block: all wanted tiles of it were put; none if no cell of it is wanted."""
        ...


class Engine(Protocol):
    """Runs the programs of one network's tiles; each is compiled for its first tile and kept for tiles like it."""

    @property
    def name(self) -> str:
        """As users write it."""
        ...

    @property
    def version(self) -> str:
        """Of the library that computes."""
        ...

    def layout(self, kind: Hashable, make: Callable[[], TileLayout]) -> TileLayout:
        """The layout of a kind of tile: that of its program, if there is one; else what ``make`` returns."""
        ...

    def compile(self, plan: Plan, layout: TileLayout) -> Program:
        """The program of tiles with this layout."""
        ...


class GraphEngine(Engine, Protocol):
    """An engine that also runs graphs that are no tile's program, so that its speed can be measured."""

    def compile_graph(self, graph: GraphModule, shape: tuple[int, ...]) -> GraphModule:
        """A graph of canonical operators as its programs run it, for an input of a shape; ``graph`` may be changed."""
        ...
