"""Slides in the TIFFs of several vendors, for tests: levels of half the size each, and what makes them a vendor's.

Source: the formats as OpenSlide documents them, https://openslide.org/formats
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from PIL import Image

TILE = 64
_JPEG = {"photometric": "rgb", "compression": "jpeg", "compressionargs": {"level": 95}, "metadata": None}


def _levels(pixels: np.ndarray, count: int = 3) -> Iterator[tuple[int, np.ndarray, dict[str, Any]]]:
    """Factor and pixels of every level, and how tifffile writes it."""
    for k in range(count):
        level = np.asarray(Image.fromarray(pixels).reduce(2**k))
        yield 2**k, level, {**_JPEG, "tile": (TILE, TILE), "subfiletype": int(k > 0)}


def write_ventana(path: Path, pixels: np.ndarray, *, mpp: float = 0.5, overlap: int | None = 0) -> Path:
    """First the label's picture, then levels; of a BIF its tiles overlap, as XML says; ``None`` for Ventana's TIFF."""
    rows, columns = pixels.shape[0] // TILE, pixels.shape[1] // TILE

    def number(row: int, column: int) -> int:
        """Tiles count from the bottom row up, every other row from right to left."""
        up = rows - 1 - row
        return up * columns + (columns - 1 - column if up % 2 else column) + 1

    overlaps = f'OverlapX="{overlap or 0}" OverlapY="{overlap or 0}" Confidence="99"'
    right = [("RIGHT", number(i, j), number(i, j + 1)) for i in range(rows) for j in range(columns - 1)]
    up = [("UP", number(i, j), number(i - 1, j)) for i in range(1, rows) for j in range(columns)]
    joints = "".join(
        f'<TileJointInfo Direction="{way}" Tile1="{tile}" Tile2="{other}" {overlaps}/>'
        for way, tile, other in right + up
    )
    area = (
        f'<EncodeInfo><SlideStitchInfo><ImageInfo AOIScanned="1" NumRows="{rows}" NumCols="{columns}" '
        f'Width="{TILE}" Height="{TILE}" Pos-X="0" Pos-Y="0">{joints}</ImageInfo></SlideStitchInfo>'
        '<AoiOrigin><AOI0 OriginX="0" OriginY="0"/></AoiOrigin></EncodeInfo>'
    )
    scanner = f'<iScan Z-layers="1" Magnification="20" ScanRes="{mpp}"/>'
    with tifffile.TiffWriter(path, bigtiff=True) as file:
        file.write(pixels[::8, ::8].copy(), photometric="rgb", metadata=None, description="Label Image",
                   extratags=[_xmp(scanner)])  # fmt: skip
        for factor, level, options in _levels(pixels):
            tags = [_xmp(area)] if factor == 1 and overlap is not None else []
            file.write(level, **options, description=f"level={factor.bit_length() - 1} mag={20 / factor:g}",
                       extratags=tags)  # fmt: skip
    return path


def _xmp(text: str) -> tuple[int, str, int, bytes, bool]:
    return 700, "B", len(text), text.encode(), True


def write_leica(path: Path, pixels: np.ndarray, *, mpp: float = 0.5, offset: tuple[int, int] = (64, 128)) -> Path:
    """An SCN: first the picture of the whole glass, then levels of the part that was scanned, ``offset`` px into it."""
    height, width = pixels.shape[:2]
    unit = round(1000 * mpp)  # nm a pixel
    glass = f'sizeX="{(width + 2 * offset[1]) * unit}" sizeY="{(height + 2 * offset[0]) * unit}"'
    scanned = f'sizeX="{width * unit}" sizeY="{height * unit}"'
    source = (
        "<scanSettings><objectiveSettings><objective>20</objective></objectiveSettings><illuminationSettings>"
        "<illuminationSource>brightfield</illuminationSource></illuminationSettings></scanSettings>"
    )
    dimensions = "".join(
        f'<dimension sizeX="{level.shape[1]}" sizeY="{level.shape[0]}" ifd="{k}"/>'
        for k, (_, level, _) in enumerate(_levels(pixels), 1)
    )
    text = (
        f'<?xml version="1.0"?><scn xmlns="http://www.leica-microsystems.com/scn/2010/10/01"><collection {glass}>'
        f'<image><pixels><dimension sizeX="{TILE}" sizeY="{TILE}" ifd="0"/></pixels>'
        f'<view {glass} offsetX="0" offsetY="0"/>{source}</image>'
        f"<image><pixels>{dimensions}</pixels>"
        f'<view {scanned} offsetX="{offset[1] * unit}" offsetY="{offset[0] * unit}"/>{source}</image>'
        "</collection></scn>"
    )
    with tifffile.TiffWriter(path, bigtiff=True) as file:
        file.write(pixels[:TILE, :TILE], **_JPEG, tile=(TILE, TILE), description=text)
        for factor, level, options in _levels(pixels):
            per_cm = 10_000 / (mpp * factor)
            file.write(level, **options, resolution=(per_cm, per_cm), resolutionunit="CENTIMETER")
    return path


def write_philips(path: Path, pixels: np.ndarray, *, mpp: float = 0.5, glass: str = "") -> Path:
    """A Philips TIFF: levels whose sizes are rounded up to whole tiles, described in XML, after ``glass``."""

    def attribute(name: str, value: object) -> str:
        return f'<Attribute Name="{name}">{value}</Attribute>'

    def spacing(factor: int) -> str:
        return attribute("DICOM_PIXEL_SPACING", f'"{mpp * factor / 1000:g}" "{mpp * factor / 1000:g}"')

    sizes = "".join(f'<DataObject ObjectType="PixelDataRepresentation">{spacing(f)}</DataObject>' for f in (1, 2, 4))
    levels = attribute("PIIM_PIXEL_DATA_REPRESENTATION_SEQUENCE", f"<Array>{sizes}</Array>")
    slide = f"<DataObject>{attribute('PIM_DP_IMAGE_TYPE', 'WSI')}{spacing(1)}{levels}</DataObject>"
    text = (
        '<?xml version="1.0"?><DataObject ObjectType="DPUfsImport">'
        f"{attribute('PIM_DP_SCANNED_IMAGES', f'<Array>{glass}{slide}</Array>')}</DataObject>"
    )
    with tifffile.TiffWriter(path, bigtiff=True) as file:
        for factor, level, options in _levels(pixels):
            said = {"description": text, "software": "Philips DP v1.0"} if factor == 1 else {}
            padded = [(0, -side % TILE) for side in level.shape[:2]]
            file.write(np.pad(level, [*padded, (0, 0)], constant_values=255), **options, **said)
    return path


def write_trestle(path: Path, pixels: np.ndarray, *, mpp: float = 0.5, overlap: int = 0) -> Path:
    """A Trestle TIFF, whose resolution tags hold micrometres; ``overlap`` px of its finest tiles are the next one's."""
    with tifffile.TiffWriter(path) as file:
        for factor, level, options in _levels(pixels):
            said = f"Background Color=E6E6E6;Objective Power=20;OverlapsXY= {overlap} {overlap} 0 0 0 0"
            file.write(level, **options, description=said, software="MedScan",
                       resolution=(mpp * factor, mpp * factor), resolutionunit="NONE")  # fmt: skip
    return path


WRITERS: dict[str, Callable[..., Path]] = {
    "ventana": write_ventana,
    "ventana tiff": partial(write_ventana, overlap=None),
    "ventana overlap": partial(write_ventana, overlap=5),
    "leica": write_leica,
    "philips": write_philips,
    "trestle": write_trestle,
}
