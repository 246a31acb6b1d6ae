import os
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import hypothesis.strategies as st
import numpy as np
import pyproj
import pytest
import rasterio
from hypothesis import given, settings
from rasterio.control import GroundControlPoint
from rasterio.enums import ColorInterp, Resampling
from scipy.io import netcdf_file

from fullfield.errors import ImageError
from fullfield.image.formats.gdal import open_gdal
from fullfield.image.formats.gdal_safety import allowed_drivers
from fullfield.image.open import open as open_image
from fullfield.image.selection import Selection

H, W = 300, 421
UTM = rasterio.Affine(2.0, 0.0, 500_000.0, 0.0, -2.0, 5_400_000.0)
PIXELS = np.random.default_rng(0).integers(1, 250, (4, H, W), dtype=np.uint8)


def write(path, pixels, *, overviews=(), after=None, **profile):
    count, height, width = pixels.shape
    given_profile = {"driver": "GTiff", "crs": "EPSG:32632", "transform": UTM} | profile
    if given_profile["driver"] == "GTiff":
        given_profile = {"photometric": "minisblack"} | given_profile  # else four bands are taken for RGBA
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with rasterio.open(
            path, "w", width=width, height=height, count=count, dtype=pixels.dtype, **given_profile
        ) as file:
            file.write(pixels)
            if after:
                after(file)
        if overviews:
            with rasterio.open(path, "r+") as file:
                file.build_overviews(list(overviews), Resampling.average)
    return str(path)


TILED = {"tiled": True, "blockxsize": 64, "blockysize": 128}


@pytest.fixture(scope="module")
def pyramid(tmp_path_factory):
    return write(tmp_path_factory.mktemp("gdal") / "a.tif", PIXELS, overviews=(2, 4), compress="deflate", **TILED)


regions = st.tuples(st.integers(0, H - 1), st.integers(1, 200), st.integers(0, W - 1), st.integers(1, 200))


@settings(max_examples=25)
@given(region=regions, level=st.integers(0, 2), bands=st.lists(st.integers(0, 3), min_size=1, max_size=4))
def test_any_region_of_any_level_equals_rasterios_full_read(pyramid, region, level, bands):
    with open_gdal_closing(pyramid, Selection(level=level, bands=tuple(bands))) as raster:
        options = {"OVERVIEW_LEVEL": level - 1} if level else {}
        with rasterio.open(pyramid, **options) as file:
            whole = file.read([band + 1 for band in bands]).transpose(1, 2, 0)
        height, width, _ = raster.shape
        top, left = region[0] % height, region[2] % width
        bottom, right = min(height, top + region[1]), min(width, left + region[3])
        assert raster.shape == whole.shape
        np.testing.assert_array_equal(raster.read(top, bottom, left, right), whole[top:bottom, left:right])


class open_gdal_closing:
    def __init__(self, path, selection=None):
        self.raster = open_gdal(str(path), selection or Selection())

    def __enter__(self):
        return self.raster

    def __exit__(self, *exc):
        self.raster.close()


def test_many_threads_read_the_same_pixels(pyramid):
    whole = PIXELS.transpose(1, 2, 0)

    def same(seed):
        rng = np.random.default_rng(seed)
        top, left = int(rng.integers(0, H - 50)), int(rng.integers(0, W - 50))
        return np.array_equal(raster.read(top, top + 50, left, left + 50), whole[top : top + 50, left : left + 50])

    with open_gdal_closing(pyramid) as raster, ThreadPoolExecutor(8) as pool:
        assert all(pool.map(same, range(300)))


def test_a_file_is_open_no_more_often_than_threads_read_at_once(pyramid):
    with open_gdal_closing(pyramid) as raster:
        for _ in range(20):
            worker = threading.Thread(target=raster.read, args=(0, 10, 0, 10))
            worker.start()
            worker.join()
        assert len(raster._handles._idle) == 1


