"""How many windows lie along a tile's sides, so that the tiles of a map are alike. Imports no torch.

Each kind of tile is compiled for itself, so few kinds start a scan sooner. Where the last tile of an axis would be a
little smaller than the others, it begins earlier: windows that lie in two tiles are computed twice, and stored once.
"""

from __future__ import annotations

CHUNK = 256  # cells a side that a stored map compresses together, at most


def tiles_along(count: int, side: int) -> int:
    """Tiles of ``side`` windows along an axis of ``count``."""
    return -(-count // side)


def even_side(count: int, side: int, every: int = 1) -> int:
    """The least side with which as few tiles lie along an axis: at most ``side`` windows, or a little more.

    Args:
        count: windows along the axis.
        side: of a tile that may be larger than needed.
        every: cells of the map between neighbouring windows of a tile. A tile that spreads over more than ``CHUNK``
            cells is a multiple of a power of two, so that stored maps can be cut into chunks.

    Examples:
        >>> even_side(18, 16), even_side(25, 16), even_side(1000, 16), even_side(600, 512), even_side(602, 512)
        (9, 13, 16, 300, 302)
    """
    tiles = tiles_along(count, side)
    even = tiles_along(count, tiles)
    if tiles == 1:
        return even
    grain = 1
    while grain < even and tiles_along(even, grain) * every > CHUNK:
        grain *= 2
    return min(count, tiles_along(even, grain) * grain)


def overlap(count: int, side: int) -> int:
    """Windows by which the last tile of an axis overlaps the one before it; 0 where it is smaller instead.

    Fewer than one window a tile, or than one in 128, are computed twice.

    Examples:
        >>> overlap(25, 13), overlap(18, 9), overlap(18, 16), overlap(1000, 16)
        (1, 0, 0, 8)
    """
    tiles = tiles_along(count, side)
    missing = tiles * side - count
    return missing if tiles > 1 and missing < tiles * max(1, side // (CHUNK // 2)) else 0
