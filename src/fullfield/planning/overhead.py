"""What a scan holds in memory besides the computation of a tile. Imports no torch."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from fullfield.geometry.region import Pair
from fullfield.planning.programs import ProgramCost

_CACHE_SHARE = (3, 20)  # of the budget for decoded pixels: 15 %, as a fraction
_READ_COPIES = 3  # of a region's raw pixels while it is read: decoded, put together, brought to the network's channels
_SCORE_COPIES = 2  # of a tile's scores: as computed, and while they are stored
_BLOCKS = 2  # blocks in memory: one is filled while another is written
_BLOCK_SHARE = 1 / 16  # of the budget for a block, at most
_BLOCK_BYTES = 64 << 20  # of a block, at most
_BLOCK_COUNT = 16  # of a map, at least, so that most are written while others are computed ...
_LEAST_BLOCK_BYTES = 1 << 20  # ... unless they become smaller than this
_LEVEL_COPIES = 8  # of an inner chunk while a coarser level is built: four read, some decoded, halved, packed
_LEVEL_SHARE = 1 / 8  # of the budget for them, at most
_FAR_LARGER = 4  # times a region's pixels: what a file may decode for it without its strips being cached


@dataclass(frozen=True)
class Stored:
    """How a map is stored.

    Args:
        bands: numbers of a cell.
        itemsize: bytes of one.
        chunk: most bands, rows and columns that are compressed together.
    """

    bands: int
    itemsize: int
    chunk: tuple[int, int, int]

    @property
    def cell_bytes(self) -> int:
        """Bytes of a cell, and of whether it has scores."""
        return self.bands * self.itemsize + 1

    def level_bytes(self, block: Pair) -> int:
        """Bytes held while a coarser level is built of blocks of this size."""
        return _LEVEL_COPIES * math.prod(map(min, self.chunk, (self.bands, *block))) * self.itemsize


@dataclass(frozen=True)
class EngineMemory:
    """What an engine that compiles programs takes for a tile, as factors of what the programs are made of.

    Args:
        compiles: whether it does; torch takes what the tile's cost says.
        live: of what is held at once outside of programs, and of pieces of the heap that lie idle besides.
        buffers: of all programs' buffers: each keeps its own.
        largest_buffers: of those of one program, where they are freed when it ends.
        convolved: copies of the weights of convolutions, in an order of the engine's own.
        multiplied: copies of those of linear layers.
        operator_bytes: bytes of a compiled operator.
        remade_bytes: of programs that others replaced and Python has not yet freed, where not all kinds are kept.
        fixed_bytes: the library itself, once it is loaded.
    """

    compiles: bool = False
    live: float = 0.0
    buffers: float = 0.0
    largest_buffers: float = 0.0
    convolved: float = 0.0
    multiplied: float = 0.0
    operator_bytes: int = 0
    remade_bytes: int = 0
    fixed_bytes: int = 0

    def tile_bytes(self, programs: ProgramCost, kinds: int, *, remade: bool = False) -> int:
        """Bytes that a tile takes.

        Args:
            programs: of the tile.
            kinds: of tiles whose programs are kept, each of which has programs of its own.
            remade: whether there are more kinds, so that programs are made again.
        """
        once = self.live * programs.live + self.largest_buffers * programs.largest_buffers
        each = self.buffers * programs.buffers + self.operator_bytes * programs.operators
        each += self.convolved * programs.convolved + self.multiplied * programs.multiplied
        return int(once + kinds * each) + (self.remade_bytes if remade else 0)


ENGINES = {  # measured by ``tests/engine/test_memory.py``
    "torch": EngineMemory(),
    "openvino": EngineMemory(
        compiles=True,
        live=2.5,
        buffers=0.75,
        largest_buffers=0.5,
        convolved=1.6,
        multiplied=1.85,  # packed, and as they lie in the file of the compiled program
        operator_bytes=430_000,
        remade_bytes=24 << 20,
        fixed_bytes=52 << 20,
    ),
    "onnxruntime": EngineMemory(
        compiles=True,
        live=1.7,
        buffers=0.35,  # pieces of the heap that freed values leave: each takes memory of its own
        largest_buffers=1.25,
        convolved=2.35,
        multiplied=1.8,
        operator_bytes=90_000,
        remade_bytes=24 << 20,
        fixed_bytes=48 << 20,
    ),
}


@dataclass(frozen=True)
class Overhead:
    """What decides how much a scan holds besides the computation of a tile; by default nothing.

    Args:
        channels: of a pixel as the network reads it.
        itemsize: bytes of one number there, and of a score.
        raw_channels: of a pixel of the image.
        raw_itemsize: bytes of one number there.
        image: height and width of the image, px.
        file_tile: height and width that its file decodes at once, px; ``None`` for an image in memory.
        padded: whether pixels beyond the image's edges are made up, which copies a region once more.
        ahead: tiles that are read before they are computed.
        readers: threads that read.
        classes: scores of a window.
        stored: how the map is stored; ``None`` for one in memory, which belongs to the caller.
        fixed_bytes: held whatever the tile: the reader's own cache, threads, handles, compressors.
        engine: memory that the engine takes.
    """

    channels: int = 0
    itemsize: int = 0
    raw_channels: int = 0
    raw_itemsize: int = 0
    image: Pair = (0, 0)
    file_tile: Pair | None = None
    padded: bool = False
    ahead: int = 0
    readers: int = 0
    classes: int = 0
    stored: Stored | None = None
    fixed_bytes: int = 0
    engine: EngineMemory = EngineMemory()

    @property
    def pixel_bytes(self) -> int:
        """Bytes of a decoded pixel, and of whether it is valid."""
        return self.raw_channels * self.raw_itemsize + 1

    @property
    def savings(self) -> tuple[Savings, ...]:
        """The savings that make a difference to this scan, the least first."""
        found = [Savings()]
        if self.file_tile is not None:
            found.append(Savings(strips=True))
        if self.stored is not None:
            found.append(Savings(strips=True, blocks=True))
        return tuple(found)

    def pixels_bytes(self, region: Pair) -> int:
        """Bytes of regions that wait for the computation, and of those that are being read."""
        area = math.prod(region)
        ready = area * self.channels * self.itemsize
        reading = area * self.raw_channels * self.raw_itemsize * _READ_COPIES + (ready if self.padded else 0)
        return (self.ahead + 1) * ready + self.readers * reading

    def strips_bytes(self, region: Pair) -> int:
        """Bytes of decoded pixels to cache so that no strip of the file is decoded for every tile again."""
        if self.file_tile is None:
            return 0
        return row_cache_bytes(self.image, self.file_tile, region, pixel_bytes=self.pixel_bytes)

    def cache_bytes(self, region: Pair, budget: int, savings: Savings) -> int:
        """Bytes of decoded pixels to cache, no more than the whole image has."""
        if self.file_tile is None:
            return 0
        wanted = budget * _CACHE_SHARE[0] // _CACHE_SHARE[1]
        if not savings.strips:
            wanted = max(wanted, self.strips_bytes(region))
        return min(wanted, math.prod(self.image) * self.pixel_bytes)

    def least_budget(self, bytes_: int) -> int:
        """The least budget for a scan that takes so many bytes without its cache."""
        if self.file_tile is None:
            return bytes_
        share, of = _CACHE_SHARE
        return min(-(-bytes_ * of // (of - share)), bytes_ + math.prod(self.image) * self.pixel_bytes)


@dataclass(frozen=True)
class Savings:
    """What a scan gives up where the budget is tight.

    Args:
        strips: the cache may be too small for a row of the file's strips.
        blocks: the blocks of a stored map are as small as fits, one tile at least.
    """

    strips: bool = False
    blocks: bool = False


@dataclass(frozen=True)
class TileUse:
    """What a plan's tiles need, as far as it decides about memory.

    Args:
        peak_bytes: of the computation of one tile.
        region: height and width that a tile reads, px.
        windows: of a tile.
        extent: rows and columns of the map over which a tile's windows lie.
        shape: rows and columns of the map.
        large_bytes: of the peak, values that get pages of their own from the system.
    """

    peak_bytes: int
    region: Pair
    windows: int
    extent: Pair
    shape: Pair
    large_bytes: int = 0


@dataclass(frozen=True)
class Memory:
    """What a scan takes, besides an image given as array, the network's weights and a result kept in memory.

    Args:
        tile_bytes: the computation of a tile.
        pixels_bytes: regions that are read, and that wait for the computation.
        scores_bytes: scores of a tile that are being stored.
        blocks_bytes: blocks of a stored map.
        levels_bytes: coarser levels of a stored map, where they are built during the computation.
        cache_bytes: decoded pixels.
        fixed_bytes: what does not depend on the tile.
        kept_bytes: free memory of large values that stays for the next ones, if the budget has room for it.
        block: rows and columns of cells that are written as one; all of a map in memory.
        remark: a warning for the user; empty if there is none.
    """

    tile_bytes: int
    pixels_bytes: int = 0
    scores_bytes: int = 0
    blocks_bytes: int = 0
    levels_bytes: int = 0
    cache_bytes: int = 0
    fixed_bytes: int = 0
    kept_bytes: int = 0
    block: Pair = (0, 0)
    remark: str = ""

    @property
    def overhead_bytes(self) -> int:
        """All but the computation."""
        waiting = self.pixels_bytes + self.scores_bytes + self.blocks_bytes + self.levels_bytes
        return waiting + self.cache_bytes + self.fixed_bytes + self.kept_bytes

    @property
    def total_bytes(self) -> int:
        """Everything."""
        return self.tile_bytes + self.overhead_bytes

    @property
    def builds_levels(self) -> bool:
        """Whether coarser levels of a stored map are built during the computation; else they are built at the end."""
        return self.levels_bytes > 0


def memory_of(use: TileUse, overhead: Overhead, budget: int, savings: Savings) -> Memory:
    """What a scan takes in tiles like these; more than the budget where they do not fit it."""
    pixels = overhead.pixels_bytes(use.region)
    scores = _SCORE_COPIES * use.windows * overhead.classes * overhead.itemsize
    cache = overhead.cache_bytes(use.region, budget, savings)
    free = budget - (use.peak_bytes + pixels + scores + cache + overhead.fixed_bytes)
    block, blocks, levels = use.shape, 0, 0
    if overhead.stored is not None:
        cell_bytes = overhead.stored.cell_bytes
        most = _most_block_bytes(math.prod(use.shape) * cell_bytes, budget)
        most = min(most, free // _BLOCKS) if savings.blocks else most
        block = shard_size(use.extent, use.shape, cell_bytes=cell_bytes, most_bytes=most)
        blocks = _BLOCKS * math.prod(block) * cell_bytes
        levels = overhead.stored.level_bytes(block)
        levels = levels if levels <= min(_LEVEL_SHARE * budget, free - blocks) else 0
    kept = use.large_bytes if use.large_bytes <= free - blocks - levels else 0
    memory = Memory(use.peak_bytes, pixels, scores, blocks, levels, cache, overhead.fixed_bytes, kept, block)
    return _remarked(memory, overhead, use.region)


def _remarked(memory: Memory, overhead: Overhead, region: Pair) -> Memory:
    """The same with a remark where strips of the file are decoded more than once."""
    wanted = overhead.strips_bytes(region)
    if overhead.file_tile is None or wanted <= memory.cache_bytes:
        return memory
    enough = (memory.total_bytes - memory.cache_bytes - memory.kept_bytes + wanted) / 1e6
    remark = (
        f"its strips are {overhead.file_tile[1]} px wide and are decoded anew for every tile; "
        f"a budget of about {enough:.0f} MB, or a tiled file, avoids that"
    )
    return replace(memory, remark=remark)


def _most_block_bytes(map_bytes: int, budget: int) -> int:
    """Most bytes of a block of a stored map."""
    return min(int(_BLOCK_SHARE * budget), _BLOCK_BYTES, max(map_bytes // _BLOCK_COUNT, _LEAST_BLOCK_BYTES))


def shard_size(tile: Pair, shape: Pair, *, cell_bytes: int, most_bytes: int) -> Pair:
    """Rows and columns of blocks of at most ``most_bytes``, near to square, of whole tiles; one tile at least.

    Args:
        tile: rows and columns of the map over which a tile is spread.
        shape: rows and columns of the map.
        cell_bytes: of what is stored of one cell.
        most_bytes: of what is stored of one block.
    """
    size = [min(t, n) for t, n in zip(tile, shape, strict=True)]
    while True:
        spans = [n if n < whole else math.inf for n, whole in zip(size, shape, strict=True)]
        if min(spans) == math.inf:
            break
        k = 0 if spans[0] <= spans[1] else 1
        grown = list(size)
        grown[k] = min(2 * size[k], shape[k])
        if grown[0] * grown[1] * cell_bytes > most_bytes:
            break
        size = grown
    return size[0], size[1]


def row_cache_bytes(image: Pair, tile: Pair, region: Pair, *, pixel_bytes: int) -> int:
    """Bytes of all of a file's tiles that a row of regions touches; 0 if tiles are not far larger than regions.

    A strip reaches across the image: where a row of strips is not cached, an image ``n`` regions wide is decoded ``n``
    times.

    Args:
        image: height and width, px.
        tile: height and width that the file decodes at once, px.
        region: height and width of what is read at once, px.
        pixel_bytes: of a decoded pixel, and of whether it is valid.
    """
    high, wide = (_touched(n, t, whole) for n, t, whole in zip(region, tile, image, strict=True))
    if high * wide <= _FAR_LARGER * min(region[0], image[0]) * min(region[1], image[1]):
        return 0
    return high * image[1] * pixel_bytes


def _touched(size: int, tile: int, most: int) -> int:
    """Px of the tiles that a range touches, wherever it begins."""
    return min(most, (-(-(size - 1) // tile) + 1) * tile)