def test_levels_carry_their_size_their_place_and_their_resolution(pyramid):
    with open_gdal_closing(pyramid, Selection(level=1)) as raster:
        metadata = raster.metadata
        assert metadata.levels == ((H, W), (150, 211), (75, 106))
        assert (metadata.level, metadata.tile) == (1, (128, 128))
        place = metadata.georeference
        # the corner of the last pixel stays where it was
        assert place.on_map(150, 211) == pytest.approx((500_000 + 2 * W, 5_400_000 - 2 * H), abs=1e-6)
        assert metadata.mpp == pytest.approx((4e6, 4e6 * 421 / 422))


def test_known_points_lie_where_pyproj_puts_them(pyramid):
    with open_gdal_closing(pyramid) as raster:
        x, y = raster.metadata.georeference.on_map(100, 200)
        lon, lat = pyproj.Transformer.from_crs(raster.metadata.georeference.crs, 4326, always_xy=True).transform(x, y)
    expected = pyproj.Transformer.from_crs(32632, 4326, always_xy=True).transform(500_400.0, 5_399_800.0)
    assert (lon, lat) == pytest.approx(expected, abs=1e-12)


def test_a_resolution_picks_the_nearest_finer_overview(pyramid):
    with open_gdal_closing(pyramid, Selection(mpp=5e6)) as raster:
        assert raster.metadata.level == 1


def test_a_resolution_needs_metres(tmp_path):
    path = write(tmp_path / "a.tif", PIXELS, crs="EPSG:4326")
    with pytest.raises(ImageError, match="does not state its resolution"):
        open_gdal(path, Selection(mpp=5.0))
    with open_gdal_closing(path) as raster:
        assert raster.metadata.mpp is None


def test_feet_become_micrometres(tmp_path):
    path = write(tmp_path / "a.tif", PIXELS, crs="EPSG:2263")  # US survey feet
    with open_gdal_closing(path) as raster:
        assert raster.metadata.mpp == pytest.approx((2 * 1200 / 3937 * 1e6,) * 2)


def test_a_rotated_transform_is_kept_and_measured_along_the_images_axes(tmp_path):
    turned = UTM @ rasterio.Affine.rotation(30)
    path = write(tmp_path / "a.tif", PIXELS, transform=turned)
    with open_gdal_closing(path) as raster:
        assert raster.metadata.georeference.on_map(7, 5) == pytest.approx(turned @ (5, 7))
        assert raster.metadata.mpp == pytest.approx((2e6, 2e6))


def test_blocks_larger_than_memory_allows_are_refused(tmp_path):
    side = 40_000
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        rasterio.open(
            tmp_path / "a.tif", "w", driver="GTiff", width=side, height=side, count=1, dtype="uint8",
            compress="deflate", tiled=True, blockxsize=side, blockysize=side, sparse_ok=True,
        ).close()  # fmt: skip
    with pytest.raises(ImageError, match="40000x40000 px"):
        open_gdal(str(tmp_path / "a.tif"), Selection())


def test_ground_control_points_are_no_georeference(tmp_path):
    points = [GroundControlPoint(r, c, c * 2.0, r * 2.0) for r, c in ((0, 0), (0, 400), (290, 0), (290, 400))]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with rasterio.open(
            tmp_path / "a.tif", "w", driver="GTiff", width=W, height=H, count=4, dtype="uint8", gcps=points,
            crs="EPSG:32632",
        ) as file:  # fmt: skip
            file.write(PIXELS)
    with open_gdal_closing(tmp_path / "a.tif") as raster:
        assert raster.metadata.georeference is None
        assert "control points" in raster.metadata.reader


def test_nodata_is_invalid_at_every_level_as_dataset_mask_says(tmp_path):
    holes = PIXELS.copy()
    holes[:, 40:120, 100:300] = 0
    holes[0, :, 350:] = 0  # one band alone does not make a hole
    path = write(tmp_path / "a.tif", holes, nodata=0, overviews=(2,), **TILED)
    for level in (0, 1):
        with (
            open_gdal_closing(path, Selection(level=level)) as raster,
            rasterio.open(path, **({"OVERVIEW_LEVEL": 0} if level else {})) as file,
        ):
            height, width, _ = raster.shape
            np.testing.assert_array_equal(raster.valid(0, height, 0, width), file.dataset_mask() != 0)
            assert raster.metadata.nodata == 0
    with open_gdal_closing(path, Selection(bands=(0,))) as raster:
        assert not raster.valid(0, H, 360, W).any()


