"""Zarr groups that xarray and rioxarray wrote: the place, the pixels and nodata that rioxarray reads."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import rioxarray  # noqa: F401  the accessor .rio
import xarray as xr
import zarr
from rasterio.transform import Affine

import fullfield
from fullfield.errors import ImageError

pytestmark = pytest.mark.filterwarnings("ignore:Use `@` matmul:PendingDeprecationWarning")  # rioxarray's

VALUES = np.random.default_rng(8).integers(0, 5000, (2, 30, 40)).astype(np.float64)
VALUES[:, :5] = np.nan
FORMS = pytest.mark.parametrize("form", [2, 3])


def grid(values: np.ndarray = VALUES, step: tuple[float, float] = (-10.0, 20.0), **coordinates: Any) -> xr.DataArray:
    """A raster in UTM whose first pixel has its corner at 500000, 4000000."""
    y = 4_000_000 + step[0] * (np.arange(values.shape[-2]) + 0.5)
    x = 500_000 + step[1] * (np.arange(values.shape[-1]) + 0.5)
    names = ("band", "y", "x")[-values.ndim :]
    data = xr.DataArray(values, dims=names, coords={"y": y, "x": x, **coordinates})
    return data.rio.write_crs(32633).rio.write_transform()


def write(folder: Path, form: int, encoding: dict[str, Any] | None = None, **variables: xr.DataArray) -> Path:
    data = xr.Dataset(variables)
    for name, options in (encoding or {}).items():
        data[name].encoding.update(options)
    data.to_zarr(folder / "a.zarr", zarr_format=form, consolidated=False)
    return folder / "a.zarr"


def read_by_rioxarray(path: Path, name: str, **options: Any) -> xr.DataArray:
    return xr.open_dataset(path, engine="zarr", consolidated=False, decode_coords="all", **options)[name]


def check_place(raster: Any, expected: xr.DataArray) -> None:
    place = raster.metadata.georeference
    assert place.transform == pytest.approx(tuple(expected.rio.transform())[:6], abs=1e-6)
    assert rasterio.CRS.from_wkt(place.crs) == rasterio.CRS.from_wkt(expected.rio.crs.to_wkt())


@FORMS
@pytest.mark.parametrize("step", [(-10.0, 20.0), (10.0, 10.0)], ids=["north up", "south up"])
def test_a_group_of_rioxarray_lies_where_rioxarray_sees_it(
    tmp_path: Path, form: int, step: tuple[float, float]
) -> None:
    path = write(tmp_path, form, refl=grid(step=step))
    raster = fullfield.open(path)
    expected = read_by_rioxarray(path, "refl")
    check_place(raster, expected)
    assert raster.metadata.mpp == pytest.approx((1e7, abs(step[1]) * 1e6))
    np.testing.assert_array_equal(raster.read(0, 30, 0, 40), expected.values.transpose(1, 2, 0))
    np.testing.assert_array_equal(raster.valid(0, 30, 0, 40), np.isfinite(VALUES[0]))


@FORMS
def test_the_coordinates_of_a_part_that_was_cut_out_win(tmp_path: Path, form: int) -> None:
    path = write(tmp_path, form, refl=grid().isel(y=slice(7, 20), x=slice(3, 30)))
    check_place(fullfield.open(path), read_by_rioxarray(path, "refl"))
    assert fullfield.open(path).metadata.georeference.transform[2::3] == (500_060, 3_999_930)


@FORMS
def test_bands_have_the_names_that_rioxarray_gives_them(tmp_path: Path, form: int) -> None:
    path = write(tmp_path, form, refl=grid().assign_attrs(long_name=["red", "nir"]))
    raster = fullfield.open(path, bands=["nir"])
    assert raster.metadata.band_names == ("nir",)
    np.testing.assert_array_equal(raster.read(0, 30, 0, 40)[:, :, 0], VALUES[1])


@FORMS
def test_a_turned_transform_is_read(tmp_path: Path, form: int) -> None:
    turned = Affine.translation(500_000, 4_000_000) @ Affine.rotation(30) @ Affine.scale(10, -10)
    data = grid().drop_vars(["x", "y"]).rio.write_transform(turned)
    path = write(tmp_path, form, refl=data)
    check_place(fullfield.open(path), read_by_rioxarray(path, "refl"))


@FORMS
def test_one_of_several_variables_is_chosen_by_series_or_path(tmp_path: Path, form: int) -> None:
    path = write(tmp_path, form, refl=grid(), classes=grid(VALUES[1]), height=grid(VALUES[0]))
    with pytest.raises(ImageError, match=r"is a group with 3 arrays \(classes, height, refl\)") as caught:
        fullfield.open(path)
    assert "series= (--series), 0..2 in this order" in caught.value.fix
    for chosen in (fullfield.open(path, series=1), fullfield.open(path / "height")):
        np.testing.assert_array_equal(chosen.read(0, 30, 0, 40)[:, :, 0], VALUES[0])
        check_place(chosen, read_by_rioxarray(path, "height"))
    with pytest.raises(ImageError, match="series 3 does not exist, there are 3"):
        fullfield.open(path, series=3)


@FORMS
def test_scale_offset_and_fill_value_are_those_of_xarray(tmp_path: Path, form: int) -> None:
    packed = {"dtype": "int16", "scale_factor": 1e-4, "add_offset": 0.1, "_FillValue": -9999}
    path = write(tmp_path, form, {"refl": packed}, refl=grid(VALUES * 1e-4))
    stored, numbers = (read_by_rioxarray(path, "refl", mask_and_scale=scale) for scale in (False, True))
    raster = fullfield.open(path)
    np.testing.assert_array_equal(raster.read(0, 30, 0, 40), stored.values.transpose(1, 2, 0))
    assert raster.metadata.nodata == numbers.rio.encoded_nodata == -9999
    np.testing.assert_array_equal(raster.valid(0, 30, 0, 40), np.isfinite(numbers.values[0]))
    assert "scale 0.0001 and offset 0.1 not applied" in raster.metadata.reader
    raster = fullfield.open(path, scale_offset=True)
    assert raster.dtype == np.float32
    np.testing.assert_allclose(raster.read(0, 30, 0, 40), numbers.values.transpose(1, 2, 0), rtol=1e-6)
    np.testing.assert_array_equal(raster.valid(0, 30, 0, 40), np.isfinite(numbers.values[0]))
    assert "offset 0.1 applied" in raster.metadata.reader


def test_a_fill_value_of_floats_is_read_as_xarray_packs_it(tmp_path: Path) -> None:
    path = write(tmp_path, 3, {"refl": {"_FillValue": -1.5, "dtype": "float32"}}, refl=grid())
    assert fullfield.open(path).metadata.nodata == read_by_rioxarray(path, "refl").rio.encoded_nodata == -1.5


@FORMS
def test_a_fill_value_of_zero_without_a_declaration_is_black(tmp_path: Path, form: int) -> None:
    path = write(tmp_path, form, refl=grid(np.zeros((30, 40), np.uint8)))
    assert read_by_rioxarray(path, "refl").rio.encoded_nodata is None
    assert fullfield.open(path).valid(0, 30, 0, 40) is None


def test_degrees_have_no_micrometres(tmp_path: Path) -> None:
    data = xr.DataArray(
        VALUES[0], dims=("lat", "lon"), coords={"lat": 50 - np.arange(30) / 8, "lon": np.arange(40) / 8}
    )
    path = write(tmp_path, 3, t2m=data.rio.set_spatial_dims("lon", "lat").rio.write_crs(4326).rio.write_transform())
    raster = fullfield.open(path)
    assert raster.metadata.georeference.transform == (0.125, 0.0, -0.0625, 0.0, -0.125, 50.0625)
    assert rasterio.CRS.from_wkt(raster.metadata.georeference.crs).to_epsg() == 4326
    assert raster.metadata.mpp is None


def test_uneven_coordinates_are_no_place_and_said(tmp_path: Path) -> None:
    data = grid()
    path = write(tmp_path, 3, refl=data.assign_coords(y=-(np.arange(30.0) ** 2)))
    raster = fullfield.open(path)
    assert raster.metadata.georeference is None
    assert "not evenly spaced" in raster.metadata.reader


def test_coordinates_without_a_coordinate_system_are_no_place(tmp_path: Path) -> None:
    path = write(tmp_path, 3, refl=grid().drop_vars("spatial_ref"))
    assert fullfield.open(path).metadata.georeference is None


def test_a_damaged_coordinate_system_is_said(tmp_path: Path) -> None:
    path = write(tmp_path, 2, refl=grid())
    (path / "spatial_ref/.zattrs").write_text(json.dumps({"crs_wkt": "PROJCS[", "_ARRAY_DIMENSIONS": []}))
    raster = fullfield.open(path)
    assert raster.metadata.georeference.crs is None
    assert "its coordinate system cannot be read" in raster.metadata.reader


@pytest.mark.parametrize("holder", ["group", "array"])
def test_geozarrs_attributes_are_read(tmp_path: Path, holder: str) -> None:
    attributes = {"proj:code": "EPSG:32633", "spatial:transform": [10, 0, 500_000, 0, -20, 4_000_000]}
    group = zarr.create_group(tmp_path / "a.zarr", zarr_format=3, attributes=attributes if holder == "group" else {})
    array = group.create_array("refl", shape=(30, 40), dtype="f4", dimension_names=("y", "x"))
    array.attrs.update(attributes if holder == "array" else {})
    place = fullfield.open(tmp_path / "a.zarr").metadata.georeference
    assert place.transform == (10, 0, 500_000, 0, -20, 4_000_000)
    assert rasterio.CRS.from_wkt(place.crs).to_epsg() == 32633
