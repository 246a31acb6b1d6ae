"""Methods of ``Scores`` that hand them to xarray, dask, pandas and geopandas."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fullfield.arguments import checks_keywords, parse_bytes
from fullfield.handover.dask_array import dask_array
from fullfield.handover.data_array import data_array
from fullfield.handover.frame import frame, geo_frame

if TYPE_CHECKING:
    from fullfield.api.scores import Scores
    from fullfield.exporters.grid import Classes
    from fullfield.handover.cell_coordinates import CellCoordinates
    from fullfield.handover.frame import FrameCoordinates, WindowShapes


def to_dask(scores: Scores) -> Any:
    """The scores as a dask array ``(classes, y, x)``, a chunk for each shard, which is read when it is computed.

    Scores are floats, NaN for none; labels are as they are stored.

    Raises:
        ImageError: dask is not installed (``fullfield[dask]``).
    """
    return dask_array(scores.map)


@checks_keywords
def to_xarray(scores: Scores, *, coordinates: CellCoordinates = "auto") -> Any:
    """The scores as ``xarray.DataArray`` ``(c, y, x)``; of labels ``(y, x)``. Maps on disk are read when computed.

    ``c`` are the classes by name, ``class_index`` their indices among the network's, ``y`` and ``x`` the windows'
    centres. A coordinate system is in ``spatial_ref``, where CF and rioxarray look for it.

    Args:
        coordinates: of the centres: ``"image"`` in px from its top left corner, ``"micrometres"``, ``"map"`` in its
            coordinate system; by default the last of these that the image has.

    Raises:
        ImageError: xarray is not installed (``fullfield[xarray]``), or the image has no such coordinates.
    """
    return data_array(scores.map, coordinates)


@checks_keywords
def to_frame(scores: Scores, *, classes: Classes = None, budget: int | str = "4GiB") -> Any:
    """The scores as ``pandas.DataFrame``, a row for each window that has some, row by row.

    The columns: ``row`` and ``column`` of the cell; ``y`` and ``x``, the window's centre in px of the image, and where
    the image has them ``y_um``, ``x_um``, ``map_x``, ``map_y``; ``top``, the class with the greatest score, and
    ``top_score``; and the scores of each class under its name.

    Args:
        classes: whose scores are columns, by index or name; all by default.
        budget: memory that the table may take, bytes or a text such as ``"8GB"``.

    Raises:
        ImageError: pandas is not installed (``fullfield[pandas]``), or no such class.
        BudgetError: the table needs more.
    """
    return frame(scores.map, classes, budget_bytes=parse_bytes(budget))


@checks_keywords
def to_geodataframe(
    scores: Scores,
    *,
    classes: Classes = None,
    geometry: WindowShapes = "boxes",
    coordinates: FrameCoordinates = "auto",
    budget: int | str = "4GiB",
) -> Any:
    """The table of ``to_frame`` as ``geopandas.GeoDataFrame``, with each window as a polygon, or its centre.

    Args:
        classes: as for ``to_frame``.
        geometry: ``"boxes"`` or ``"centres"``.
        coordinates: ``"map"`` with its coordinate system, ``"image"`` in px, y downwards; by default ``"map"`` where
            the image has a georeference.
        budget: as for ``to_frame``.

    Raises:
        ImageError: geopandas is not installed (``fullfield[geopandas]``), no such class, or no georeference.
        BudgetError: the table needs more.
    """
    allowed = parse_bytes(budget)
    return geo_frame(scores.map, classes, geometry=geometry, coordinates=coordinates, budget_bytes=allowed)
