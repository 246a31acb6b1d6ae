import json
import math
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from fullfield import BudgetError, FullfieldError, Georeference, Placement, Scores, open_scores
from fullfield.handover.dask_array import MapCells
from tests.store.maps import spec_of, stored

dask = pytest.importorskip("dask")
xarray = pytest.importorskip("xarray")
pandas = pytest.importorskip("pandas")
geopandas = pytest.importorskip("geopandas")

UTM = Georeference("EPSG:32633", (0.5, 0.0, 400000.0, 0.0, -0.5, 5400000.0))
DEGREES = Georeference("EPSG:4326", (1e-4, 0.0, 15.0, 0.0, -1e-4, 48.0))
TURNED = Georeference("EPSG:32633", (0.5, 0.1, 400000.0, 0.05, -0.5, 5400000.0))
NAMES = ("grass", "road", "top")


def numbers(rows: int = 100, columns: int = 90, bands: int = 3) -> NDArray[np.float32]:
    array = np.random.default_rng(0).normal(size=(bands, rows, columns)).astype(np.float32)
    array[:, 5:9, 20:40] = math.nan
    return array


def on_disk(folder: Path, array: NDArray[Any] | None = None, **fields: Any) -> Scores:
    """A store of six shards."""
    array = numbers() if array is None else array
    valid = ~np.isnan(array).all(axis=0) if array.dtype.kind == "f" else None
    stored(folder / "map.zarr", array, valid, **({"class_names": NAMES} | fields))
    return open_scores(folder / "map.zarr")


def labels_on_disk(folder: Path) -> Scores:
    labels = np.random.default_rng(0).integers(0, 3, (1, 100, 90)).astype(np.uint8)
    labels[0, :4] = 255
    return on_disk(folder, labels, kind="labels", classes=(0, 1, 2))


# -- dask --------------------------------------------------------------------------------------------------------------


def test_a_dask_array_has_a_chunk_for_each_shard_and_the_scores(tmp_path: Path) -> None:
    scores = on_disk(tmp_path)
    array = scores.to_dask()
    assert array.chunks == ((3,), (64, 36), (48, 42))
    assert array.dtype == np.float32
    np.testing.assert_array_equal(array.compute(), scores.array)
    np.testing.assert_array_equal(array[1, 60:70:3, 5].compute(), scores["road", 60:70:3, 5])
    assert float(np.nanmax(array[0]).compute()) == np.nanmax(scores["grass"])


def test_a_dask_array_reads_only_the_shards_that_are_needed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scores = on_disk(tmp_path)
    asked = []
    read = type(scores.map).read
    monkeypatch.setattr(type(scores.map), "read", lambda self, *args: asked.append(args[:4]) or read(self, *args))
    scores.to_dask()[:, :10, :10].sum().compute(scheduler="synchronous")
    assert asked == [(0, 64, 0, 48)]


def test_stored_bytes_are_scores_and_labels_stay_integers(tmp_path: Path) -> None:
    stored_bytes = np.random.default_rng(0).integers(0, 256, (3, 100, 90)).astype(np.uint8)
    scores = on_disk(tmp_path, stored_bytes, scale=1 / 254)
    np.testing.assert_array_equal(scores.to_dask().compute(), scores.array)
    (tmp_path / "labels").mkdir()
    labels = labels_on_disk(tmp_path / "labels")
    assert labels.to_dask().dtype == np.uint8
    np.testing.assert_array_equal(labels.to_dask().compute(), labels.map.read(0, 100, 0, 90))


def test_a_dask_array_is_computed_by_other_processes_and_has_the_same_name_each_time(tmp_path: Path) -> None:
    scores = on_disk(tmp_path)
    again = pickle.loads(pickle.dumps(MapCells(scores.map)))
    np.testing.assert_array_equal(again[:, 3:9, :], scores[:, 3:9])
    assert scores.to_dask().name == open_scores(tmp_path / "map.zarr").to_dask().name
    assert scores.to_memory().to_dask().shape == (3, 100, 90)


