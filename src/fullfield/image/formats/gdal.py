"""GeoTIFF, COG and every other raster that GDAL reads, by window, with its place on the map.

Files are not trusted: what a file *names* must lie beside or below it (``gdal_safety``), and drivers whose files are
addresses of services do not run.
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fullfield.errors import ImageError
from fullfield.image.formats.checks import check_block, check_region, check_size, damaged, thumbnail_of, unreadable
from fullfield.image.formats.gdal_about import about_dataset, microns_per_pixel
from fullfield.image.formats.gdal_safety import check_files, check_path, drivers, forgetting, local, options
from fullfield.image.formats.gdal_sparse import is_absent
from fullfield.image.formats.handles import Handles
from fullfield.image.pick import Pick, finer_level, picked, picked_bands
from fullfield.image.raster import About

_MOST_LEVELS = 32
_QUIET = threading.Lock()  # filters of warnings belong to the process


@dataclass(frozen=True)
class _Recipe:
    """How to open one image, level by level.

    Args:
        target: what GDAL opens: a file, an address or the name of a subdataset.
        bands: of the file, counted from 1.
        colours: RGBA of every index where the band is a palette's, else ``None``.
        dtype: of what is read.
        masked: whether some pixels may hold nothing.
    """

    target: str
    bands: tuple[int, ...]
    colours: NDArray[np.uint8] | None
    dtype: np.dtype[Any]
    masked: bool


@dataclass(frozen=True, eq=False)
class GdalRaster:
    """One level of a raster that GDAL reads; implements ``Raster``.

    Args:
        name: the file, for reports and errors.
        shape: height and width, px, and channels.
        about: what the file says beside the pixels.
        recipe: how the file is opened and read.
        channels: of the palette's colours, those that are given.
    """

    name: str
    shape: tuple[int, int, int]
    about: About
    recipe: _Recipe
    channels: tuple[int, ...]
    _handles: Handles[Any] = field(repr=False)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the pixels."""
        return self.recipe.dtype

    def read(self, top: int, bottom: int, left: int, right: int) -> NDArray[Any]:
        """Pixels ``(y, x, c)`` of a half-open region.

        Raises:
            ImageError: the file is damaged there, or the region leaves the image.
        """
        region = (top, bottom, left, right)
        check_region(region, self.shape, self.name)
        with _errors(self.name, region), _settings(self.name), self._handles.borrowed() as dataset:
            return _pixels(dataset, self.recipe, region, self.channels)

    def valid(self, top: int, bottom: int, left: int, right: int) -> NDArray[np.bool_] | None:
        """Which pixels ``(y, x)`` hold something: by nodata value, alpha or mask band, whichever the file has."""
        if not self.recipe.masked:
            return None
        region = (top, bottom, left, right)
        check_region(region, self.shape, self.name)
        with _errors(self.name, region), _settings(self.name), self._handles.borrowed() as dataset:
            found = _mask(dataset, self.recipe, region)
        return None if found.all() else found

    def absent(self, top: int, bottom: int, left: int, right: int) -> bool:
        """Whether the file is known to hold nothing of a region; no pixels are decoded."""
        if not self.recipe.masked:
            return False
        region = (top, bottom, left, right)
        with _errors(self.name, region), _settings(self.name), self._handles.borrowed() as dataset:
            return is_absent(dataset, self.recipe.bands, region)

    def thumbnail(self, side: int) -> NDArray[Any] | None:
        """The whole image, from its overviews; ``None`` where it is large and has none."""

        def whole(level: int) -> NDArray[Any]:
            height, width = self.about.levels[level]
            with _settings(self.name), _opened(self.recipe.target, level, self.name) as dataset:
                return _pixels(dataset, self.recipe, (0, height, 0, width), self.channels)

        with _errors(self.name, (0, self.shape[0], 0, self.shape[1])):
            return thumbnail_of(self.about.levels, side, whole, pixel_bytes=self.shape[2] * self.dtype.itemsize)

    def close(self) -> None:
        """Closes the file."""
        self._handles.close()


