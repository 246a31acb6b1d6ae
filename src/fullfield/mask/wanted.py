"""Combines mask, background and nodata into the cells of a map to compute."""

from __future__ import annotations

from dataclasses import replace

from fullfield.engine.protocols import WantedCells
from fullfield.errors import ImageError
from fullfield.geometry.placement import Placement
from fullfield.image.raster import Raster
from fullfield.mask.background import find_foreground
from fullfield.mask.grid import AllOf, MaskCells, any_wanted
from fullfield.mask.masks import mask_grid
from fullfield.mask.valid import ValidCells, may_be_empty
from fullfield.mask.where import Where


def wanted_cells(raster: Raster, placement: Placement, where: Where) -> WantedCells | None:
    """The cells of a map to compute; ``None`` for all.

    A cell must satisfy the mask, the foreground and the image's valid pixels, as far as each is given. The region and
    the edge are part of the placement.

    Args:
        raster: the image as it is read, before resizing.
        placement: of the map on that image.
        where: what selects windows.

    Raises:
        ImageError: the mask cannot be used, all of the image is background, or no cell is left.
    """
    grids = [] if where.mask is None else [mask_grid(where.mask, raster, coordinates=where.coordinates)]
    skip = where.skip_background
    foreground = find_foreground(raster) if skip is True else skip or None
    if foreground is not None and foreground.background != "none":
        grids.append(foreground.grid())
    selected = tuple(MaskCells(grid, placement, where.min_coverage) for grid in grids)
    if selected and not any_wanted(AllOf(selected), placement.shape):
        rows, columns = placement.shape
        given = " and ".join(
            name for name, value in (("the mask", where.mask), ("the content", foreground)) if value is not None
        )
        raise ImageError(
            raster.name,
            f"none of the map's {rows}x{columns} windows touches {given}"
            + (f" with {where.min_coverage:.0%} of its area" if where.min_coverage else ""),
            fix="use a smaller min_coverage, another region, or a mask that reaches it",
        )
    conditions: tuple[WantedCells, ...] = selected + (
        (ValidCells(raster, replace(placement, image=raster.shape[:2]), where.min_coverage),)
        if may_be_empty(raster)
        else ()
    )
    if len(conditions) < 2:
        return conditions[0] if conditions else None
    return AllOf(conditions)
