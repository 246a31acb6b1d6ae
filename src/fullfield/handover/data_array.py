"""Score maps as ``xarray.DataArray``."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from fullfield.exporters.grid import class_names
from fullfield.handover.cell_coordinates import CellCoordinates, cell_axes, is_straight
from fullfield.handover.dask_array import MapCells, dask_array
from fullfield.packages import import_packages
from fullfield.store.array_map import ArrayMap
from fullfield.store.maps import MapSpec, ScoreMap
from fullfield.store.record import plain_json


def data_array(scores: ScoreMap, coordinates: CellCoordinates) -> Any:
    """A map with named axes and coordinates: of scores ``(c, y, x)``, of labels ``(y, x)``.

    Maps in memory are shared, others are dask arrays. A coordinate system is in the coordinate ``spatial_ref``, where
    the CF conventions and rioxarray look for it.

    Raises:
        ImageError: xarray, or for a map on disk dask, is not installed; or coordinates that the image does not have.
    """
    xarray = import_packages("xarray", extra="xarray", where="to_xarray")[0]
    spec, axes = scores.spec, cell_axes(scores.spec, coordinates)
    data = MapCells(scores)[:, :, :] if isinstance(scores, ArrayMap) else dask_array(scores)
    coords: dict[str, Any] = {"y": ("y", axes.y, axes.y_attributes), "x": ("x", axes.x, axes.x_attributes)}
    if spec.sample_rate is not None:
        coords["time_s"] = ("x", axes.x / spec.sample_rate, {"long_name": "time", "units": "s"})
    if axes.crs is not None:
        coords["spatial_ref"] = ((), 0, _spatial_reference(spec, axes.crs))
    attributes = _attributes(scores)
    if spec.kind == "labels":
        found = xarray.DataArray(data[0], coords, ("y", "x"), "labels", attributes)
    else:
        names = class_names(scores)
        keys = np.array(names if len(set(names)) == len(names) else spec.classes)
        coords |= {"c": ("c", keys, {"long_name": "class"}), "class_index": ("c", np.array(spec.classes))}
        found = xarray.DataArray(data, coords, ("c", "y", "x"), "scores", attributes)
    if axes.crs is not None:
        found.encoding["grid_mapping"] = "spatial_ref"
    return found


def _attributes(scores: ScoreMap) -> dict[str, Any]:
    """How the map was made, in types that files of any format can store."""
    spec = scores.spec
    found: dict[str, Any] = {
        "mode": spec.mode,
        "activation": spec.went_through or "none",
        "window": list(spec.placement.window),
        "step": list(spec.placement.step),
        "image": list(spec.placement.image),
        "provenance": json.dumps(plain_json(spec.provenance), allow_nan=False),
    }
    if scores.certificate is not None:
        found["certificate"] = json.dumps(plain_json(scores.certificate), allow_nan=False)
    if spec.kind == "labels":
        names = [name.replace(" ", "_") for name in class_names(scores)]
        found |= {"flag_values": list(spec.classes), "flag_meanings": " ".join(names), "_FillValue": int(spec.fill)}
    return found


def _spatial_reference(spec: MapSpec, wkt: str) -> dict[str, str]:
    """Attributes of the coordinate that holds the coordinate system, and GDAL's transform of the grid of cells."""
    georeference, placement = spec.georeference, spec.placement
    assert georeference is not None
    assert is_straight(georeference)
    a, b, c, d, e, f = georeference.moved(*placement.centre(-0.5, -0.5), placement.spacing).transform
    return {"crs_wkt": wkt, "spatial_ref": wkt, "GeoTransform": " ".join(repr(float(n)) for n in (c, a, b, f, d, e))}