def open_gdal(path: str, pick: Pick) -> GdalRaster:
    """The raster at ``path``, one level of it, read by window through GDAL.

    Channels are the bands picked, else all but alpha, which goes to ``valid``. A palette's band is given as its
    colours. Bands of different types are given in the type that holds them all.

    Args:
        path: a file, a folder GDAL knows, or an address (https, s3, gs, az, ``/vsi…``) that the user wrote.
        pick: level (overviews are levels), mpp, bands; series chooses the subdataset.

    Raises:
        ImageError: no rasterio, no raster, or nothing that was picked.
    """
    with _errors(path, None), _settings(path):
        check_path(path)
        target = _subdataset(path, pick)
        with _opened(target, 0, path) as dataset:
            check_files(path, dataset)
            recipe, channels, names = _recipe(dataset, target, pick, path)
            first = microns_per_pixel(dataset.transform, dataset.crs)
            count = min(len(dataset.overviews(recipe.bands[0])), _MOST_LEVELS - 1)
        levels = tuple(_size(target, level, path) for level in range(count + 1))
        level = _level(levels, pick, first, path)
        with _opened(target, level, path) as dataset:
            about = about_dataset(
                dataset, path, bands=recipe.bands, channels=channels, names=names, levels=levels, level=level
            )
    shape = (*levels[level], len(channels))
    return GdalRaster(path, shape, about, recipe, channels, Handles(partial(_open, target, level, path), path))


def _subdataset(path: str, pick: Pick) -> str:
    """What to open: the file, or the subdataset of it that ``pick.series`` counts."""
    for axis, index in (("z", pick.z), ("t", pick.t)):
        picked(index, 1, what=axis, where=path)
    import rasterio  # type: ignore[import-untyped]

    file = local(path)
    with rasterio.Env(**forgetting()), _opened(file, 0, path) as dataset:
        inside, count, driver = dataset.subdatasets, dataset.count, dataset.driver
    if not inside or (count and pick.series is None):
        if count == 0:
            raise ImageError(path, f"holds no bands ({driver})", fix="give a file with bands")
        picked(pick.series, 1, what="series", where=path)
        return file
    chosen: str = inside[picked(pick.series, len(inside), what="series", where=path)]
    return chosen


def _recipe(dataset: Any, target: str, pick: Pick, where: str) -> tuple[_Recipe, tuple[int, ...], tuple[str, ...]]:
    """How to read what is picked; which of a palette's colours; the channels' names."""
    from rasterio.enums import ColorInterp  # type: ignore[import-untyped]

    check_size((dataset.height, dataset.width), where)
    check_block(dataset.block_shapes[0], np.dtype(dataset.dtypes[0].replace("complex_", "complex")).itemsize, where)
    kinds = dataset.colorinterp
    if dataset.count == 1 and kinds[0] is ColorInterp.palette and dataset.dtypes[0] in ("uint8", "uint16"):
        colours = _colours(dataset)
        channels = picked_bands(pick.bands, 3, where=where)
        masked = bool((colours[:, 3] == 0).any()) or _has_mask(dataset, (1,))
        recipe = _Recipe(target, (1,), colours, np.dtype(np.uint8), masked)
        return recipe, channels, tuple(("red", "green", "blue")[c] for c in channels)
    opaque = tuple(i for i, kind in enumerate(kinds) if kind is not ColorInterp.alpha) or tuple(range(dataset.count))
    bands = opaque if pick.bands is None else picked_bands(pick.bands, dataset.count, where=where)
    dtype = _common_type([dataset.dtypes[b] for b in bands], where)
    indexes = tuple(b + 1 for b in bands)
    names = tuple(dataset.descriptions[b] or "" for b in bands)
    recipe = _Recipe(target, indexes, None, dtype, _has_mask(dataset, indexes))
    return recipe, tuple(range(len(bands))), names if any(names) else ()


def _colours(dataset: Any) -> NDArray[np.uint8]:
    """RGBA of every index a palette's band can hold; black and transparent where the table has none."""
    table = np.zeros((1 << (16 if dataset.dtypes[0] == "uint16" else 8), 4), np.uint8)
    for index, colour in dataset.colormap(1).items():
        if 0 <= index < len(table):
            table[index] = colour
    return table


def _has_mask(dataset: Any, indexes: tuple[int, ...]) -> bool:
    from rasterio.enums import MaskFlags

    return not all(MaskFlags.all_valid in dataset.mask_flag_enums[i - 1] for i in indexes)