def test_nan_is_nodata_whether_or_not_the_file_says_so(tmp_path):
    pixels = PIXELS[:1].astype(np.float32)
    pixels[0, :10] = np.nan
    for nodata in (np.nan, None):
        with open_gdal_closing(write(tmp_path / f"{nodata}.tif", pixels, nodata=nodata)) as raster:
            found = raster.valid(0, 20, 0, W)
            assert not found[:10].any()
            assert found[10:].all()


def test_alpha_is_no_channel_but_says_what_is_valid(tmp_path):
    pixels = PIXELS.copy()
    pixels[3] = 255
    pixels[3, :50] = 0
    path = write(tmp_path / "a.tif", pixels, photometric="rgb", alpha="yes")
    with open_gdal_closing(path) as raster:
        assert raster.shape == (H, W, 3)
        assert not raster.valid(0, 50, 0, W).any()
        assert raster.valid(50, H, 0, W) is None
    with open_gdal_closing(path, Selection(bands=(3, 0))) as raster:
        np.testing.assert_array_equal(raster.read(0, H, 0, W), pixels[[3, 0]].transpose(1, 2, 0))


def test_a_mask_band_says_what_is_valid(tmp_path):
    mask = np.full((H, W), 255, np.uint8)
    mask[200:, :30] = 0
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True):
        path = write(tmp_path / "a.tif", PIXELS[:3], after=lambda file: file.write_mask(mask))
    with open_gdal_closing(path) as raster:
        np.testing.assert_array_equal(raster.valid(0, H, 0, W), mask != 0)


