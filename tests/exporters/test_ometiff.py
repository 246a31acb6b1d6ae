"""OME-TIFF: levels, names, sizes and places, as tifffile reads them."""

import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import openslide
import pytest
import tifffile

import fullfield
from fullfield.engine.progress import Progress
from fullfield.exporters.grid import cells
from fullfield.exporters.labels import labelled
from fullfield.exporters.ometiff import write_ometiff
from fullfield.store.palette import distinct
from tests.exporters.maps import placed, score_map

LARGE = placed(step=(1, 1), window=(3, 3), image=(701, 1003), scanned=(701, 1003), padding=(0, 0, 0, 0))


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "uint8"])
def test_every_level_holds_the_mean_of_the_finer_ones(tmp_path: Path, dtype: str) -> None:
    scores = score_map(2, placement=LARGE, dtype=dtype)
    write_ometiff(cells(scores), tmp_path / "a.ome.tif")
    with tifffile.TiffFile(tmp_path / "a.ome.tif") as file:
        (series,) = file.series
        assert file.is_ome
        assert series.axes == "CYX"
        shapes = [level.shape for level in series.levels]
        assert shapes == [(2, 699, 1001), (2, 350, 501), (2, 175, 251)]
        np.testing.assert_array_equal(series.levels[0].asarray(), scores.array)
        four = scores.array[1, 20:22, 30:32].astype(np.float64)
        known = scores.known[20:22, 30:32]
        mean = four[known].mean() if known.any() else scores.spec.fill
        found = series.levels[1].asarray()[1, 10, 15]
        np.testing.assert_allclose(found, np.rint(mean) if dtype == "uint8" else mean, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(("mpp", "unit"), [((0.5, 0.25), "µm"), (None, "pixel")])
def test_pixel_sizes_and_positions_lay_it_over_the_image(tmp_path: Path, mpp: tuple[float, float], unit: str) -> None:
    scores = score_map(mpp=mpp)
    write_ometiff(cells(scores), tmp_path / "a.ome.tif")
    xml = tifffile.tiffcomment(tmp_path / "a.ome.tif")
    root = ET.fromstring(xml)
    (pixels,) = root.findall(".//{*}Pixels")
    (y, x), place = mpp or (1, 1), scores.spec.placement
    np.testing.assert_allclose(float(pixels.get("PhysicalSizeX", 0)), place.spacing[1] * x)
    np.testing.assert_allclose(float(pixels.get("PhysicalSizeY", 0)), place.spacing[0] * y)
    assert pixels.get("PhysicalSizeXUnit") == unit
    assert [channel.get("Name") for channel in root.findall(".//{*}Channel")] == ["kind 0", "kind 1", "kind 2"]
    planes = list(root.findall(".//{*}Plane"))
    assert len(planes) == 3
    np.testing.assert_allclose(float(planes[2].get("PositionY", 0)), (place.centre(0, 0)[0] - 0.5) * y)
    np.testing.assert_allclose(float(planes[2].get("PositionX", 0)), (place.centre(0, 0)[1] - 0.5) * x)


def test_labels_keep_their_colours(tmp_path: Path) -> None:
    write_ometiff(labelled(cells(score_map(placement=LARGE))), tmp_path / "a.ome.tif")
    with tifffile.TiffFile(tmp_path / "a.ome.tif") as file:
        page = file.pages[0]
        assert isinstance(page, tifffile.TiffPage)
        np.testing.assert_array_equal(page.colormap[:, 0] // 257, (230, 159, 0))
        coarse = file.series[0].levels[2].asarray()
        assert set(np.unique(coarse)) <= {0, 1, 2, 255}


def test_an_interruption_leaves_nothing(tmp_path: Path) -> None:
    def stop(now: Progress) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_ometiff(cells(score_map()), tmp_path / "a.ome.tif", progress=stop)
    assert not list(tmp_path.iterdir())


def test_fullfield_opens_it_again_with_its_levels_and_pixel_size(tmp_path: Path) -> None:
    scores = score_map(3, placement=LARGE, dtype="uint8", mpp=(0.5, 0.25))
    write_ometiff(cells(scores), tmp_path / "a.ome.tif")
    image = fullfield.open(tmp_path / "a.ome.tif")
    try:
        assert image.shape == (699, 1001, 3)
        assert image.metadata.levels == ((699, 1001), (350, 501), (175, 251))
        assert image.metadata.mpp == (0.5, 0.25)
        np.testing.assert_array_equal(image.read(0, 50, 0, 60), scores.array[:, :50, :60].transpose(1, 2, 0))
    finally:
        image.close()


def test_openslide_reads_labels_in_their_colours(tmp_path: Path) -> None:
    scores = score_map(3, placement=LARGE)
    write_ometiff(labelled(cells(scores)), tmp_path / "a.ome.tif")
    slide = openslide.OpenSlide(tmp_path / "a.ome.tif")
    found = np.asarray(slide.read_region((100, 200), 0, (50, 40)))[..., :3]
    slide.close()
    top = np.nan_to_num(scores.array, nan=-9).argmax(axis=0)[200:240, 100:150]
    known = scores.known[200:240, 100:150]
    np.testing.assert_array_equal(found[known], np.array(distinct(3))[top][known])
