"""Finds the parts of a GeoTIFF that the file does not store, without reading pixels."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from fullfield.geometry.region import Region


def is_absent(dataset: Any, bands: tuple[int, ...], region: Region) -> bool:
    """Whether the file stores no tile of a region, and missing tiles are nodata or transparent.

    Only files with several tiles per row can be asked: of strips GDAL may report other blocks than the file has.

    Args:
        dataset: open at one level.
        bands: bands read, counted from 1.
        region: half-open, inside the image.
    """
    if dataset.driver != "GTiff" or dataset.block_shapes[0][1] >= dataset.width:
        return False
    deciding = _deciding(dataset, bands)
    if not deciding or any(
        _is_stored(dataset, band, *place) for band in deciding for place in _blocks(dataset, region)
    ):
        return False
    return _confirmed(dataset, bands, region)


def _deciding(dataset: Any, bands: tuple[int, ...]) -> tuple[int, ...]:
    """The bands whose missing tiles mean invalid pixels: those with nodata, or alpha; else none."""
    from rasterio.enums import ColorInterp, MaskFlags  # type: ignore[import-untyped]

    flags = [set(dataset.mask_flag_enums[band - 1]) for band in bands]
    if all(flag == {MaskFlags.nodata} for flag in flags):
        return bands
    if all(MaskFlags.alpha in flag for flag in flags):
        return tuple(i for i, kind in enumerate(dataset.colorinterp, 1) if kind is ColorInterp.alpha)
    return ()


def _blocks(dataset: Any, region: Region) -> Iterator[tuple[int, int]]:
    """Row and column of every tile that a region overlaps."""
    top, bottom, left, right = region
    height, width = dataset.block_shapes[0]
    for i in range(top // height, -(-bottom // height)):
        for j in range(left // width, -(-right // width)):
            yield i, j


def _is_stored(dataset: Any, band: int, i: int, j: int) -> bool:
    """Whether the file stores a tile. Source: GDAL, GTiff driver, metadata domain TIFF."""
    return dataset.get_tag_item(f"BLOCK_OFFSET_{j}_{i}", "TIFF", band) is not None


def _confirmed(dataset: Any, bands: tuple[int, ...], region: Region) -> bool:
    """Whether a pixel of the region is invalid: GDAL also reports no offset where it does not know it."""
    from rasterio.windows import Window  # type: ignore[import-untyped]

    return not dataset.read_masks(list(bands), window=Window(region[2], region[0], 1, 1)).any()
