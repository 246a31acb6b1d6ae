"""Everything that says where to look on an image, put together."""

from __future__ import annotations

from fullfield.engine.progress import OnProgress
from fullfield.engine.protocols import WantedCells
from fullfield.errors import ImageError
from fullfield.geometry.placement import Placement
from fullfield.image.raster import Raster
from fullfield.mask.background import Foreground, find_foreground
from fullfield.mask.grid import AllOf, MaskCells, any_wanted, check_coverage
from fullfield.mask.masks import mask_grid
from fullfield.mask.valid import ValidCells, may_be_empty


def wanted_cells(
    raster: Raster,
    placement: Placement,
    *,
    mask: object = None,
    coordinates: str = "auto",
    skip_background: bool | Foreground = False,
    min_coverage: float = 0.0,
    progress: OnProgress | None = None,
) -> WantedCells | None:
    """The cells of a map that are wanted; ``None`` for all.

    What a mask selects, what is no background and what holds valid pixels: a cell must satisfy each that there is.

    Args:
        raster: the image as it lies in its file, before it is resized.
        placement: of the map on that image, a region's padding included.
        mask: a file, an array or a ``Raster``, as ``mask_grid`` takes it.
        coordinates: of a GeoJSON mask: ``auto``, ``image`` or ``map``.
        skip_background: look for the background; or what ``find_foreground`` found, whose picture was perhaps saved.
        min_coverage: least part of a window's area in the image that each must cover; 0 asks for a touch.
        progress: called after every block that is read, if the image must be read to find its background.

    Raises:
        ImageError: a mask that cannot be used, an image that is all background, or no cell that is wanted.
        GeometryError: ``min_coverage`` or ``coordinates`` that mean nothing.
    """
    check_coverage(min_coverage)
    grids = [] if mask is None else [mask_grid(mask, raster, coordinates=coordinates)]
    content = find_foreground(raster, progress=progress) if skip_background is True else skip_background or None
    if content is not None and content.background != "none":
        grids.append(content.grid())
    chosen = tuple(MaskCells(grid, placement, min_coverage) for grid in grids)
    if chosen and not any_wanted(AllOf(chosen), placement.shape):
        rows, columns = placement.shape
        asked = " and ".join(name for name, on in (("the mask", mask), ("the content", content)) if on is not None)
        raise ImageError(
            raster.name,
            f"none of the map's {rows}x{columns} windows touches {asked}"
            + (f" with {min_coverage:.0%} of its area" if min_coverage else ""),
            fix="use a smaller min_coverage, another region, or a mask that reaches it",
        )
    wheres: tuple[WantedCells, ...] = chosen + (
        (ValidCells(raster, placement, min_coverage),) if may_be_empty(raster) else ()
    )
    if len(wheres) < 2:
        return wheres[0] if wheres else None
    return AllOf(wheres)
