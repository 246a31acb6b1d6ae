"""Several files as the bands of one image, compared with GDAL's own resampling."""

from pathlib import Path

import numpy as np
import pytest
import rasterio
import rasterio.warp
from affine import Affine
from numpy.typing import NDArray
from PIL import Image
from rasterio.enums import Resampling

import fullfield
from fullfield.errors import ImageError
from fullfield.image.stack_names import stack_names

RNG = np.random.default_rng(0)
WHERE = 500_000.0, 5_000_000.0  # easting and northing of the corner


def band(
    path: Path,
    pixels: NDArray,
    metres: float,
    *,
    corner: tuple[float, float] = WHERE,
    crs: str | None = "EPSG:32633",
    transform: Affine | None = None,
    **options: object,
) -> Path:
    """A GeoTIFF of one band, or of several ``(c, y, x)``."""
    planes = pixels[None] if pixels.ndim == 2 else pixels
    at = transform or Affine(metres, 0, corner[0], 0, -metres, corner[1])
    profile = {"count": len(planes), "height": planes.shape[1], "width": planes.shape[2], "dtype": planes.dtype}
    tiles = {"tiled": True, "blockxsize": 32, "blockysize": 16}
    with rasterio.open(path, "w", driver="GTiff", crs=crs, transform=at, **profile, **tiles, **options) as file:
        file.write(planes)
    return path


def numbers(*shape: int) -> NDArray[np.uint16]:
    return RNG.integers(1, 9000, shape).astype(np.uint16)


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """A Sentinel-like scene: bands of 10, 20 and 60 m, nodata 0."""
    folder = tmp_path_factory.mktemp("scene")
    fine, half, coarse = numbers(120, 90), numbers(60, 45), numbers(20, 15)
    fine[:5], half[30:33, 7] = 0, 0
    return [
        band(folder / "T33UUP_B04_10m.tif", fine, 10, nodata=0),
        band(folder / "T33UUP_B11_20m.tif", half, 20, nodata=0),
        band(folder / "T33UUP_B01_60m.tif", coarse, 60, nodata=0),
    ]


def warped(path: Path, like: Path, resampling: str) -> NDArray[np.uint16]:
    """A file on the grid of another one, by GDAL."""
    with rasterio.open(path) as file, rasterio.open(like) as grid:
        found = np.zeros((grid.height, grid.width), np.uint16)
        how = {"resampling": Resampling[resampling], "tolerance": 0, "src_nodata": 0, "dst_nodata": 0}
        rasterio.warp.reproject(rasterio.band(file, 1), found, dst_transform=grid.transform, dst_crs=grid.crs, **how)
    return found


@pytest.mark.parametrize("resampling", ["bilinear", "nearest"])
def test_files_of_other_resolutions_are_resampled_as_gdal_does(scene: list[Path], resampling: str) -> None:
    image = fullfield.open(scene[::-1], resampling=resampling)
    assert (image.shape, image.dtype) == ((120, 90, 3), np.uint16)
    with rasterio.open(scene[0]) as file:
        assert image.metadata.georeference.transform == tuple(file.transform)[:6]
    pixels, expected = image.read(0, 120, 0, 90), [warped(path, scene[0], resampling) for path in scene[::-1]]
    inside = (slice(70, None), slice(None))  # of half[30:33] GDAL spreads the neighbours farther
    for k, (exact, one) in enumerate(zip((False, True, True), expected, strict=True)):
        difference = np.abs(pixels[:, :, k].astype(int)[inside] - one[inside])
        assert difference.max() <= (0 if exact or resampling == "nearest" else 1)  # sixths of 60 m round
    assert (image.read(17, 63, 31, 77) == pixels[17:63, 31:77]).all()


def test_each_band_has_the_nodata_of_its_file_and_the_rule_counts_all(scene: list[Path]) -> None:
    either = fullfield.open(scene[:2], resampling="nearest")
    with rasterio.open(scene[0]) as one, rasterio.open(scene[1]) as two:
        fine = one.read(1) > 0
        half = np.kron(two.read(1) > 0, np.ones((2, 2), bool))
    assert either.valid(0, 120, 0, 90) is None  # no pixel is empty in both
    both = fullfield.open(scene[:2], resampling="nearest", valid="all")
    found = both.valid(0, 120, 0, 90)
    assert found is not None
    assert (found == (fine & half)).all()
    assert either.metadata.nodata == 0


def test_bands_are_chosen_by_the_names_of_their_files(scene: list[Path]) -> None:
    image = fullfield.open(scene, bands=["b11", "T33UUP_B04_10m", 2])
    assert image.metadata.band_names == ("B11_20m", "B04_10m", "B01_60m")
    assert (image.read(0, 120, 0, 90) == fullfield.open(scene).read(0, 120, 0, 90)[:, :, [1, 0, 2]]).all()
    with pytest.raises(ImageError, match=r"band B08 does not exist, there are 3: 0 B04_10m or T33UUP_B04_10m or B04"):
        fullfield.open(scene, bands=["B08"])
    assert stack_names(["B04.tif", "B03.tif"], [("",), ("",)]) == [("B04",), ("B03",)]


def test_a_file_that_reaches_less_far_leaves_its_band_empty_there(tmp_path: Path) -> None:
    first = band(tmp_path / "a.tif", numbers(40, 60), 10)
    second = band(tmp_path / "b.tif", numbers(20, 20), 20, corner=(WHERE[0] + 200, WHERE[1] - 100))
    image = fullfield.open([first, second], valid="all")
    assert "b.tif covers 0.5 of it" in image.metadata.reader
    valid = image.valid(0, 40, 0, 60)
    assert valid is not None
    expected = np.zeros((40, 60), bool)
    expected[10:, 20:] = True
    assert (valid == expected).all()
    assert (image.read(0, 40, 0, 60)[~expected][:, 1] == 0).all()
    floats = band(tmp_path / "c.tif", numbers(20, 20).astype(np.float32), 20, corner=(WHERE[0] + 200, WHERE[1] - 100))
    assert np.isnan(fullfield.open([first, floats]).read(0, 10, 0, 60)[:, :, 1]).all()