def test_a_palette_becomes_colours_and_transparent_entries_invalid(tmp_path):
    colours = {i: (i, 255 - i, i // 2, 255) for i in range(256)} | {7: (1, 2, 3, 0)}
    path = write(tmp_path / "a.png", PIXELS[:1], driver="PNG", after=lambda file: file.write_colormap(1, colours))
    with open_gdal_closing(path) as raster:
        table = np.array([colours[i] for i in range(256)], np.uint8)
        assert raster.metadata.band_names == ("red", "green", "blue")
        np.testing.assert_array_equal(raster.read(0, H, 0, W), table[PIXELS[0], :3])
        np.testing.assert_array_equal(raster.valid(0, H, 0, W), PIXELS[0] != 7)
    with open_gdal_closing(path, Selection(bands=(2,))) as raster:
        np.testing.assert_array_equal(raster.read(0, H, 0, W)[:, :, 0], table[PIXELS[0], 2])


def test_bands_of_different_types_come_in_the_type_that_holds_both(tmp_path):
    write(tmp_path / "a.tif", PIXELS[:1])
    write(tmp_path / "b.tif", PIXELS[:1].astype(np.int16) - 300)
    bands = "".join(
        f'<VRTRasterBand dataType="{kind}" band="{i}"><SimpleSource><SourceFilename relativeToVRT="1">{name}'
        "</SourceFilename><SourceBand>1</SourceBand></SimpleSource></VRTRasterBand>"
        for i, (kind, name) in enumerate((("Byte", "a.tif"), ("Int16", "b.tif")), start=1)
    )
    (tmp_path / "v.vrt").write_text(f'<VRTDataset rasterXSize="{W}" rasterYSize="{H}">{bands}</VRTDataset>')
    with open_gdal_closing(tmp_path / "v.vrt") as raster:
        assert raster.dtype == np.int16
        np.testing.assert_array_equal(raster.read(0, H, 0, W)[:, :, 1], PIXELS[0].astype(np.int16) - 300)


def test_complex_bands_are_refused(tmp_path):
    path = write(tmp_path / "a.tif", PIXELS[:1].astype(np.complex64))
    with pytest.raises(ImageError, match="complex64"):
        open_gdal(path, Selection())


@pytest.mark.parametrize("driver", ["ENVI", "HFA", "JP2OpenJPEG", "PNG", "BMP"])
def test_other_formats_equal_rasterios_read(tmp_path, driver):
    path = write(tmp_path / "a.dat", PIXELS[:3], driver=driver)
    with open_gdal_closing(path) as raster, rasterio.open(path) as file:
        np.testing.assert_array_equal(raster.read(10, 200, 20, 300), file.read().transpose(1, 2, 0)[10:200, 20:300])
        assert driver in raster.metadata.reader


def test_jpeg_2000_is_read_by_gdal_whose_windows_need_no_whole_decoding(tmp_path):
    path = write(tmp_path / "a.jp2", PIXELS[:3], driver="JP2OpenJPEG", QUALITY="100", REVERSIBLE="YES")
    raster = open_image(path)
    assert raster.metadata.georeference is not None
    np.testing.assert_array_equal(raster.read(0, H, 0, W), PIXELS[:3].transpose(1, 2, 0))
    raster.close()


def test_pages_of_a_tiff_are_series(tmp_path):
    write(tmp_path / "a.tif", PIXELS[:1])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with rasterio.open(tmp_path / "a.tif", "w", driver="GTiff", width=W, height=H, count=1, dtype="uint8") as first:
            first.write(PIXELS[:1])
        with rasterio.open(
            tmp_path / "a.tif", "w", driver="GTiff", width=W, height=H, count=1, dtype="uint8", APPEND_SUBDATASET="YES"
        ) as second:
            second.write(PIXELS[1:2])
    for series in (0, 1):
        with open_gdal_closing(tmp_path / "a.tif", Selection(series=series)) as raster:
            np.testing.assert_array_equal(raster.read(0, H, 0, W)[:, :, 0], PIXELS[series])
    with pytest.raises(ImageError, match="series 2 does not exist, there are 2"):
        open_gdal(str(tmp_path / "a.tif"), Selection(series=2))


def test_variables_of_a_netcdf_are_series(tmp_path):
    with netcdf_file(str(tmp_path / "a.nc"), "w") as file:
        file.createDimension("y", 40)
        file.createDimension("x", 50)
        for name, value in (("one", 1), ("two", 2)):
            file.createVariable(name, "f4", ("y", "x"))[:] = np.full((40, 50), value)
    for selection, value in ((Selection(), 1), (Selection(series=0), 1), (Selection(series=1), 2)):
        with open_gdal_closing(tmp_path / "a.nc", selection) as raster:
            assert raster.shape == (40, 50, 1)
            assert (raster.read(0, 40, 0, 50) == value).all()


def test_band_names_are_the_descriptions(tmp_path):
    path = write(tmp_path / "a.tif", PIXELS, after=lambda file: file.set_band_description(2, "nir"))
    with open_gdal_closing(path, Selection(bands=(1, 0))) as raster:
        assert raster.metadata.band_names == ("nir", "")


def test_a_thumbnail_comes_from_the_overviews(pyramid):
    with open_gdal_closing(pyramid) as raster, rasterio.open(pyramid, OVERVIEW_LEVEL=1) as file:
        np.testing.assert_array_equal(raster.thumbnail(106), file.read().transpose(1, 2, 0))


def test_a_large_file_without_overviews_has_no_thumbnail(tmp_path):
    path = write(tmp_path / "a.tif", np.zeros((1, 7200, 7200), np.uint8), compress="deflate", sparse_ok=True)
    with open_gdal_closing(path) as raster:
        assert raster.thumbnail(100) is None


def test_a_changed_sidecar_changes_the_identity(tmp_path):
    path = write(tmp_path / "a.dat", PIXELS, driver="ENVI")
    before = open_gdal(path, Selection()).metadata.identity
    assert before == open_gdal(path, Selection()).metadata.identity
    header = tmp_path / "a.hdr"
    header.write_text(header.read_text() + "\n; changed\n")
    assert open_gdal(path, Selection()).metadata.identity != before


def test_the_identity_does_not_depend_on_where_the_files_lie_or_how_they_are_named(tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    write(tmp_path / "here" / "a.dat", PIXELS, driver="ENVI")
    before = open_gdal(str(tmp_path / "here" / "a.dat"), Selection()).metadata.identity
    monkeypatch.chdir(tmp_path / "here")
    assert open_gdal("a.dat", Selection()).metadata.identity == before
    (tmp_path / "here").rename(tmp_path / "there")
    assert open_gdal(str(tmp_path / "there" / "a.dat"), Selection()).metadata.identity == before


def test_the_identity_of_a_subdataset_names_it_without_the_files_path(tmp_path):
    path = write(tmp_path / "a.tif", PIXELS[:1], APPEND_SUBDATASET="NO")
    write(path, PIXELS[1:2], APPEND_SUBDATASET="YES")
    first, second = (open_gdal(path, Selection(series=k)).metadata.identity for k in (0, 1))
    assert first != second
    Path(path).rename(tmp_path / "b.tif")
    assert open_gdal(str(tmp_path / "b.tif"), Selection(series=1)).metadata.identity == second


def test_a_truncated_file_names_the_region_and_is_silent_otherwise(tmp_path, capfd):
    path = Path(write(tmp_path / "a.tif", PIXELS, compress="deflate", interleave="band", **TILED))
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    with open_gdal_closing(path, Selection(bands=(3,))) as raster:
        with pytest.raises(ImageError, match=r"y 200:300, x 300:421 cannot be read"):
            raster.read(200, H, 300, W)
        with pytest.raises(ImageError, match="cannot be read"):
            raster.read(0, H, 0, W)
    assert capfd.readouterr().err == ""


def test_a_damaged_region_does_not_stop_others(tmp_path):
    path = Path(write(tmp_path / "a.tif", PIXELS[:1], compress="deflate", **TILED))
    data = bytearray(path.read_bytes())
    data[-2000:] = bytes(2000)
    path.write_bytes(data)
    with open_gdal_closing(path) as raster:
        with pytest.raises(ImageError):
            raster.read(0, H, 0, W)
        np.testing.assert_array_equal(raster.read(0, 64, 0, 64)[:, :, 0], PIXELS[0, :64, :64])


@pytest.mark.parametrize("region", [(-1, 5, 0, 5), (0, 0, 0, 5), (0, H + 1, 0, 5), (0, 5, 400, 500)])
def test_a_region_beyond_the_image_is_refused(pyramid, region):
    with open_gdal_closing(pyramid) as raster, pytest.raises(ImageError, match="does not lie in the image"):
        raster.read(*region)


def test_reading_after_close_is_refused(pyramid):
    raster = open_gdal(pyramid, Selection())
    raster.close()
    raster.close()
    with pytest.raises(ImageError, match="is closed"):
        raster.read(0, 5, 0, 5)


@pytest.mark.parametrize(
    ("selection", "text"),
    [
        (Selection(level=7), "level 7"),
        (Selection(bands=(4,)), "band 4"),
        (Selection(series=1), "series 1"),
        (Selection(z=1), "z 1"),
    ],
)
def test_what_does_not_exist_cannot_be_selected(pyramid, selection, text):
    with pytest.raises(ImageError, match=text):
        open_gdal(pyramid, selection)


@pytest.mark.parametrize("content", [b"", b"II*\0" + b"\xff" * 100, b"<WMS></WMS>", b"hello", b"<VRTDataset"])
def test_what_is_no_raster_is_one_clear_error(tmp_path, content):
    (tmp_path / "a.tif").write_bytes(content)
    with pytest.raises(ImageError, match=r"a\.tif"):
        open_gdal(str(tmp_path / "a.tif"), Selection())


def vrt(source, *, relative=1, tag="SourceFilename", extra=""):
    return (
        f'<VRTDataset rasterXSize="{W}" rasterYSize="{H}"><VRTRasterBand dataType="Byte" band="1">{extra}<SimpleSource>'
        f'<{tag} relativeToVRT="{relative}">{source}</{tag}><SourceBand>1</SourceBand></SimpleSource></VRTRasterBand>'
        "</VRTDataset>"
    )


def test_a_vrt_reads_files_below_its_folder(tmp_path):
    (tmp_path / "tiles").mkdir()
    write(tmp_path / "tiles" / "a.tif", PIXELS[:1])
    (tmp_path / "inner.vrt").write_text(vrt("tiles/a.tif"))
    (tmp_path / "outer.vrt").write_text(vrt("inner.vrt"))
    with open_gdal_closing(tmp_path / "outer.vrt") as raster:
        np.testing.assert_array_equal(raster.read(0, H, 0, W)[:, :, 0], PIXELS[0])


@pytest.mark.skipif(os.name == "nt", reason="Windows makes links for administrators only")
@pytest.mark.parametrize("named", ["link.tif", "up/a.tif", "inner.vrt", "a.tif.ovr"])
def test_a_link_that_leads_out_of_the_folder_is_refused(tmp_path, named):
    folder = tmp_path / "in"
    folder.mkdir()
    write(tmp_path / "a.tif", PIXELS[:1])
    if named == "a.tif.ovr":
        write(folder / "a.tif", PIXELS[:1])
        write(tmp_path / "other.tif", PIXELS[:1, : H // 2, : W // 2])
        (folder / named).symlink_to(tmp_path / "other.tif")
        path = folder / "a.tif"
    else:
        (folder / "link.tif").symlink_to(tmp_path / "a.tif")
        (folder / "up").symlink_to(tmp_path)
        (folder / "inner.vrt").write_text(vrt("link.tif"))
        path = folder / "outer.vrt"
        path.write_text(vrt(named))
    with pytest.raises(ImageError, match=r"names .*, which is not a file in .*in or below"):
        open_gdal(str(path), Selection())


@pytest.mark.skipif(os.name == "nt", reason="Windows makes links for administrators only")
def test_links_within_the_folder_are_read_and_so_is_a_link_to_the_raster_itself(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    write(folder / "a.tif", PIXELS[:1])
    (folder / "link.tif").symlink_to("a.tif")
    (folder / "outer.vrt").write_text(vrt("link.tif"))
    (tmp_path / "elsewhere.vrt").symlink_to(folder / "outer.vrt")
    for path in (folder / "outer.vrt", tmp_path / "elsewhere.vrt"):
        with open_gdal_closing(path) as raster:
            np.testing.assert_array_equal(raster.read(0, H, 0, W)[:, :, 0], PIXELS[0])


@pytest.mark.parametrize(
    "text",
    [
        vrt("../a.tif"),
        vrt("/etc/passwd", relative=0),
        vrt("/vsicurl/http://127.0.0.1:9/a.tif"),
        vrt("http://127.0.0.1:9/a.tif"),
        vrt("service.tif"),
        vrt("&lt;VRTDataset/&gt;"),
        vrt('NETCDF:"/etc/passwd":x'),
        vrt("ok.tif", extra="<PixelFunctionLanguage>Python</PixelFunctionLanguage>"),
        vrt("<![CDATA[/etc/passwd]]>"),
        vrt("ok.tif").replace("<SimpleSource>", '<SimpleSource SourceFilename="/etc/passwd">'),
        vrt("self.vrt"),
    ],
)
def test_a_vrt_reads_nothing_else(tmp_path, text):
    folder = tmp_path / "in"
    folder.mkdir()
    write(tmp_path / "a.tif", PIXELS[:1])
    write(folder / "ok.tif", PIXELS[:1])
    (folder / "service.tif").write_text('<GDAL_WMS><Service name="TMS"></Service></GDAL_WMS>')
    (folder / "self.vrt").write_text(text)
    with pytest.raises(ImageError, match=r"VRT|names"):
        open_gdal(str(folder / "self.vrt"), Selection())


def test_drivers_of_services_do_not_run():
    assert not {"WMS", "HTTP", "STACIT", "GTI"} & set(allowed_drivers("a.tif"))
    assert {"GTiff", "VRT", "JP2OpenJPEG"} <= set(allowed_drivers("a.tif"))


def test_colour_interpretation_names_alpha_only(tmp_path):
    def describe(file):
        file.colorinterp = [ColorInterp.undefined] * 4

    with open_gdal_closing(write(tmp_path / "a.tif", PIXELS, after=describe)) as raster:
        assert raster.shape[2] == 4
