"""Opens an image as a model's input: its channels, a region of it, continued beyond its edges where asked."""

from __future__ import annotations

import os
from dataclasses import replace

import torch

from fullfield.errors import ImageError
from fullfield.geometry.placement import Placement
from fullfield.geometry.region import Pair
from fullfield.image.open import ImageFile, open, open_raster
from fullfield.image.raster import Raster
from fullfield.image.region import region_of
from fullfield.image.selection import Selection
from fullfield.image.signals import signal_image
from fullfield.image.sources import open_image, with_cache
from fullfield.image.turned import ScannedSource
from fullfield.image.windowed import WindowedSource, parse_edge, windowed
from fullfield.mask.where import Where
from fullfield.model.model import Model

CACHE_BYTES = 256 << 20  # of decoded pixels, where no plan says how many


def open_source(
    model: Model,
    image: object,
    *,
    step: Pair = (1, 1),
    scale: float = 1.0,
    where: Where | None = None,
    cache_bytes: int = CACHE_BYTES,
) -> WindowedSource:
    """The image as the model's source: the part of it that ``where`` selects, with its edge.

    Args:
        model: says what it takes.
        image: array, tensor, PIL image, path, several paths of one image, or what ``open`` gives; of a model of signals
            ``(c, t)`` or ``(t,)``.
        step: px between windows (y, x).
        scale: factor on the image's size.
        where: of its fields, ``region`` and ``edge``.
        cache_bytes: of decoded pixels to keep, of an image that is read by region; 0 for none yet.

    Raises:
        ImageError: the image cannot be read, is not what the model takes, or smaller than a window; or its range of
            pixel values is given, and nothing says what the model takes.
        GeometryError: a region that leaves the image.
    """
    where = where or Where()
    given = isinstance(image, ImageFile) and (image.selection.value_range or image.selection.percentiles)
    if given and model.preprocessing.value_range is None:
        what = "is given, but the model takes pixel values as they are"
        raise ImageError("value range", what, fix="name a preprocessing that states its range, such as unit")
    edge = parse_edge(where.edge)
    if isinstance(image, (list, tuple)) and image and all(isinstance(each, (str, os.PathLike)) for each in image):
        image = open(image)
    opened = _opened(image, model) if isinstance(image, (str, os.PathLike)) else image
    source = open_image(
        signal_image(opened, model.channels) if model.of_signals else opened,
        preprocessing=model.preprocessing,
        channels=model.channels,
        dtype="float64" if model.dtype == torch.float64 else "float32",
        window=model.window if edge == "valid" and where.region is None else None,
        scale=scale,
    )
    region = None if where.region is None else region_of(where.region, source.original_size)
    found = windowed(source, window=model.window, step=step, edge=edge, region=region)
    return replace(found, image=with_cache(found.image, cache_bytes))


def _opened(path: str | os.PathLike[str], model: Model) -> Raster:
    """The file; of one with alpha all bands, where the model takes that many of any kind."""
    selection = path.selection if isinstance(path, ImageFile) else Selection()
    raster = open_raster(path, selection=selection)
    if selection.bands is not None or selection.stack:
        return raster
    found, wanted = raster.shape[2], model.channels
    if model.preprocessing.order != "any" or not raster.metadata.alpha or found == wanted:
        return raster
    try:
        return open_raster(path, selection=replace(selection, bands=tuple(range(wanted))))
    except ImageError:  # the picture has no alpha
        return raster


def placement_of(model: Model, source: ScannedSource, step: Pair) -> Placement:
    """Where the scores will lie on the image."""
    return Placement(step, model.window, source.original_size, source.scanned_size, source.padding)