def test_a_rotated_file_is_placed_by_its_whole_transform(tmp_path: Path) -> None:
    ramp = np.add.outer(np.arange(80) * 100, np.arange(80)).astype(np.float64)
    turned = Affine(20, 4, WHERE[0] - 100, 5, -20, WHERE[1] + 50)
    first = band(tmp_path / "a.tif", numbers(30, 40), 10)
    second = band(tmp_path / "b.tif", ramp, 0, transform=turned)
    found = fullfield.open([first, second]).read(0, 30, 0, 40)[:, :, 1]
    for i, j in ((0, 0), (13, 29), (29, 39)):
        x, y = ~turned @ (WHERE[0] + (j + 0.5) * 10, WHERE[1] - (i + 0.5) * 10)
        assert found[i, j] == pytest.approx((y - 0.5) * 100 + (x - 0.5), abs=1e-6)


def test_files_with_several_bands_and_other_types_are_stacked(tmp_path: Path) -> None:
    photo, heights = numbers(3, 30, 40), RNG.random((15, 20)).astype(np.float32)
    first = band(tmp_path / "photo.tif", photo, 10)
    second = band(tmp_path / "dem.tif", heights, 20)
    image = fullfield.open([first, second], resampling="nearest")
    assert (image.shape, image.dtype) == ((30, 40, 4), np.float32)
    pixels = image.read(0, 30, 0, 40)
    assert (pixels[:, :, :3] == photo.transpose(1, 2, 0)).all()
    assert (pixels[:, :, 3] == np.kron(heights, np.ones((2, 2), np.float32))).all()
    assert image.metadata.band_names[3] == "dem"
    assert "uint16 and float32 read as float32" in image.metadata.reader


def test_a_coarse_level_of_a_stack_averages_files_without_levels(tmp_path: Path) -> None:
    first = band(tmp_path / "a.tif", numbers(256, 256), 10)
    with rasterio.open(first, "r+") as file:
        file.build_overviews([4], Resampling.average)
    flat = np.add.outer(np.arange(256) * 8.0, np.arange(256)).astype(np.float32)
    second = band(tmp_path / "b.tif", flat, 10)
    image = fullfield.open([first, second], level=1)
    assert image.shape == (64, 64, 2)
    expected = flat.reshape(64, 4, 64, 4).mean(axis=(1, 3))
    found = image.read(0, 64, 0, 64)[:, :, 1]
    assert np.abs(found - expected)[4:-4, 4:-4].max() < 0.01
    assert image.metadata.levels == ((256, 256), (64, 64))


@pytest.mark.parametrize("suffix", [".png", ".tif", ".npy"])
def test_files_without_a_place_are_stacked_if_their_sizes_agree(suffix: str, tmp_path: Path) -> None:
    planes = [RNG.integers(0, 255, (20, 30)).astype(np.uint8) for _ in range(3)]
    paths = [tmp_path / f"c{k}{suffix}" for k in range(3)]
    for path, plane in zip(paths, planes, strict=True):
        np.save(path, plane) if suffix == ".npy" else Image.fromarray(plane).save(path)
    image = fullfield.open(paths)
    assert (image.read(0, 20, 0, 30) == np.stack(planes, axis=2)).all()
    assert image.metadata.band_names == ("c0", "c1", "c2")
    Image.fromarray(planes[0][:10]).save(tmp_path / "small.png")
    with pytest.raises(ImageError, match=r"small.png: has 10x30 px, and .*c0.* has 20x30 px; without a place"):
        fullfield.open([paths[0], tmp_path / "small.png"])


def test_files_that_do_not_lie_on_each_other_are_refused_by_name(scene: list[Path], tmp_path: Path) -> None:
    other = band(tmp_path / "other.tif", numbers(60, 45), 20, crs="EPSG:32634")
    with pytest.raises(ImageError, match=r"other.tif: is in EPSG:32634, and .*B04_10m.tif in EPSG:32633\n.*gdalwarp"):
        fullfield.open([*scene, other])
    far = band(tmp_path / "far.tif", numbers(60, 45), 20, corner=(WHERE[0] + 900, WHERE[1]))
    with pytest.raises(ImageError, match=r"far.tif: does not overlap .*B04_10m.tif"):
        fullfield.open([*scene, far])
    Image.fromarray(numbers(120, 90)).save(tmp_path / "plain.png")
    with pytest.raises(ImageError, match=r"plain.png: has no place on a map, and .*B04_10m.tif has one"):
        fullfield.open([*scene, tmp_path / "plain.png"])
    with pytest.raises(ImageError, match=r"gone.tif: there is no such file"):
        fullfield.open([*scene, tmp_path / "gone.tif"])
    with pytest.raises(ImageError, match=r"resampling: 'cubic' is not known\n  fix: use one of bilinear, nearest"):
        fullfield.open(scene, resampling="cubic")  # type: ignore[arg-type]
    with pytest.raises(ImageError, match="image: no file is named"):
        fullfield.open([])


def test_a_change_of_any_file_changes_the_identity(tmp_path: Path) -> None:
    paths = [band(tmp_path / f"b{k}.tif", numbers(20, 20), 10) for k in range(2)]
    before = fullfield.open(paths).metadata.identity
    assert fullfield.open(paths).metadata.identity == before
    band(paths[1], numbers(20, 20), 10)
    assert fullfield.open(paths).metadata.identity != before