def test_one_line_of_dask_alone_reads_the_stored_numbers(tmp_path: Path) -> None:
    import dask.array

    scores = on_disk(tmp_path)
    np.testing.assert_array_equal(dask.array.from_zarr(str(tmp_path / "map.zarr"), component="0"), scores.array)


# -- xarray ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("memory", [False, True])
def test_a_data_array_has_classes_and_centres_in_px(tmp_path: Path, memory: bool) -> None:
    scores = on_disk(tmp_path)
    scores = scores.to_memory() if memory else scores
    found = scores.to_xarray()
    assert found.dims == ("c", "y", "x")
    assert (found.chunks is None) == memory
    assert found.sel(c="road").class_index == 1
    cell = found.sel(y=scores.placement.centre(7, 3)[0], x=scores.placement.centre(7, 3)[1])
    np.testing.assert_array_equal(cell, scores[:, 7, 3])
    assert found.y.attrs["units"] == "px"
    assert found.attrs["window"] == [12, 10]
    assert json.loads(found.attrs["provenance"]) == {}


def test_coordinates_are_micrometres_where_the_size_of_a_pixel_is_known(tmp_path: Path) -> None:
    scores = on_disk(tmp_path, mpp=(0.5, 0.25))
    found = scores.to_xarray()
    y, x = scores.placement.centre(7, 3)
    assert (float(found.y[7]), float(found.x[3])) == (y * 0.5, x * 0.25)
    assert found.x.attrs["units"] == "um"
    assert scores.to_xarray(coordinates="image").y[7] == y


@pytest.mark.filterwarnings("ignore::PendingDeprecationWarning")  # rioxarray's use of affine
@pytest.mark.parametrize(("reference", "units"), [(UTM, "metre"), (DEGREES, "degrees_east")], ids=["metres", "degrees"])
def test_rioxarray_finds_the_coordinate_system_and_the_pixels(tmp_path: Path, reference: Any, units: str) -> None:
    pytest.importorskip("rioxarray")
    import rasterio

    scores = on_disk(tmp_path, georeference=reference)
    found = scores.to_xarray()
    assert found.x.attrs["units"] == units
    y, x = scores.placement.centre(7, 3)
    assert (float(found.x[3]), float(found.y[7])) == pytest.approx(reference.on_map(y, x))
    assert found.rio.crs.to_epsg() == int(reference.crs.removeprefix("EPSG:"))
    found.rio.to_raster(tmp_path / "theirs.tif")
    scores.save(tmp_path / "ours.tif")
    with rasterio.open(tmp_path / "theirs.tif") as theirs, rasterio.open(tmp_path / "ours.tif") as ours:
        assert theirs.transform.almost_equals(ours.transform, 1e-9)
        assert theirs.crs == ours.crs
        np.testing.assert_array_equal(theirs.read(), ours.read())
    there = found.rio.clip_box(*found.rio.bounds())
    assert there.shape == found.shape


def test_labels_are_integers_with_their_meanings(tmp_path: Path) -> None:
    scores = labels_on_disk(tmp_path)
    found = scores.to_xarray()
    assert found.dims == ("y", "x")
    assert found.dtype == np.uint8
    assert found.attrs["flag_values"] == [0, 1, 2]
    assert found.attrs["flag_meanings"] == "grass road top"
    np.testing.assert_array_equal(found.astype(int).where(found != found.attrs["_FillValue"], -1), scores.top())


def test_a_data_array_survives_a_file(tmp_path: Path) -> None:
    pytest.importorskip("zarr")
    import warnings

    found = on_disk(tmp_path, georeference=UTM).to_xarray()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # zarr warns of texts
        found.drop_encoding().to_dataset(name="scores").to_zarr(tmp_path / "again.zarr", consolidated=False)
        again = xarray.open_zarr(tmp_path / "again.zarr", consolidated=False).scores.load()
    np.testing.assert_array_equal(again, found)
    assert again.attrs["step"] == [4, 3]


