"""Masks in files of every format, size and georeference."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from fullfield.errors import GeometryError, ImageError
from fullfield.image.raster import ArrayRaster, Georeference, ImageMetadata
from fullfield.mask.masks import mask_grid, reduce

UTM = "EPSG:32632"


def image(height: int, width: int, at: Georeference | None = None, **metadata: Any) -> ArrayRaster:
    pixels = np.broadcast_to(np.zeros((), np.uint8), (height, width, 1))
    return ArrayRaster(pixels, "scene.tif", ImageMetadata({}, (256, 256), georeference=at, **metadata))


def marks(height: int = 40, width: int = 60) -> NDArray[np.uint8]:
    mask = np.zeros((height, width), np.uint8)
    mask[5:9, 10:30] = 7
    mask[39, 59] = 1
    return mask


def wkt(name: str = UTM) -> str:
    rasterio = pytest.importorskip("rasterio")
    text: str = rasterio.crs.CRS.from_user_input(name).to_wkt()
    return text


def geotiff(path: Path, mask: NDArray[Any], crs: str | None, transform: tuple[float, ...], **options: Any) -> Path:
    rasterio = pytest.importorskip("rasterio")
    if mask.ndim == 2:
        mask = mask[None]
    profile = {"count": len(mask), "height": mask.shape[1], "width": mask.shape[2], "dtype": mask.dtype}
    place = {"crs": crs, "transform": rasterio.Affine(*transform)} if crs else {}
    with rasterio.open(path, "w", driver="GTiff", **profile, **place, **options) as file:
        file.write(mask)
    return path


@pytest.mark.parametrize("suffix", ["png", "bmp", "webp", "npy", "tif"])
def test_pixels_that_are_not_0_are_inside_in_any_format(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"mask.{suffix}"
    if suffix == "npy":
        np.save(path, marks())
    else:
        Image.fromarray(marks()).save(path, **({"lossless": True} if suffix == "webp" else {}))
    grid = mask_grid(path, image(40, 60))
    np.testing.assert_array_equal(grid.cells != 0, marks() != 0)
    assert grid.pixel == (1, 1)


@pytest.mark.parametrize("mode", ["1", "P", "I;16", "LA", "RGBA", "RGB"])
def test_palettes_count_by_index_and_what_is_transparent_is_outside(tmp_path: Path, mode: str) -> None:
    inside = marks() != 0
    if mode == "P":
        picture = Image.fromarray(marks())
        picture.putpalette([200] * 768)
    elif mode == "I;16":
        picture = Image.fromarray(inside.astype(np.uint16))
    elif mode in ("LA", "RGBA"):
        channels = len(mode) - 1
        colour = np.full((40, 60, channels), 255, np.uint8)
        picture = Image.fromarray(np.dstack([colour, inside * np.uint8(255)]))
    else:
        picture = Image.fromarray(inside * np.uint8(255)).convert(mode)
    path = tmp_path / "mask.png"
    picture.save(path)
    np.testing.assert_array_equal(mask_grid(path, image(40, 60)).cells != 0, inside)


def test_a_smaller_mask_is_scaled_to_the_image(tmp_path: Path) -> None:
    grid = mask_grid(marks(), image(4003, 6001))
    assert grid.cells.shape == (40, 60)
    assert grid.pixel == (4003 / 40, 6001 / 60)


def test_a_mask_of_another_shape_is_refused_with_both_sizes() -> None:
    with pytest.raises(ImageError, match=r"mask of 40x60 px .* does not span the image of 6000x4000 px"):
        mask_grid(marks(), image(6000, 4000))


@pytest.mark.parametrize("size", [(33, 50), (34, 50), (2, 3), (1, 2), (8, 12)])
def test_a_mask_that_was_rounded_to_whole_pixels_still_fits(size: tuple[int, int]) -> None:
    assert mask_grid(np.ones(size), image(4000, 6000)).cells.all()


def test_a_mask_that_selects_nothing_is_refused() -> None:
    with pytest.raises(ImageError, match="selects nothing: all 40x60 px of the mask are 0"):
        mask_grid(marks() * 0, image(40, 60))


def test_nan_selects_nothing() -> None:
    mask = np.where(marks() > 0, 0.5, np.nan)
    np.testing.assert_array_equal(mask_grid(mask, image(40, 60)).cells != 0, marks() != 0)


def test_a_large_mask_is_reduced_and_no_pixel_of_it_is_lost() -> None:
    mask = np.zeros((9001, 7003), np.bool_)
    rng = np.random.default_rng(3)
    points = rng.integers(0, (9001, 7003), (50, 2))
    mask[points[:, 0], points[:, 1]] = True
    grid = mask_grid(mask, image(90010, 70030))
    assert grid.cells.size <= 1 << 24
    factor = round(grid.pixel[0] / 10)
    wanted = np.zeros_like(grid.cells, np.bool_)
    wanted[points[:, 0] // factor, points[:, 1] // factor] = True
    np.testing.assert_array_equal(grid.cells != 0, wanted)
    assert grid.pixel == (factor * 90010 / 9001, factor * 70030 / 7003)


def test_blocks_are_reduced_to_their_coverage_rounded_up() -> None:
    inside = np.zeros((5, 7), np.bool_)
    inside[:2, :3] = inside[4, 6] = inside[3, 4] = True
    np.testing.assert_array_equal(reduce(inside, (2, 3)), [[255, 0, 0], [0, 43, 0], [0, 0, 255]])


def test_another_image_s_reader_is_a_mask_too() -> None:
    mask = ArrayRaster(marks()[:, :, None], "mask", ImageMetadata({}, (16, 16), nodata=7))
    assert np.argwhere(mask_grid(mask, image(40, 60)).cells).tolist() == [[39, 59]]


@pytest.mark.filterwarnings("ignore:Dataset has no geotransform")
@pytest.mark.parametrize("nodata", [None, 7])
def test_a_geotiff_without_georeference_is_scaled_to_the_image_and_its_nodata_is_outside(
    tmp_path: Path, nodata: int | None
) -> None:
    path = geotiff(tmp_path / "m.tif", marks(), None, (), nodata=nodata, tiled=True, blockxsize=16, blockysize=16)
    wanted = (marks() != 0) & (marks() != nodata)
    np.testing.assert_array_equal(mask_grid(path, image(40, 60)).cells != 0, wanted)


def test_a_mask_on_the_same_map_is_placed_by_its_transform(tmp_path: Path) -> None:
    path = geotiff(tmp_path / "m.tif", marks(), UTM, (10, 0, 500_000, 0, -10, 5_200_000))
    # the image begins 50 m east and 20 m south of the mask, at 2.5 m a pixel
    scene = image(80, 120, Georeference(wkt(), (2.5, 0, 500_050, 0, -2.5, 5_199_980)))
    wanted = np.zeros((80, 120), np.bool_)
    wanted[12:28, 20:100] = True
    np.testing.assert_array_equal(mask_grid(path, scene).cells, wanted * np.uint8(255))


def test_a_mask_of_the_image_s_own_grid_is_itself_however_far_from_the_origin(tmp_path: Path) -> None:
    transform = (0.1, 0, 691_234.56, 0, -0.1, 5_334_567.89)
    path = geotiff(tmp_path / "m.tif", marks(), UTM, transform)
    grid = mask_grid(path, image(40, 60, Georeference(wkt(), transform)))
    np.testing.assert_array_equal(grid.cells, (marks() != 0) * np.uint8(255))


def test_a_rotated_mask_covers_its_area_on_the_map(tmp_path: Path) -> None:
    c, s = 10 * np.cos(0.5), 10 * np.sin(0.5)
    path = geotiff(tmp_path / "m.tif", np.ones((10, 10), np.uint8), UTM, (c, s, 500_100, s, -c, 5_199_900))
    scene = image(300, 300, Georeference(wkt(), (1, 0, 500_000, 0, -1, 5_200_000)))
    cells = mask_grid(path, scene).cells
    y, x = np.mgrid[:300, :300] + 0.5
    east, north = x - 100, -y + 100
    column, row = (c * east + s * north) / 100, (s * east - c * north) / 100
    inside = (column > 0) & (column < 10) & (row > 0) & (row < 10)
    np.testing.assert_array_equal(cells == 255, inside)
    assert (cells[inside] > 0).all()


def test_a_mask_of_another_coordinate_system_is_reprojected(tmp_path: Path) -> None:
    pyproj = pytest.importorskip("pyproj")
    scene = image(400, 500, Georeference(wkt(), (10, 0, 690_000, 0, -10, 5_335_000)))
    mask = np.zeros((300, 400), np.uint8)
    mask[100:200, 150:300] = 1
    transform = (0.0002, 0, 11.55, 0, -0.0002, 48.16)
    grid = mask_grid(geotiff(tmp_path / "m.tif", mask, "EPSG:4326", transform), scene)
    y, x = np.mgrid[:400, :500] + 0.5
    to = pyproj.Transformer.from_crs(UTM, "EPSG:4326", always_xy=True)
    lon, lat = to.transform(690_000 + 10 * x, 5_335_000 - 10 * y)
    column, row = (lon - 11.55) / 0.0002, (48.16 - lat) / 0.0002
    inside = (column >= 150) & (column < 300) & (row >= 100) & (row < 200)
    assert 0.1 < inside.mean() < 0.9
    np.testing.assert_array_equal(grid.cells == 255, inside)
    touched = grid.cells > 0
    assert touched[inside].all()
    near = (column >= 148) & (column < 302) & (row >= 98) & (row < 202)
    assert near[touched].all()


def test_a_mask_outside_the_image_is_refused_with_both_extents(tmp_path: Path) -> None:
    path = geotiff(tmp_path / "m.tif", marks(), UTM, (10, 0, 100_000, 0, -10, 5_200_000))
    scene = image(80, 120, Georeference(wkt(), (2.5, 0, 500_000, 0, -2.5, 5_200_000)))
    with pytest.raises(ImageError, match=r"mask selects x 100100\.\.100600, .* the image covers x 500000\.\.500300, "):
        mask_grid(path, scene)


@pytest.mark.parametrize(("content", "reason"), [(b"no picture", "cannot be read"), (b"II*\0broken", "cannot be read")])
def test_a_file_that_is_no_mask_is_refused(tmp_path: Path, content: bytes, reason: str) -> None:
    pytest.importorskip("rasterio")
    path = tmp_path / "mask.tif"
    path.write_bytes(content)
    with pytest.raises(ImageError, match=reason):
        mask_grid(path, image(40, 60))


@pytest.mark.parametrize("absent", [("rasterio",), ("rasterio", "tifffile")])
def test_without_gdal_a_tiff_is_read_by_what_there_is(
    tmp_path: Path, absent: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "mask.tif"
    Image.fromarray(marks()).save(path)
    for name in absent:
        monkeypatch.setitem(sys.modules, name, None)
    np.testing.assert_array_equal(mask_grid(path, image(40, 60)).cells != 0, marks() != 0)
    (tmp_path / "other").write_bytes(b"something else")
    with pytest.raises(ImageError, match=r"in no format that Pillow reads"):
        mask_grid(tmp_path / "other", image(40, 60))


def test_a_missing_file_and_unknown_coordinates_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="no such file"):
        mask_grid(tmp_path / "none.png", image(4, 4))
    with pytest.raises(GeometryError, match="'pixels' is not known"):
        mask_grid(marks(), image(40, 60), coordinates="pixels")
