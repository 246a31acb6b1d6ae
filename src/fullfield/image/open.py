"""Opens image files of any kind by their content, never by their name."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from fullfield.arguments import checks_fields, checks_keywords
from fullfield.errors import ImageError
from fullfield.image.blob import local_path
from fullfield.image.colour_profile import to_srgb
from fullfield.image.open_file import open_file
from fullfield.image.open_stack import open_stack
from fullfield.image.opened import FileState, Opened, file_state
from fullfield.image.percentiles import percentile_range
from fullfield.image.raster import Raster, finest_level
from fullfield.image.selection import (
    Resampling,
    Selection,
    ValidBands,
    finer_level,
    level_mpp,
    parse_bands,
    parse_value_range,
    unknown_resolution,
)

PathLike = str | os.PathLike[str]
_MICROSCOPE = 0.02, 50.0  # µm/px: pixels outside are no microscope's, but printers' defaults or another unit's
_STATE = "state it by pixel_size= (--pixel-size)"
_ENLARGED = 4  # times at most that a resolution enlarges an image


@checks_keywords
def open(
    path: PathLike | Sequence[PathLike],
    *,
    level: int | None = None,
    mpp: float | None = None,
    bands: Sequence[int | str] | None = None,
    series: int | None = None,
    z: int | None = None,
    t: int | None = None,
    value_range: tuple[float, float] | str | None = None,
    pixel_size: float | None = None,
    nodata: float | None = None,
    valid: ValidBands = "any",
    scale_offset: bool = False,
    resampling: Resampling = "bilinear",
    icc: bool = False,
    trust: bool = False,
) -> Raster:
    """Opens an image of any size; pixels are read by region, when they are needed.

    The format is detected by content: TIFF and OME-TIFF, GeoTIFF and GDAL's other formats, whole-slide images, Zarr and
    OME-Zarr, ``.npy``, WAV, PNG, JPEG and Pillow's other formats. Only MIRAX slides need their suffix, ``.mrxs``.

    Args:
        path: file, folder of a Zarr, or URL; or an ``ImageFile``, which names the rest itself. Several files are one
            image, with the bands of all: on the grid of the one with the smallest pixels, of equal ones the first;
            where a file does not reach, its bands hold nothing.
        level: index into the pyramid; 0, the finest, by default.
        mpp: micrometres per pixel, instead of a level: the nearest finer level is resampled once.
        bands: channels to read, in this order: counted from 0, or by name (a description, a colour, OME's channel).
        series: index of the image, where a file holds several.
        z: index of the plane of a stack.
        t: index of the time point.
        value_range: pixel values of black and white, ``(0, 4095)`` for 12 bits say, that become the ends of the range
            that the network was trained on; by default those that the file declares, else those of 8 and 16 bits.
            ``"p1,p99"`` are percentiles of the valid pixels of all bands, of 256 blocks of a large image.
        pixel_size: micrometres per pixel of the finest level, in place of what the file states.
        nodata: value of pixels that hold nothing, in place of the file's; of floats NaN always does.
        valid: whether a pixel is valid if ``any`` of its bands holds data, or only if ``all`` do.
        scale_offset: multiply stored numbers by the scale that the file gives their band, and add its offset: floats.
        resampling: of those of several files that lie on another grid: ``"bilinear"`` or ``"nearest"``.
        icc: convert red, green and blue of 8 bits from the file's ICC profile to sRGB.
        trust: let the file, such as a VRT, name files in any folder of this machine, not only below its own.

    Raises:
        ImageError: it cannot be read, does not hold what is selected, or its reader is not installed; or several files
            do not lie on each other.

    Examples:
        >>> from importlib.resources import files
        >>> image = open(str(files("fullfield") / "data" / "astronaut.png"))
        >>> image.shape, image.read(0, 100, 0, 200).shape
        ((512, 512, 3), (100, 200, 3))
    """
    if isinstance(path, ImageFile):
        return path.open()
    first, *others = parse_files(path)
    chosen = None if bands is None else parse_bands(bands)
    span = parse_value_range(value_range)
    selection = Selection(
        level,
        mpp,
        chosen,
        series,
        z,
        t,
        pixel_size=pixel_size,
        nodata=nodata,
        valid=valid,
        scale_offset=scale_offset,
        stack=tuple(others),
        resampling=resampling,
        icc=icc,
        trust=trust,
        **span,
    )
    return open_raster(first, selection=selection)


@checks_fields
@dataclass(frozen=True)
class ImageFile:
    """A part of an image file, opened when it is scanned: an image as ``scan`` and ``scan_files`` take it.

    Args:
        path: file, folder of a Zarr, or URL.
        selection: the part.

    Examples:
        >>> import os
        >>> os.fspath(ImageFile("slide.svs", Selection(mpp=0.5)))
        'slide.svs'
    """

    path: str
    selection: Selection = field(default_factory=Selection)

    def open(self) -> Raster:
        """Opens the image.

        Raises:
            ImageError: as for ``open``.
        """
        return open_raster(self.path, selection=self.selection)

    def __fspath__(self) -> str:
        return self.path


def parse_files(path: PathLike | Sequence[PathLike]) -> list[str]:
    """The files of an image, one or several.

    Raises:
        ImageError: none is named.
    """
    found = [os.fspath(each) for each in ([path] if isinstance(path, (str, os.PathLike)) else path)]
    if not found:
        raise ImageError("image", "no file is named", fix="give the path of one, or of several that are one image")
    return found


def open_raster(path: str | os.PathLike[str], *, selection: Selection) -> Raster:
    """Opens an image as ``open`` does, with the selection as one record."""
    name = os.fspath(path)
    state = opened_state(name, selection.stack)
    wanted = replace(selection, bands=None) if selection.icc else selection  # profiles convert all three colours
    raster = _opened(name, wanted) if selection.pixel_size is None else _of_pixel_size(name, wanted)
    try:
        if selection.icc:
            raster = to_srgb(raster, selection.bands)
        if selection.percentiles is not None:
            span = percentile_range(raster, *selection.percentiles)
            raster = replace(raster, metadata=replace(raster.metadata, value_range=span))  # type: ignore[type-var]
        if selection.mpp is not None:
            raster = _at_resolution(raster, selection.mpp, stated=selection.pixel_size is not None)
    except BaseException:
        raster.close()
        raise
    metadata = raster.metadata
    declared = {"nodata": selection.nodata, "valid": selection.valid, "scale_offset": selection.scale_offset}
    if declared != {"nodata": None, "valid": "any", "scale_offset": False}:
        metadata = replace(metadata, identity=metadata.identity | {key: str(value) for key, value in declared.items()})
    metadata = replace(metadata, opened=Opened(name, selection, state))
    return replace(raster, metadata=metadata)  # type: ignore[type-var]  # all readers' are dataclasses


def _of_pixel_size(name: str, selection: Selection) -> Raster:
    """The level selected of an image whose finest level has the pixel size that the user states."""
    assert selection.pixel_size is not None
    stated, mpp = selection.pixel_size, selection.mpp
    raster = _opened(name, replace(selection, mpp=None))
    levels = raster.metadata.levels or (finest_level(raster).size,)
    sizes = [level_mpp((stated, stated), levels, number) for number in range(len(levels))]
    level = raster.metadata.level if mpp is None else finer_level([max(size) for size in sizes], mpp)
    if level != raster.metadata.level:
        raster.close()
        raster = _opened(name, replace(selection, mpp=None, level=level))
    return replace(raster, metadata=replace(raster.metadata, mpp=sizes[level]))  # type: ignore[type-var]


def _check_resolution(raster: Raster, mpp: float) -> None:
    """Raises unless the resolution that a file states can be a microscope's, or is that of a map."""
    size = finest_level(raster).mpp
    low, high = _MICROSCOPE
    if size is None or raster.metadata.georeference is not None or (min(size) >= low and max(size) <= high):
        return
    raise ImageError(
        raster.name,
        f"states {max(size):.4g} µm/px, which no microscope has ({low:g} to {high:g}), and {mpp:g} are wanted",
        fix=f"{_STATE}, or choose by level= or scale= (--level, --scale)",
    )


def _at_resolution(raster: Raster, mpp: float, *, stated: bool) -> Raster:
    """The image at a resolution, resampled if it has another; ``stated``: by the user, not by the file."""
    from fullfield.image.resample import resampled

    found = raster.metadata.mpp
    if found is None:
        raise unknown_resolution(mpp, raster.name)
    if not stated:
        _check_resolution(raster, mpp)
    if max(found) > _ENLARGED * mpp:
        raise ImageError(
            raster.name,
            f"has {max(found):.4g} µm/px: {mpp:g} µm/px would enlarge it {max(found) / mpp:.4g} times, "
            f"at most {_ENLARGED} are made of a resolution",
            fix=f"if its pixels are of another size, {_STATE}; else enlarge it by scale= (--scale)",
        )
    height, width, _ = raster.shape
    size = max(1, round(height * found[0] / mpp)), max(1, round(width * found[1] / mpp))
    return raster if size == (height, width) else resampled(raster, size)


def opened_state(path: str, stack: tuple[str, ...]) -> FileState | None:
    """Size and time of change of a file; of several the sum and the last time, if all are files of this machine."""
    states = [file_state(local_path(each)) for each in (path, *stack)]
    known = [state for state in states if state is not None]
    return (sum(size for size, _ in known), max(time for _, time in known)) if len(known) == len(states) else None


def _opened(path: str, selection: Selection) -> Raster:
    return open_stack(path, selection, open_file) if selection.stack else open_file(path, selection)