def test_netcdf_holds_the_coordinate_system_where_cf_puts_it(tmp_path: Path) -> None:
    found = on_disk(tmp_path, georeference=UTM).to_xarray()
    found.to_dataset(name="scores").to_netcdf(tmp_path / "a.nc", engine="scipy")
    with xarray.open_dataset(tmp_path / "a.nc", engine="scipy", decode_coords="all") as again:
        np.testing.assert_array_equal(again.scores, found)
        assert again.scores.encoding["grid_mapping"] == "spatial_ref"
        assert "UTM zone 33N" in again.spatial_ref.attrs["crs_wkt"]
        assert again.x.attrs["standard_name"] == "projection_x_coordinate"


def test_scores_in_memory_are_shared_not_copied(tmp_path: Path) -> None:
    scores = on_disk(tmp_path).to_memory()
    assert np.shares_memory(scores.to_xarray().values, scores.array)


def test_an_image_that_is_turned_on_its_map_has_px(tmp_path: Path) -> None:
    scores = on_disk(tmp_path, georeference=TURNED)
    assert scores.to_xarray().y.attrs["units"] == "px"
    with pytest.raises(FullfieldError, match="rows have no single coordinate"):
        scores.to_xarray(coordinates="map")


@pytest.mark.parametrize(
    ("coordinates", "text"),
    [("feet", "'feet' is not known"), ("map", "has no georeference"), ("micrometres", "the size of a pixel")],
)
def test_coordinates_that_the_image_does_not_have_are_refused(tmp_path: Path, coordinates: Any, text: str) -> None:
    with pytest.raises(FullfieldError, match=text):
        on_disk(tmp_path).to_xarray(coordinates=coordinates)


# -- pandas ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("memory", [False, True])
def test_a_frame_has_a_row_for_each_window_with_scores(tmp_path: Path, memory: bool) -> None:
    scores = on_disk(tmp_path, mpp=(0.5, 0.25), georeference=TURNED)
    scores = scores.to_memory() if memory else scores
    found = scores.to_frame()
    assert list(found.columns) == [
        "row", "column", "y", "x", "y_um", "x_um", "map_x", "map_y", "top", "top_score", "grass", "road", "top (2)",
    ]  # fmt: skip
    assert len(found) == 100 * 90 - 4 * 20
    assert found[["row", "column"]].apply(tuple, axis=1).is_monotonic_increasing
    for place in (0, 700, 8919):
        row = found.iloc[place]
        values = scores[:, int(row["row"]), int(row["column"])]
        y, x = scores.placement.centre(row["row"], row["column"])
        assert (row["y"], row["x"], row["y_um"], row["x_um"]) == (y, x, y * 0.5, x * 0.25)
        assert (row["map_x"], row["map_y"]) == pytest.approx(TURNED.on_map(y, x))
        assert row["top"] == NAMES[values.argmax()]
        assert row["top_score"] == values.max()
        np.testing.assert_array_equal(row[["grass", "road", "top (2)"]].astype(np.float32), values)
    by_class = found.groupby("top", observed=False).size()
    assert by_class["road"] == np.count_nonzero(scores.top() == 1)


def test_a_frame_of_some_classes_still_knows_the_top_of_all(tmp_path: Path) -> None:
    scores = on_disk(tmp_path)
    found = scores.to_frame(classes="road")
    assert list(found.columns) == ["row", "column", "y", "x", "top", "top_score", "road"]
    assert set(found.top) == set(NAMES)
    with pytest.raises(FullfieldError, match="'lane' is not one of the 3 classes"):
        scores.to_frame(classes="lane")


def test_a_frame_of_labels_has_their_names(tmp_path: Path) -> None:
    scores = labels_on_disk(tmp_path)
    found = scores.to_frame()
    assert list(found.columns) == ["row", "column", "y", "x", "top"]
    assert len(found) == 96 * 90
    assert found.top.iloc[17] == NAMES[scores.top()[4, 17]]
    with pytest.raises(FullfieldError, match="a map of labels has no scores"):
        scores.to_frame(classes="grass")


