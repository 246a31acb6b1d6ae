"""What a scan's image, network and output take besides the computation, as the planner counts it."""

from __future__ import annotations

import numpy as np

from fullfield.engine.threads import AHEAD, READERS
from fullfield.image.raster import ArrayRaster
from fullfield.image.turned import ScannedSource
from fullfield.planning.overhead import ENGINES, Overhead, Stored
from fullfield.store.encoding import ScoreEncoder
from fullfield.store.shards import CHUNK

_SLACK = 24 << 20  # of threads, handles and compressors


def overhead_of(
    source: ScannedSource,
    *,
    itemsize: int,
    classes: int,
    encoder: ScoreEncoder | None,
    buffered: int = 0,
    engine: str = "torch",
) -> Overhead:
    """What a scan takes besides the computation.

    Args:
        source: the image.
        itemsize: bytes of a number of the network's type.
        classes: of the network.
        encoder: of scores that are stored; ``None`` for scores kept in memory.
        buffered: tiles whose pixels are held on their way to a device, besides those read ahead.
        engine: that computes.
    """
    raster = source.image.raster
    in_memory = isinstance(raster, ArrayRaster)
    return Overhead(
        channels=source.shape[0],
        itemsize=itemsize,
        raw_channels=raster.shape[2],
        raw_itemsize=raster.dtype.itemsize,
        image=(raster.shape[0], raster.shape[1]),
        file_tile=None if in_memory else raster.metadata.tile,
        padded=source.edge != "valid",
        ahead=AHEAD + buffered,
        readers=READERS,
        classes=classes,
        stored=None if encoder is None else Stored(encoder.bands, np.dtype(encoder.dtype).itemsize, CHUNK),
        fixed_bytes=raster.metadata.held_bytes
        + (0 if in_memory and encoder is None else _SLACK)
        + ENGINES[engine].fixed_bytes,
        engine=ENGINES[engine],
    )
