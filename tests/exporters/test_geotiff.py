"""GeoTIFF: numbers, places on the map, names, colours, masks."""

import json
from pathlib import Path

import numpy as np
import pyproj
import pytest
import rasterio

from fullfield.engine.progress import Progress
from fullfield.errors import ImageError
from fullfield.exporters.geotiff import write_geotiff
from fullfield.exporters.grid import cells
from fullfield.exporters.labels import labelled
from fullfield.exporters.resample import resampled
from tests.exporters.maps import UTM, placed, score_map


@pytest.mark.parametrize("cog", [True, False])
@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "uint8"])
def test_a_geotiff_holds_the_stored_numbers_and_says_what_they_mean(tmp_path: Path, dtype: str, cog: bool) -> None:
    scores = score_map(dtype=dtype, georeference=UTM)
    write_geotiff(cells(scores), tmp_path / "a.tif", cog=cog)
    with rasterio.open(tmp_path / "a.tif") as file:
        np.testing.assert_array_equal(file.read(), scores.array)
        np.testing.assert_array_equal(file.dataset_mask() > 0, scores.known)
        assert file.descriptions == ("kind 0", "kind 1", "kind 2")
        assert file.scales == (scores.spec.scale,) * 3
        assert file.offsets == (scores.spec.offset,) * 3
        assert np.isnan(file.nodata) if dtype != "uint8" else file.nodata == 255
        assert json.loads(file.tags()["FULLFIELD"])["provenance"] == {"model": "m"}
        assert (file.tags(ns="IMAGE_STRUCTURE").get("LAYOUT") == "COG") == cog
    assert [path.name for path in tmp_path.iterdir()] == ["a.tif"]


@pytest.mark.parametrize("place", [placed(), placed(step=(1, 1), scanned=(300, 400), padding=(0, 0, 0, 0))])
def test_the_centre_of_every_cell_lies_where_its_windows_centre_lies_in_the_image(tmp_path: Path, place) -> None:  # type: ignore[no-untyped-def]
    write_geotiff(cells(score_map(placement=place, georeference=UTM)), tmp_path / "a.tif")
    with rasterio.open(tmp_path / "image.tif", "w", driver="GTiff", width=400, height=300, count=1, dtype="uint8",
                       crs=UTM.crs, transform=rasterio.Affine(*UTM.transform)) as image:  # fmt: skip
        pass
    to_degrees = pyproj.Transformer.from_crs("EPSG:32633", "EPSG:4326", always_xy=True)
    rng = np.random.default_rng(0)
    with rasterio.open(tmp_path / "a.tif") as file, rasterio.open(tmp_path / "image.tif") as image:
        assert file.crs == image.crs
        for i, j in zip(rng.integers(0, file.height, 20), rng.integers(0, file.width, 20), strict=True):
            y, x = place.centre(i, j)
            wanted, found = image.transform @ (x, y), file.xy(i, j)
            np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-9)
            np.testing.assert_allclose(to_degrees.transform(*found), to_degrees.transform(*wanted), rtol=0, atol=1e-12)


def test_the_transform_is_the_one_of_the_design(tmp_path: Path) -> None:
    place = placed(step=(4, 3), window=(15, 8), scanned=(300, 400), padding=(0, 0, 0, 0))
    write_geotiff(cells(score_map(placement=place, georeference=UTM)), tmp_path / "a.tif", cog=False)
    shift = rasterio.Affine.translation((8 - 3) / 2, (15 - 4) / 2) @ rasterio.Affine.scale(3, 4)
    with rasterio.open(tmp_path / "a.tif") as file:
        assert file.transform.almost_equals(rasterio.Affine(*UTM.transform) @ shift, precision=1e-9)


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_without_a_georeference_it_counts_in_pixels_of_the_image(tmp_path: Path) -> None:
    scores = score_map()
    write_geotiff(cells(scores), tmp_path / "a.tif")
    with rasterio.open(tmp_path / "a.tif") as file:
        assert file.crs is None
        y, x = scores.spec.placement.centre(5, 7)
        np.testing.assert_allclose(file.xy(5, 7), (x, -y), rtol=0, atol=1e-12)


def test_the_images_own_pixels_lie_where_qgis_shows_an_image_and_need_no_warning(tmp_path: Path) -> None:
    write_geotiff(resampled(cells(score_map()), (300, 400), (300, 400), "nearest"), tmp_path / "a.tif")
    with rasterio.open(tmp_path / "a.tif") as file:
        assert tuple(file.transform)[:6] == (1, 0, 0, 0, -1, 0)


def test_labels_have_a_colour_table_and_names(tmp_path: Path) -> None:
    scores = score_map(georeference=UTM)
    write_geotiff(labelled(cells(scores)), tmp_path / "a.tif")
    with rasterio.open(tmp_path / "a.tif") as file:
        wanted = np.where(scores.known, np.nan_to_num(scores.array, nan=-9).argmax(axis=0), 255)
        np.testing.assert_array_equal(file.read(1), wanted)
        assert file.colormap(1)[1] == (86, 180, 233, 255)
        assert file.colormap(1)[255][3] == 0
        assert file.tags(1)["CLASS_2"] == "kind 2"


@pytest.mark.parametrize("cog", [True, False])
def test_large_maps_have_overviews_and_are_read_by_block(tmp_path: Path, cog: bool) -> None:
    place = placed(step=(1, 1), window=(1, 1), image=(1100, 1300), scanned=(1100, 1300), padding=(0, 0, 0, 0))
    scores = score_map(1, placement=place, georeference=UTM)
    seen: list[Progress] = []
    write_geotiff(cells(scores), tmp_path / "a.tif", cog=cog, progress=seen.append)
    with rasterio.open(tmp_path / "a.tif") as file:
        assert file.overviews(1) == [2, 4]
        assert file.block_shapes == [(512, 512)]
    assert (seen[-1].done, seen[-1].total, seen[-1].unit) == (1100 * 1300, 1100 * 1300, "cells")
    assert max(scores.asked) <= 512 * 1300


def test_a_thousand_bands_are_written_one_after_another(tmp_path: Path) -> None:
    place = placed(step=(16, 16), scanned=(300, 400), padding=(0, 0, 0, 0))
    scores = score_map(1000, placement=place, georeference=UTM)
    write_geotiff(cells(scores), tmp_path / "a.tif")
    with rasterio.open(tmp_path / "a.tif") as file:
        np.testing.assert_array_equal(file.read(), scores.array)
        assert file.descriptions[999] == "kind 999"


def test_an_interruption_leaves_nothing_and_an_old_file_as_it_was(tmp_path: Path) -> None:
    (tmp_path / "a.tif").write_text("old")

    def stop(now: Progress) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_geotiff(cells(score_map(georeference=UTM)), tmp_path / "a.tif", overwrite=True, progress=stop)
    assert [path.name for path in tmp_path.iterdir()] == ["a.tif"]
    assert (tmp_path / "a.tif").read_text() == "old"


def test_a_coordinate_system_that_is_none_is_refused(tmp_path: Path) -> None:
    from fullfield.image.raster import Georeference

    scores = score_map(georeference=Georeference("nonsense", UTM.transform))
    with pytest.raises(ImageError, match="GDAL cannot write it"):
        write_geotiff(cells(scores), tmp_path / "a.tif")
    with pytest.raises(ImageError, match="'jpeg' is not known"):
        write_geotiff(cells(scores), tmp_path / "a.tif", compression="jpeg")  # type: ignore[arg-type]
    assert not list(tmp_path.iterdir())