def test_a_frame_has_room_for_a_window_of_which_one_class_has_no_score() -> None:
    array = np.array([[[1.0, 2.0]], [[math.nan, 1.0]]])
    found = Scores.from_array(array, Placement((1, 1), (1, 1), (1, 2), (1, 2))).to_frame()
    assert found.top.isna().tolist() == [True, False]
    assert np.isnan(found.top_score[0])
    assert found["class 0"].tolist() == [1.0, 2.0]


def test_tables_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    scores = on_disk(tmp_path)
    for make in (scores.to_frame, scores.to_geodataframe):
        with pytest.raises(BudgetError, match="a table of 9000 windows needs up to"):
            make(budget="100kB")


# -- geopandas ---------------------------------------------------------------------------------------------------------


def test_windows_are_boxes_on_the_map(tmp_path: Path) -> None:
    scores = on_disk(tmp_path, georeference=TURNED)
    found = scores.to_geodataframe()
    assert found.crs.to_epsg() == 32633
    row = found.iloc[50]
    y, x = row["y"], row["x"]
    corners = [TURNED.on_map(y + dy * 12, x + dx * 10) for dy, dx in ((-1, -1), (-1, 1), (1, 1), (1, -1))]
    np.testing.assert_allclose(row.geometry.exterior.coords[:4], corners)  # 12x10 px at half size
    assert row.geometry.is_valid
    centres = scores.to_geodataframe(geometry="centres", classes=["road"])
    assert (centres.geometry.x[50], centres.geometry.y[50]) == pytest.approx(TURNED.on_map(y, x))
    assert centres.crs == found.crs
    there = found[found.intersects(centres.geometry.iloc[50])]
    assert 50 in there.index


def test_windows_are_boxes_of_the_image_where_there_is_no_map(tmp_path: Path) -> None:
    found = on_disk(tmp_path).to_geodataframe()
    assert found.crs is None
    assert found.geometry.iloc[0].bounds == (0.0, 0.0, 20.0, 24.0)


@pytest.mark.parametrize(
    ("how", "text"),
    [
        ({"geometry": "circles"}, "'circles' is not known"),
        ({"coordinates": "wgs84"}, "'wgs84' is not known"),
        ({"coordinates": "map"}, "has no georeference"),
    ],
)
def test_geometries_that_do_not_exist_are_refused(tmp_path: Path, how: dict[str, Any], text: str) -> None:
    with pytest.raises(FullfieldError, match=text):
        on_disk(tmp_path).to_geodataframe(**how)


# -- Packages ----------------------------------------------------------------------------------------------------------


def test_scores_import_none_of_them() -> None:
    code = (
        "import sys, fullfield; fullfield.Scores; print({'xarray', 'dask', 'pandas', 'geopandas'} & set(sys.modules))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=300)
    assert found.stdout == "set()\n"


@pytest.mark.parametrize(
    ("method", "hidden", "extra"),
    [
        ("to_dask", "dask.array", "dask"),
        ("to_xarray", "xarray", "xarray"),
        ("to_frame", "pandas", "pandas"),
        ("to_geodataframe", "geopandas", "geopandas"),
    ],
)
def test_a_missing_package_is_one_error_that_names_the_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str, hidden: str, extra: str
) -> None:
    scores = on_disk(tmp_path)
    monkeypatch.setitem(sys.modules, hidden, None)
    with pytest.raises(FullfieldError, match=rf"pip install 'fullfield\[{extra}\]'"):
        getattr(scores, method)()


def test_a_map_in_memory_of_six_shards_has_one_chunk() -> None:
    spec = spec_of(numbers())
    assert Scores.from_array(numbers(), spec.placement).to_dask().numblocks == (1, 1, 1)
