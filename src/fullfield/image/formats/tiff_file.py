"""Selects what to read of a TIFF opened by tifffile: one series, its levels, the planes of one z and t."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fullfield.errors import ImageError
from fullfield.image.blob import Blob
from fullfield.image.decoded_size import block_bytes
from fullfield.image.formats.bits import tiff_bits
from fullfield.image.formats.encoded_size import CHECKED, check_tile
from fullfield.image.formats.tiff_mpp import channel_names, resolution, stage_position
from fullfield.image.formats.tiff_plane import Plane, page_decoder, raw_strips
from fullfield.image.selection import Selection, select_index

_MOST_TILE = 512 * 2**20  # bytes of a decoded tile or strip of any file: larger ones would be decoded whole
_Blobs = Callable[[str], Blob]


@dataclass(frozen=True, eq=False)
class Series:
    """One image of a file.

    Args:
        levels: of its pyramid, finest first; each is the planes whose channels together are the image's.
        index: of the series in the file.
        z: index of the plane of the stack.
        t: index of the time point.
        mpp: micrometres per pixel (y, x) of the finest level.
        bits: of a pixel value that are used.
        stage: micrometres (y, x) at which the stage stood, if known.
        names: of OME's channels, or empty.
    """

    levels: tuple[tuple[Plane, ...], ...]
    index: int
    z: int
    t: int
    mpp: tuple[float, float] | None
    bits: int
    stage: tuple[float, float] | None = None
    names: tuple[str, ...] = ()

    @property
    def sizes(self) -> tuple[tuple[int, int], ...]:
        """Heights and widths of the levels, px."""
        return tuple(planes[0].size for planes in self.levels)


def read_series(tif: Any, selection: Selection, blobs: _Blobs, where: str) -> tuple[Series, Any]:
    """The selected series, and tifffile's first page of it.

    Args:
        tif: an open ``tifffile.TiffFile``.
        selection: what to read.
        blobs: returns the bytes of a file, by its path.
        where: the file, for errors.

    Raises:
        ImageError: the series, plane or time does not exist, or its pages cannot be read tile by tile.
    """
    images = _images(list(tif.series))
    if not images:
        raise ImageError(where, "is a TIFF without images", fix="check the file")
    index = select_index(selection.series, len(images), what="series", where=where)
    levels = images[index]
    _check_page(levels[0].keyframe, where)
    axes = _leading_axes(levels[0], where)
    z, t = (
        select_index(p, _size(axes, name), what=name, where=where)
        for p, name in ((selection.z, "z"), (selection.t, "t"))
    )
    found = tuple(_planes(level, z, t, blobs, where) for level in levels)
    fitting = tuple(planes for planes in found if _same_kind(planes, found[0]))
    ordered = tuple(sorted(fitting, key=lambda planes: -planes[0].size[0] * planes[0].size[1]))
    mpp = resolution(tif, levels[0], index, len(images))
    page = levels[0].keyframe
    stage = None if mpp is None else stage_position(tif, index, len(images))
    names = channel_names(tif.ome_metadata, index, len(images)) if tif.is_ome else ()
    return Series(ordered, index, z, t, mpp, tiff_bits(tif, page, index, len(images)), stage, names), page


def _same_kind(planes: tuple[Plane, ...], base: tuple[Plane, ...]) -> bool:
    """Whether a level has the channels and types of the finest one."""
    kinds = [[(plane.channels, plane.dtype) for plane in level] for level in (planes, base)]
    return kinds[0] == kinds[1]


def _images(series: list[Any]) -> list[list[Any]]:
    """The levels of each image; series marked as reduced become levels of their image, masks are left out."""
    images: list[list[Any]] = []
    for one in series:
        page = one.keyframe
        if page.subfiletype & 4 and images:
            continue
        owner = next((image for image in images if _is_level(one, image)), None)
        if owner is not None:
            owner += one.levels
        else:
            images.append(list(one.levels))
    return images


def _is_level(one: Any, image: list[Any]) -> bool:
    """Whether a series is a smaller version of an image: marked so, of the same type and proportions to within 2 px."""
    page, base = one.keyframe, image[0].keyframe
    if not (page.is_reduced or page.is_subifd) or page.dtype != base.dtype or len(one) != len(image[0]):
        return False
    small, large = (page.imagelength, page.imagewidth), (base.imagelength, base.imagewidth)
    if page.samplesperpixel != base.samplesperpixel or not all(0 < s < n for s, n in zip(small, large, strict=True)):
        return False
    factor = large[0] / small[0]
    return bool(abs(large[1] / factor - small[1]) <= 2)


def _leading_axes(series: Any, where: str) -> list[tuple[str, int]]:
    """Names and sizes of the axes over pages; all that are longer than 1 are named ``c``, ``z`` or ``t``."""
    axes, shape = series.get_axes(False), tuple(series.get_shape(False))
    page, count = math.prod(series.keyframe.shape), len(shape)
    while count > 0 and math.prod(shape[count:]) < page:
        count -= 1
    if math.prod(shape[count:]) != page:
        raise ImageError(where, f"its pages do not match its axes {axes} of {shape}", fix="save it as OME-TIFF")
    taken = {axis.lower() for axis, size in zip(axes, shape, strict=True) if axis in "CZT" and size > 1}
    free = [name for name in ("z", "t") if name not in taken]
    found = []
    for axis, size in zip(axes[:count], shape[:count], strict=True):
        name = axis.lower()
        if name not in ("c", "z", "t") and size > 1:
            if not free:
                raise ImageError(where, f"has more axes than c, z, t, y, x: {axes} of {shape}", fix="split the file")
            name = free.pop(0)
        found.append((name, size))
    return found


def _size(axes: Sequence[tuple[str, int]], name: str) -> int:
    return math.prod(size for axis, size in axes if axis == name)


def _planes(series: Any, z: int, t: int, blobs: _Blobs, where: str) -> tuple[Plane, ...]:
    """The planes of one z and t, one for each position on axis c."""
    axes = _leading_axes(series, where)
    sizes = [size for _, size in axes]
    channels = max(1, _size(axes, "c"))
    planes = []
    for c in range(channels):
        at = {"c": c, "z": z, "t": t}
        place = [at[name] if size > 1 else 0 for name, size in axes]
        if any(i >= size for i, size in zip(place, sizes, strict=True)):
            raise ImageError(where, f"a level of the pyramid has no plane z={z}, t={t}", fix="save the file anew")
        index = int(np.ravel_multi_index(place, sizes)) if sizes else 0
        planes.append(_plane(series, index, blobs, where))
    return tuple(planes)


def _plane(series: Any, index: int, blobs: _Blobs, where: str) -> Plane:
    """One page of a series."""
    key = series.keyframe
    _check_page(key, where)
    page = key if series.is_truncated else series[index]
    separate, _, height, width, samples = key.shaped
    tile = (key.tilelength, key.tilewidth) if key.is_tiled else (key.rowsperstrip, width)
    _check_tile_size(tile, samples * key.dtype.itemsize, key, where)
    count = separate * -(-height // tile[0]) * -(-width // tile[1])
    offsets, counts = (() if page is None else getattr(page, name) for name in ("dataoffsets", "databytecounts"))
    if page is not None and min(len(offsets), len(counts)) < count:
        raise ImageError(
            where,
            f"{height}x{width} px are {count} tiles, the file lists {min(len(offsets), len(counts))}",
            fix="it is damaged or incomplete: copy or download it again",
        )
    options: dict[str, Any] = {}
    if key.compression == 7 and page is not None:
        options = {"jpegtables": page.jpegtables, "jpegheader": key.jpegheader}
        if page.jpegtables:
            check_tile(page.jpegtables, 7, tile, samples)
    plane = Plane(
        blob=None if page is None else blobs(page.parent.filehandle.path),
        size=(height, width),
        tile=tile,
        samples=samples,
        separate=separate,
        dtype=key.dtype.newbyteorder("="),
        fill=key.nodata,
        offsets=np.array(offsets[:count], np.int64) if page is not None else np.zeros(count, np.int64),
        counts=np.array(counts[:count], np.int64) if page is not None else np.zeros(count, np.int64),
        compression=key.compression,
        decode=page_decoder(key.decode, key.is_tiled),
        options=options,
    )
    if (plane.offsets < 0).any() or (plane.counts < 0).any():
        raise ImageError(where, "lists tiles at negative positions", fix="it is damaged: copy or download it again")
    return _as_stored(plane, series, index, where)


def _as_stored(plane: Plane, series: Any, index: int, where: str) -> Plane:
    """The page with strips of our own size if it is uncompressed; of a stack behind a single page, the plane wanted.

    Raises:
        ImageError: tiles or strips are too large to be decoded whole.
    """
    key = series.keyframe
    bare = key.compression == 1 and key.predictor == 1 and key.fillorder == 1
    if not key.is_tiled and bare and key.bitspersample == 8 * plane.dtype.itemsize and plane.blob is not None:
        strips = raw_strips(plane, key.parent.byteorder, index * key.nbytes if series.is_truncated else 0)
        if strips is not None:
            return strips
    if series.is_truncated and index:
        raise ImageError(where, "is a compressed or tiled stack behind one page", fix="save it as OME-TIFF")
    rows, most = plane.tile[0] * plane.tile[1] * plane.samples * plane.dtype.itemsize, _most_tile(key)
    if rows > most:
        kind = "tiles" if key.is_tiled else "strips"
        raise ImageError(
            where,
            f"is stored in {kind} of {plane.tile[0]}x{plane.tile[1]} px that decode only whole: {rows} bytes each "
            f"(at most {most} in a file of {key.parent.filehandle.size} bytes)",
            fix="save it in tiles: tiffcp -t -w 512 -l 512, or vips tiffsave --tile",
        )
    return plane


def _check_page(page: Any, where: str) -> None:
    """Raises an ImageError if a page cannot be read tile by tile."""
    if page.imagedepth != 1 or page.tiledepth != 1:
        raise ImageError(
            where, f"one page holds a volume (ImageDepth {page.imagedepth})", fix="save one page a plane, as OME-TIFF"
        )
    if page.dtype is None or page.dtype.kind not in "buif" or not isinstance(page.bitspersample, int):
        raise ImageError(
            where,
            f"has pixels of sample format {page.sampleformat}, {page.bitspersample} bits",
            fix="save it with integers or floats of 1 to 64 bits",
        )
    if page.compression not in CHECKED:
        name = getattr(page.compression, "name", page.compression)
        raise ImageError(
            where,
            f"compression {name} ({int(page.compression)}) is not supported",
            fix="install other readers: pip install 'fullfield[geo,slide]'; or save it with another compression",
        )
    if 0 in page.shaped:
        raise ImageError(where, f"has no pixels: {page.imagelength}x{page.imagewidth} px", fix="check the file")


def _most_tile(page: Any) -> int:
    """The most bytes to which a tile or strip of the page may decode."""
    return block_bytes(page.parent.filehandle.size, _MOST_TILE)


def _check_tile_size(tile: tuple[int, int], pixel_bytes: int, page: Any, where: str) -> None:
    """Raises an ImageError if tiles are empty, or far larger than the picture."""
    most = _most_tile(page)
    if min(tile) < 1 or (page.is_tiled and tile[0] * tile[1] * pixel_bytes > most):
        raise ImageError(
            where,
            f"tiles of {tile[0]}x{tile[1]} px, {tile[0] * tile[1] * pixel_bytes} bytes, in a picture of "
            f"{page.imagelength}x{page.imagewidth} px (at most {most} bytes a tile)",
            fix="it is damaged, or save it in tiles of 512x512 px",
        )
