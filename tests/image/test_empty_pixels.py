"""Which pixels hold nothing: transparent ones, nodata, NaN and masks, by one rule for all readers."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from torch import nn

import fullfield
from fullfield.errors import ImageError
from fullfield.image.raster import Raster
from fullfield.importers.load import load

tifffile = pytest.importorskip("tifffile")
rasterio = pytest.importorskip("rasterio")

HEIGHT, WIDTH = 64, 96
RNG = np.random.default_rng(0)


def empty_left() -> NDArray[np.bool_]:
    """The left half holds nothing. The first pixel of the right half is not the image's first, nor that of the left."""
    return np.broadcast_to(np.arange(WIDTH) < WIDTH // 2, (HEIGHT, WIDTH))


def geotiff(path: Path, pixels: NDArray[Any], colours: tuple[str, ...] = (), **profile: Any) -> Path:
    kinds = rasterio.enums.ColorInterp
    at = {"crs": "EPSG:32633", "transform": rasterio.Affine(2, 0, 5e5, 0, -2, 4e6)}
    size = {"count": len(pixels), "height": pixels.shape[1], "width": pixels.shape[2], "dtype": pixels.dtype}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
        with rasterio.open(path, "w", driver="GTiff", **size, **(at | profile)) as file:
            if colours:  # GDAL forgets those of two bands that are set after the pixels
                file.colorinterp = [kinds[name] for name in colours]
            file.write(pixels)
    return path


def valid_of(raster: Raster) -> NDArray[np.bool_]:
    height, width, _ = raster.shape
    found = raster.valid(0, height, 0, width)
    assert found is not None
    return found


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize(
    ("dtype", "count", "full"),
    [
        ("uint8", 2, 255),
        ("uint8", 4, 255),
        ("uint16", 4, 65535),
        ("uint8", 5, 255),
        ("uint8", 6, 255),
        ("uint16", 6, 65535),
        ("float32", 4, 255),
        ("float32", 6, 1),
    ],
)
def test_alpha_of_geotiffs_of_any_type_and_number_of_bands(
    tmp_path: Path, dtype: str, count: int, full: int, mirrored: bool
) -> None:
    empty = empty_left()[:, ::-1] if mirrored else empty_left()
    pixels = RNG.integers(1, 200, (count, HEIGHT, WIDTH)).astype(dtype)
    pixels[-1] = np.where(empty, 0, full)
    names = ("gray", "alpha") if count == 2 else ("red", "green", "blue", *["undefined"] * (count - 4), "alpha")
    raster = fullfield.open(geotiff(tmp_path / "a.tif", pixels, names))
    assert raster.shape[2] == count - 1
    assert raster.metadata.masked
    np.testing.assert_array_equal(valid_of(raster), ~empty)
    np.testing.assert_array_equal(raster.read(0, HEIGHT, 0, WIDTH), np.moveaxis(pixels[:-1], 0, 2))


@pytest.mark.parametrize("name", ["a.png", "a.webp", "a.tif", "grey.png", "grey.tif", "palette.png"])
def test_alpha_of_pictures(tmp_path: Path, name: str) -> None:
    """As Pillow reads it; what is transparent is white, as where a picture is shown on a page."""
    empty = empty_left()
    pixels = RNG.integers(1, 200, (HEIGHT, WIDTH, 2 if name.startswith("grey") else 4), dtype=np.uint8)
    pixels[..., -1] = np.where(empty, 0, 255)
    path = tmp_path / name
    if name.endswith(".tif"):
        kind = "minisblack" if name.startswith("grey") else "rgb"
        tifffile.imwrite(path, pixels, photometric=kind, extrasamples=["unassalpha"], tile=(16, 16))
    elif name == "palette.png":
        picture = Image.fromarray((~empty).astype(np.uint8)).convert("P")
        picture.info["transparency"] = 0
        picture.save(path, transparency=0)
    else:
        Image.fromarray(pixels, "LA" if name.startswith("grey") else "RGBA").save(path, lossless=True)
    raster = fullfield.open(path)
    assert raster.shape[2] == (1 if name.startswith("grey") else 3)
    np.testing.assert_array_equal(valid_of(raster), ~empty)
    read = raster.read(0, HEIGHT, 0, WIDTH)
    with Image.open(path) as picture:
        opaque = np.asarray(picture.convert("RGBA"))[..., : raster.shape[2]]
    np.testing.assert_array_equal(read[~empty], opaque[~empty])
    assert (read[empty] == 255).all()


def test_partly_transparent_pixels_of_a_tiff_are_those_of_the_png(tmp_path: Path) -> None:
    pixels = RNG.integers(0, 256, (HEIGHT, WIDTH, 4), dtype=np.uint8)
    Image.fromarray(pixels, "RGBA").save(tmp_path / "a.png")
    tifffile.imwrite(tmp_path / "a.tif", pixels, photometric="rgb", extrasamples=["unassalpha"])
    png, tif = (fullfield.open(tmp_path / name).read(0, HEIGHT, 0, WIDTH).astype(int) for name in ("a.png", "a.tif"))
    np.testing.assert_allclose(tif, png, atol=1)
    with pytest.raises(ImageError, match="band 4 does not exist"):
        fullfield.open(tmp_path / "a.tif", bands=(4,))
    np.testing.assert_array_equal(
        fullfield.open(tmp_path / "a.tif", bands=(0, 3)).read(0, HEIGHT, 0, WIDTH), pixels[..., [0, 3]]
    )


def test_grey_with_alpha_is_not_two_bands(tmp_path: Path) -> None:
    pixels = RNG.integers(1, 200, (2, HEIGHT, WIDTH), dtype=np.uint8)
    assert fullfield.open(geotiff(tmp_path / "a.tif", pixels, ("gray", "undefined"))).shape[2] == 2
    assert fullfield.open(geotiff(tmp_path / "b.tif", pixels, ("gray", "alpha"))).shape[2] == 1
    for extra, count in (("unspecified", 2), ("unassalpha", 1)):
        tifffile.imwrite(tmp_path / "c.tif", np.moveaxis(pixels, 0, 2), photometric="minisblack", extrasamples=[extra])
        assert fullfield.open(tmp_path / "c.tif").shape[2] == count


def plain_and_geo(path: Path, pixels: NDArray[Any], nodata: str | None) -> tuple[Raster, Raster]:
    """The same file without and with a place on a map: tifffile and GDAL read it."""
    tags = [] if nodata is None else [(42113, "s", 0, nodata, True)]
    tifffile.imwrite(path / "plain.tif", pixels, tile=(16, 16), extratags=tags)
    place = [(33550, "d", 3, (2.0, 2.0, 0.0), True), (33922, "d", 6, (0.0, 0.0, 0.0, 5e5, 4e6, 0.0), True)]
    tifffile.imwrite(path / "geo.tif", pixels, tile=(16, 16), extratags=tags + place)
    found = fullfield.open(path / "plain.tif"), fullfield.open(path / "geo.tif")
    assert [each.metadata.reader.split(" ")[0] for each in found] == ["tifffile", "gdal"]
    return found


@pytest.mark.parametrize(
    ("dtype", "text", "value"),
    [
        ("uint8", "nan", 0),
        ("uint8", "-9999", 0),
        ("uint8", "300", 44),
        ("int16", "nan", 0),
        ("uint8", "7", 7),
        ("int16", "-32768", -32768),
        ("float32", "-3.40282e+38", np.finfo("f4").min),
        ("float32", "-3.4028234663852886e+38", np.finfo("f4").min),
        ("float32", "-9999.9", -9999.9),
        ("float32", "nan", np.nan),
        ("float32", None, np.nan),
        ("float64", "-1e300", -1e300),
    ],
)
def test_nodata_tags_mean_what_gdal_takes_them_for_in_both_readers(
    tmp_path: Path, dtype: str, text: str | None, value: float
) -> None:
    pixels = RNG.integers(10, 40, (HEIGHT, WIDTH)).astype(dtype)
    pixels[:, : WIDTH // 2] = value
    plain, geo = plain_and_geo(tmp_path, pixels, text)
    with rasterio.open(tmp_path / "geo.tif") as file:
        wanted = (file.read_masks(1) != 0) & ~np.isnan(pixels.astype(np.float64))
    for raster in (plain, geo):
        valid = raster.valid(0, HEIGHT, 0, WIDTH)
        np.testing.assert_array_equal(np.ones_like(wanted) if valid is None else valid, wanted, raster.metadata.reader)
    assert plain.metadata.nodata == pytest.approx(geo.metadata.nodata, nan_ok=True)


@pytest.mark.parametrize("reader", ["plain", "geo", "npy", "zarr", "png"])
def test_the_user_declares_nodata_for_any_reader(tmp_path: Path, reader: str) -> None:
    pixels = RNG.integers(10, 40, (HEIGHT, WIDTH)).astype(np.uint8)
    pixels[:, : WIDTH // 2] = 7
    path = tmp_path / f"{reader}.tif"
    if reader in ("plain", "geo"):
        plain_and_geo(tmp_path, pixels, "12")
    elif reader == "npy":
        np.save(tmp_path / "a.npy", pixels)
        path = tmp_path / "a.npy"
    elif reader == "zarr":
        zarr = pytest.importorskip("zarr")
        path = tmp_path / "a.zarr"
        zarr.save_array(str(path), pixels)
    else:
        path = tmp_path / "a.png"
        Image.fromarray(pixels).save(path)
    raster = fullfield.open(path, nodata=7)
    np.testing.assert_array_equal(valid_of(raster), ~empty_left())
    assert raster.metadata.nodata == 7
    with pytest.raises(ImageError, match=r"nodata 300: no pixel of uint8 has this value"):
        fullfield.open(path, nodata=300)
    assert fullfield.open(path).metadata.identity != raster.metadata.identity


@pytest.mark.parametrize("nodata", [-9999.0, float("nan")])
def test_a_pixel_with_nodata_in_one_band_is_valid_or_not_as_asked(tmp_path: Path, nodata: float) -> None:
    pixels = RNG.normal(size=(3, HEIGHT, WIDTH)).astype(np.float32)
    pixels[1, :, : WIDTH // 2] = nodata
    declared = None if np.isnan(nodata) else nodata
    path = geotiff(tmp_path / "a.tif", pixels, nodata=declared)
    assert fullfield.open(path).valid(0, HEIGHT, 0, WIDTH) is None
    np.testing.assert_array_equal(valid_of(fullfield.open(path, valid="all")), ~empty_left())
    if declared is not None:
        with rasterio.open(path) as file:
            assert (file.dataset_mask() != 0).all()
            np.testing.assert_array_equal((file.read_masks() != 0).all(axis=0), ~empty_left())
    tifffile.imwrite(tmp_path / "p.tif", np.moveaxis(pixels, 0, 2), photometric="rgb")
    np.testing.assert_array_equal(
        valid_of(fullfield.open(tmp_path / "p.tif", valid="all", nodata=nodata)), ~empty_left()
    )
    with pytest.raises(ImageError, match="use one of any, all"):
        fullfield.open(path, valid="some")  # type: ignore[arg-type]


@pytest.mark.parametrize("inside", [False, True])
@pytest.mark.parametrize("masked_first", [False, True])
def test_masks_beside_and_inside_a_file_count_on_every_level(tmp_path: Path, inside: bool, masked_first: bool) -> None:
    """Where the overviews are made before the mask it has none, and GDAL takes all of a coarse level for valid."""
    pixels = RNG.integers(1, 200, (3, 256, 256), dtype=np.uint8)
    mask = np.full((256, 256), 255, np.uint8)
    mask[:, 128:] = 0
    path = geotiff(tmp_path / "a.tif", pixels, tiled=True, blockxsize=64, blockysize=64)
    for made in ("mask", "levels") if masked_first else ("levels", "mask"):
        with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=inside), rasterio.open(path, "r+") as file:
            file.write_mask(mask) if made == "mask" else file.build_overviews([2, 4])
    for level in (0, 1, 2):
        raster = fullfield.open(path, level=level)
        side = 256 >> level
        np.testing.assert_array_equal(valid_of(raster), np.arange(side)[None].repeat(side, 0) < side // 2)
        part = raster.valid(side // 4, side // 2, side // 4, side)
        np.testing.assert_array_equal(part, valid_of(raster)[side // 4 : side // 2, side // 4 :])


def test_nodata_of_one_band_does_not_spread_when_an_image_is_resampled(tmp_path: Path) -> None:
    pixels = np.ones((2, HEIGHT, WIDTH), np.float32)
    pixels[1, 10:20, 10:20] = np.nan
    path = geotiff(tmp_path / "a.tif", pixels, nodata=None, transform=rasterio.Affine(5e-7, 0, 5e5, 0, -5e-7, 4e6))
    small = fullfield.open(path, mpp=1.0)
    assert np.isfinite(small.read(0, *small.shape[:1], 0, small.shape[1])).all()


@pytest.mark.parametrize("bits", [1, 2, 4, 12])
@pytest.mark.parametrize("white_is_zero", [False, True])
def test_both_readers_find_the_same_black_and_white_in_few_bits(tmp_path: Path, bits: int, white_is_zero: bool) -> None:
    """The share of white of every pixel; of 10 to 14 bits tifffile counts from white to black only in whole bytes."""
    most = 2**bits - 1
    stored = RNG.integers(0, most + 1, (1, HEIGHT, WIDTH)).astype(np.uint16 if bits > 8 else np.uint8)
    shares = []
    for plain in (True, False):
        place = {"crs": None, "transform": None} if plain else {}
        kind = {"photometric": "MINISWHITE"} if white_is_zero else {}
        path = geotiff(tmp_path / "a.tif", stored, nbits=bits, **kind, **place)
        raster = fullfield.open(path)
        assert raster.metadata.reader.startswith("tifffile" if plain else "gdal")
        low, high = raster.metadata.value_range or (0, 255)
        pixels = raster.read(0, HEIGHT, 0, WIDTH)[..., 0]
        numbers = pixels * 255.0 if pixels.dtype == np.bool_ else pixels.astype(float)
        shares.append((numbers - low) / (high - low))
    wanted = stored[0] / most
    for found in shares:
        np.testing.assert_allclose(found, 1 - wanted if white_is_zero else wanted, atol=1e-12)


@pytest.mark.parametrize("plain", [False, True])
def test_scale_and_offset_of_bands_are_applied_where_asked_and_said_otherwise(tmp_path: Path, plain: bool) -> None:
    stored = RNG.integers(1, 60000, (2, HEIGHT, WIDTH)).astype(np.uint16)
    stored[:, :, : WIDTH // 2] = 0
    place = {"crs": None, "transform": None} if plain else {}
    path = geotiff(tmp_path / "a.tif", stored, nodata=0, **place)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
        with rasterio.open(path, "r+") as file:
            file.scales, file.offsets = (1e-4, 2e-4), (-0.1, 5.0)
    as_stored, applied = fullfield.open(path), fullfield.open(path, scale_offset=True)
    np.testing.assert_array_equal(as_stored.read(0, HEIGHT, 0, WIDTH), np.moveaxis(stored, 0, 2))
    if not plain:
        assert "scales and offsets of bands not applied: pass scale_offset=" in as_stored.metadata.reader
    wanted = np.moveaxis(stored * np.array([1e-4, 2e-4])[:, None, None] + np.array([-0.1, 5.0])[:, None, None], 0, 2)
    found = applied.read(0, HEIGHT, 0, WIDTH)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found[:, WIDTH // 2 :], wanted[:, WIDTH // 2 :], rtol=1e-6)
    assert np.isnan(found[:, : WIDTH // 2]).all()
    np.testing.assert_array_equal(valid_of(applied), ~empty_left())
    assert applied.metadata.identity != as_stored.metadata.identity


def test_a_file_that_has_no_scales_says_so(tmp_path: Path) -> None:
    Image.fromarray(np.zeros((9, 9), np.uint8)).save(tmp_path / "a.png")
    with pytest.raises(ImageError, match="is read by Pillow, which finds no scale or offset"):
        fullfield.open(tmp_path / "a.png", scale_offset=True)


def test_a_scan_says_that_transparent_pixels_are_replaced(tmp_path: Path) -> None:
    pixels = RNG.integers(1, 200, (HEIGHT, WIDTH, 4), dtype=np.uint8)
    pixels[..., 3] = np.where(empty_left(), 0, 255)
    Image.fromarray(pixels, "RGBA").save(tmp_path / "a.png")
    model = load(nn.Sequential(nn.AvgPool2d(4), nn.Flatten()).eval(), window=4, channels=3)
    scores = fullfield.scan(model, tmp_path / "a.png", step=4)
    assert "transparent pixels replaced" in scores.provenance["input"]["text"]
    assert np.isnan(scores.array[:, :, : WIDTH // 8]).all()
    assert np.isfinite(scores.array[:, :, WIDTH // 8 :]).all()
    in_memory = fullfield.scan(model, Image.fromarray(pixels, "RGBA"), step=4)
    np.testing.assert_array_equal(in_memory.array, scores.array)