def _common_type(names: list[str], where: str) -> np.dtype[Any]:
    """The type that holds all bands.

    Raises:
        ImageError: complex bands.
    """
    if any(name.startswith("complex") for name in names):
        raise ImageError(
            where, f"bands are {names[0]}, and a network takes real numbers", fix="write amplitude or phase to a file"
        )
    return np.result_type(*(np.dtype(name) for name in names))


def _level(levels: tuple[tuple[int, int], ...], pick: Pick, mpp: tuple[float, float] | None, where: str) -> int:
    if pick.mpp is None:
        return picked(pick.level, len(levels), what="level", where=where)
    if mpp is None:
        raise ImageError(
            where, f"{pick.mpp:g} µm/px is wanted, the file says no length of a pixel", fix="give a level instead"
        )
    return finer_level([max(mpp) * levels[0][1] / size[1] for size in levels], pick.mpp)


def _size(target: str, level: int, path: str) -> tuple[int, int]:
    with _opened(target, level, path) as dataset:
        return dataset.height, dataset.width


def _pixels(
    dataset: Any, recipe: _Recipe, region: tuple[int, int, int, int], channels: tuple[int, ...]
) -> NDArray[Any]:
    """Pixels ``(y, x, c)`` of a region of an open file."""
    window = _window(region)
    if recipe.colours is not None:
        table = np.ascontiguousarray(recipe.colours[:, list(channels)])
        found: NDArray[Any] = table[dataset.read(1, window=window)]
        return found
    if len({dataset.dtypes[band - 1] for band in recipe.bands}) == 1:
        planes = dataset.read(list(recipe.bands), window=window)
    else:
        planes = np.stack([dataset.read(band, window=window).astype(recipe.dtype) for band in recipe.bands])
    return np.ascontiguousarray(planes.transpose(1, 2, 0))


def _mask(dataset: Any, recipe: _Recipe, region: tuple[int, int, int, int]) -> NDArray[np.bool_]:
    """Which pixels of a region hold something in one of the bands read (as ``rasterio.dataset_mask`` for all)."""
    window = _window(region)
    found: NDArray[np.bool_] = (dataset.read_masks(list(recipe.bands), window=window) != 0).any(axis=0)
    if recipe.colours is not None:
        found &= recipe.colours[dataset.read(1, window=window), 3] != 0
    return found


def _window(region: tuple[int, int, int, int]) -> Any:
    from rasterio.windows import Window  # type: ignore[import-untyped]

    top, bottom, left, right = region
    return Window(left, top, right - left, bottom - top)


def _open(target: str, level: int, path: str) -> Any:
    """A handle of one level, without warnings: what they say is in ``About``."""
    import rasterio
    from rasterio.io import DatasetReader  # type: ignore[import-untyped]  # rasterio.open takes one driver or all

    kwargs = {} if level == 0 else {"OVERVIEW_LEVEL": level - 1}
    with _QUIET, rasterio.Env(**options(path)), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return DatasetReader(target, driver=drivers(path), sharing=False, **kwargs)


@contextmanager
def _settings(path: str) -> Iterator[None]:
    """GDAL's settings in this thread for one block; its messages go to a log, not to stderr."""
    import rasterio

    with rasterio.Env(**options(path)):
        yield


@contextmanager
def _opened(target: str, level: int, path: str) -> Iterator[Any]:
    """A handle for one block."""
    dataset = _open(target, level, path)
    try:
        yield dataset
    finally:
        dataset.close()


@contextmanager
def _errors(where: str, region: tuple[int, int, int, int] | None) -> Iterator[None]:
    """Turns what rasterio raises into an ImageError with the file and the region."""
    try:
        import rasterio  # noqa: F401
    except ImportError as error:
        raise ImageError(
            where, f"is read with rasterio, which is missing ({error})", fix="pip install 'fullfield[geo]'"
        ) from error
    try:
        yield
    except ImageError:
        raise
    except Exception as error:
        said = error.__cause__ or error  # what GDAL said, where rasterio refers to it
        if "Range downloading not supported" in str(said):
            raise ImageError(
                where, "the server gives no parts of files, as GDAL needs", fix="download the file"
            ) from error
        raise (unreadable(where, said) if region is None else damaged(where, region, said)) from error
