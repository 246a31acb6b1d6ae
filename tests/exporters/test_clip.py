"""Objects cut to polygons, against shapely's intersection of the same objects read back."""

from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import pandas
import pytest
import shapely

from fullfield.errors import ImageError
from tests.exporters.maps import UTM, Map, score_map
from tests.exporters.test_rows import written

MASK = shapely.MultiPolygon([
    shapely.Polygon([(30.4, 20.2), (200.7, 40.1), (170.3, 190.6), (60.2, 150.8)], [[(90, 60), (130, 70), (110, 120)]]),
    shapely.box(250.3, 100.2, 330.9, 260.7),
])  # fmt: skip


def mask_file(path: Path, shape: Any = MASK) -> Path:
    path.write_text(shapely.to_geojson(shape))
    return path


def on_map(shape: Any) -> Any:
    return shapely.transform(shape, lambda xy: np.stack(UTM.on_map(xy[:, 1], xy[:, 0]), axis=1))


def read(path: Path, placed: bool) -> Any:
    """The file as it is; geopandas takes GeoJSON without a system for degrees."""
    frame = geopandas.read_file(path)
    return frame if placed else frame.set_crs(None, allow_override=True)


def by_class(frame: Any) -> Any:
    return frame.dissolve("class").geometry


@pytest.mark.parametrize("suffix", [".geojson", ".gpkg", ".fgb"])
@pytest.mark.parametrize("rows", ["regions", "windows"])
@pytest.mark.parametrize("placed", [False, True])
def test_areas_end_where_the_mask_does(tmp_path: Path, suffix: str, rows: str, placed: bool) -> None:
    scores: Map = score_map(georeference=UTM) if placed else score_map()
    mask = mask_file(tmp_path / "mask.json")
    whole = read(written(scores, tmp_path / f"whole{suffix}", rows=rows), placed)
    found = read(written(scores, tmp_path / f"a{suffix}", rows=rows, clip=mask), placed)
    inside = on_map(MASK) if placed else MASK
    assert shapely.difference(found.geometry, inside.buffer(1e-6)).area.max() < 1e-6
    wanted = by_class(whole).intersection(inside)
    assert by_class(found).symmetric_difference(wanted, align=True).area.max() < 1e-3 * wanted.area.min()
    assert 0 < len(found) < len(whole)
    assert (found.crs, found.crs is None) == (whole.crs, not placed)


def test_points_outside_are_left_out(tmp_path: Path) -> None:
    scores, mask = score_map(), mask_file(tmp_path / "mask.json")
    whole = geopandas.read_file(written(scores, tmp_path / "whole.gpkg", rows="points"))
    found = geopandas.read_file(written(scores, tmp_path / "a.gpkg", rows="points", clip=mask))
    wanted = whole[whole.intersects(MASK)]
    assert sorted(found.to_wkt()["geometry"]) == sorted(wanted.to_wkt()["geometry"])
    assert 0 < len(found) < len(whole)


def test_a_table_holds_the_windows_whose_cells_reach_inside(tmp_path: Path) -> None:
    scores, mask = score_map(holes=False), mask_file(tmp_path / "mask.json")
    found = pandas.read_csv(written(scores, tmp_path / "a.csv", clip=mask))
    height, width = scores.spec.placement.spacing
    centres = np.array([scores.spec.placement.centre(i, j) for i, j in np.ndindex(*scores.spec.shape[1:])])
    half = np.array([height, width]) / 2
    cells = shapely.box(*(centres - half).T[::-1], *(centres + half).T[::-1])
    assert len(found) == (shapely.area(shapely.intersection(cells, MASK)) > 0).sum()


def test_degrees_are_cut_in_degrees(tmp_path: Path) -> None:
    mask = mask_file(tmp_path / "mask.json")
    found = geopandas.read_file(
        written(score_map(georeference=UTM), tmp_path / "a.gpkg", coordinates="wgs84", clip=mask)
    )
    inside = geopandas.GeoSeries([on_map(MASK)], crs=32633).to_crs("OGC:CRS84")[0]
    assert found.union_all().difference(inside).area < 1e-4 * inside.area


def test_a_mask_of_pixels_or_one_that_lies_outside_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mask.png").write_bytes(b"\x89PNG\r\n")
    with pytest.raises(ImageError, match="is no GeoJSON or vector file"):
        written(score_map(), tmp_path / "a.geojson", clip=tmp_path / "mask.png")
    far = mask_file(tmp_path / "far.json", shapely.box(5000, 5000, 6000, 6000))
    with pytest.raises(ImageError, match="lie outside the image"):
        written(score_map(), tmp_path / "a.geojson", clip=far)
