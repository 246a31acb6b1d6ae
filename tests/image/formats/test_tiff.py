"""TIFF by tile: every region has the bits of tifffile's own full read."""

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import fullfield
from fullfield.errors import ImageError
from fullfield.image.formats.tiff import TiffRaster, open_tiff
from fullfield.image.raster import Raster
from fullfield.image.selection import Selection
from tests.processes import PATIENCE_S

RNG = np.random.default_rng(11)
RGB = np.kron(RNG.integers(0, 256, (15, 14, 3), dtype=np.uint8), np.ones((10, 10, 1), np.uint8))[:143, :131]
STACK = RNG.integers(0, 255, (2, 3, 4, 40, 48), dtype=np.uint8)  # t, c, z, y, x


def written(folder: Path, pixels: np.ndarray, name: str = "a.tif", **options: Any) -> str:
    kinds = {key: options.pop(key) for key in ("ome", "bigtiff", "imagej", "byteorder") if key in options}
    with tifffile.TiffWriter(folder / name, **kinds) as file:
        file.write(pixels, **options)
    return str(folder / name)


def opened(path: str, **selection: Any) -> Raster:
    return open_tiff(path, Selection(**selection))


def ome(**metadata: object) -> dict[str, Any]:
    return {"ome": True, "metadata": {"axes": "YXS", **metadata}}


def whole(raster: Raster) -> np.ndarray:
    height, width, _ = raster.shape
    return raster.read(0, height, 0, width)


def check_regions(raster: Raster, expected: np.ndarray, count: int = 12) -> None:
    """The raster is ``expected``, whole and in random regions."""
    assert (raster.shape, raster.dtype) == (expected.shape, expected.dtype)
    np.testing.assert_array_equal(whole(raster), expected)
    height, width, _ = expected.shape
    draw = np.random.default_rng(height * width)
    for _ in range(count):
        top, left = int(draw.integers(height)), int(draw.integers(width))
        bottom, right = int(draw.integers(top + 1, height + 1)), int(draw.integers(left + 1, width + 1))
        region = raster.read(top, bottom, left, right)
        assert region.dtype == expected.dtype
        np.testing.assert_array_equal(region, expected[top:bottom, left:right])


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("predictor", [False, True])
@pytest.mark.parametrize("tile", [(16, 32), None])
@pytest.mark.parametrize("dtype", ["u1", "i2", "u2", "u4", "i4", "u8", "f2", "f4", "f8"])
def test_any_depth_has_the_bits_that_were_written(
    tmp_path: Path, dtype: str, tile: tuple[int, int] | None, predictor: bool, order: str
) -> None:
    pixels = (RNG.random((50, 70, 3)) * 200).astype(dtype)
    codecs = ["zlib", "lzw", "zstd"] if predictor else [None, "zlib", "lzw", "zstd", "packbits", "lzma"]
    for codec in codecs:
        if predictor and dtype == "u8":
            continue  # tifffile has none for 64 bits
        layout = {"tile": tile} if tile else {"rowsperstrip": 13}
        path = written(
            tmp_path, pixels, photometric="rgb", compression=codec, predictor=predictor, byteorder=order, **layout
        )
        raster = opened(path)
        check_regions(raster, pixels, 4)
        raster.close()


@given(st.data())
@settings(max_examples=40)
def test_every_region_of_every_layout_is_that_of_the_full_read(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    height, width = data.draw(st.integers(1, 90)), data.draw(st.integers(1, 90))
    channels = data.draw(st.integers(1, 5))
    planar = data.draw(st.booleans()) and channels > 1
    shape = (channels, height, width) if planar else (height, width, channels)
    pixels = (
        np.random.default_rng(height).integers(0, 60000, shape).astype(data.draw(st.sampled_from(["u1", "u2", "f4"])))
    )
    layout: dict[str, Any] = data.draw(
        st.sampled_from([{"tile": (16, 16)}, {"tile": (48, 16)}, {"rowsperstrip": 1}, {"rowsperstrip": 40}, {}])
    )
    folder = tmp_path_factory.mktemp("layouts")
    path = written(
        folder,
        pixels if channels > 1 else pixels[:, :, 0],
        planarconfig=("separate" if planar else "contig") if channels > 1 else None,
        photometric="minisblack",
        compression=data.draw(st.sampled_from([None, "zlib"])),
        metadata=None,
        bigtiff=data.draw(st.booleans()),
        **layout,
    )
    bands = data.draw(st.none() | st.lists(st.integers(0, channels - 1), min_size=1, max_size=4).map(tuple))
    raster = opened(path, bands=bands)
    expected = (tifffile.imread(path).transpose(1, 2, 0) if planar else tifffile.imread(path)).reshape(
        height, width, -1
    )
    check_regions(raster, expected[:, :, list(bands)] if bands else expected, 3)
    raster.close()


@pytest.mark.parametrize("layout", [{"tile": (32, 32)}, {"rowsperstrip": 16}], ids=["tiles", "strips"])
@pytest.mark.parametrize("codec", ["jpeg", "jpeg2000", "webp", "png", "jpegxl", "lerc"])
def test_pictures_inside_tiles_decode_as_tifffile_decodes_them(
    tmp_path: Path, codec: str, layout: dict[str, Any]
) -> None:
    path = written(tmp_path, RGB, photometric="rgb", compression=codec, **layout)
    check_regions(opened(path), tifffile.imread(path))


def test_a_jpeg_with_shared_tables_and_ycbcr_is_read_as_pillow_reads_it(tmp_path: Path) -> None:
    Image.fromarray(RGB).convert("YCbCr").save(tmp_path / "a.tif", compression="jpeg", quality=90)
    with tifffile.TiffFile(tmp_path / "a.tif") as file:
        page = file.pages.first
        assert (page.photometric, page.jpegtables is not None) == (tifffile.PHOTOMETRIC.YCBCR, True)
        expected = page.asarray()
    raster = opened(str(tmp_path / "a.tif"))
    check_regions(raster, expected)
    pillow = np.asarray(Image.open(tmp_path / "a.tif").convert("RGB"))
    assert abs(whole(raster).astype(int) - pillow).mean() < 2  # two versions of libjpeg round differently


def test_separate_planes_are_read_only_if_their_band_is_selected(tmp_path: Path) -> None:
    path = written(
        tmp_path, RGB.transpose(2, 0, 1), photometric="rgb", planarconfig="separate", tile=(32, 32), compression="zlib"
    )
    check_regions(opened(path), RGB)
    check_regions(opened(path, bands=(2, 0)), RGB[:, :, [2, 0]])
    damage(path, tile=0)
    check_regions(opened(path, bands=(1,)), RGB[:, :, 1:2])


@pytest.mark.parametrize("kind", [{"ome": True}, {}], ids=["ome", "plain"])
def test_every_level_below_an_image_is_read(tmp_path: Path, kind: dict[str, Any]) -> None:
    path = tmp_path / "a.tif"
    with tifffile.TiffWriter(path, **kind) as file:
        file.write(RGB, subifds=2, tile=(32, 32), photometric="rgb", resolution=(20000, 10000), resolutionunit=3)
        for k in (2, 4):
            file.write(RGB[::k, ::k], subfiletype=1, tile=(32, 32), photometric="rgb")
    raster = opened(str(path))
    assert raster.metadata.levels == ((143, 131), (72, 66), (36, 33))
    for level, k in enumerate((1, 2, 4)):
        check_regions(opened(str(path), level=level), RGB[::k, ::k])
    with pytest.raises(ImageError, match="level 3 does not exist, there are 3"):
        opened(str(path), level=3)


def test_reduced_pages_of_any_factor_are_levels(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    with tifffile.TiffWriter(path) as file:
        for k in (1, 2, 8):
            file.write(RGB[::k, ::k], subfiletype=int(k > 1), tile=(32, 32), photometric="rgb", metadata=None)
        file.write(RGB[:40], subfiletype=1, photometric="rgb", metadata=None)  # another shape: a label
    assert opened(str(path)).metadata.levels == ((143, 131), (72, 66), (18, 17))
    check_regions(opened(str(path), level=2), RGB[::8, ::8])
    check_regions(opened(str(path), series=1), RGB[:40])


def test_a_resolution_wanted_opens_the_nearest_finer_level(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    with tifffile.TiffWriter(path) as file:
        for k in (1, 2, 4):
            resolution = (40000 / k, 40000 / k)
            file.write(
                np.zeros((256 // k, 512 // k, 3), np.uint8),
                subfiletype=int(k > 1), tile=(32, 32), photometric="rgb", metadata=None,
                resolution=resolution, resolutionunit=3,
            )  # fmt: skip
    assert opened(str(path)).metadata.mpp == (0.25, 0.25)
    for wanted, level in ((0.2, 0), (0.25, 0), (0.4, 0), (0.5, 1), (0.9, 1), (3, 2)):
        metadata = opened(str(path), mpp=wanted).metadata
        assert (metadata.level, metadata.mpp) == (level, (0.25 * 2**level,) * 2)


@pytest.mark.parametrize(
    ("options", "mpp"),
    [
        ({"resolution": (20000, 10000), "resolutionunit": "CENTIMETER"}, (1.0, 0.5)),
        ({"resolution": (25400, 50800), "resolutionunit": "INCH"}, (0.5, 1.0)),
        ({"resolution": (5, 5), "resolutionunit": "NONE"}, None),
        (ome(PhysicalSizeX=0.5, PhysicalSizeY=250, PhysicalSizeYUnit="nm"), (0.25, 0.5)),
        (ome(PhysicalSizeX=0.5), None),
        (ome(PhysicalSizeX=1, PhysicalSizeY=1, PhysicalSizeXUnit="pixel"), None),
    ],
)
def test_micrometres_per_pixel_come_from_ome_or_the_resolution(
    tmp_path: Path, options: dict[str, Any], mpp: tuple[float, float] | None
) -> None:
    assert opened(written(tmp_path, RGB, photometric="rgb", **options)).metadata.mpp == mpp


def test_axes_of_an_ome_tiff_are_selected(tmp_path: Path) -> None:
    path = written(tmp_path, STACK, ome=True, metadata={"axes": "TCZYX"}, tile=(16, 16), photometric="minisblack")
    check_regions(opened(path), STACK[0, :, 0].transpose(1, 2, 0))
    check_regions(opened(path, t=1, z=3, bands=(2,)), STACK[1, 2:3, 3].transpose(1, 2, 0))
    for name, count in (("z", 4), ("t", 2)):
        with pytest.raises(ImageError, match=f"{name} 9 does not exist, there are {count}"):
            opened(path, **{name: 9})


def test_images_of_an_ome_tiff_are_selected(tmp_path: Path) -> None:
    with tifffile.TiffWriter(tmp_path / "a.tif", ome=True) as file:
        file.write(RGB, photometric="rgb", metadata={"axes": "YXS", "PhysicalSizeX": 2, "PhysicalSizeY": 2})
        file.write(STACK[0, 0, 0], metadata={"axes": "YX", "PhysicalSizeX": 3, "PhysicalSizeY": 3})
    path = str(tmp_path / "a.tif")
    check_regions(opened(path, series=1), STACK[0, 0, 0][:, :, None])
    assert (opened(path).metadata.mpp, opened(path, series=1).metadata.mpp) == ((2, 2), (3, 3))
    with pytest.raises(ImageError, match="series 2 does not exist, there are 2"):
        opened(path, series=2)


def test_an_ome_tiff_in_several_files_is_one_image(tmp_path: Path) -> None:
    uuids = [f"urn:uuid:00000000-0000-0000-0000-00000000000{k}" for k in range(2)]
    data = "".join(
        f'<TiffData FirstC="{k}" IFD="0" PlaneCount="1"><UUID FileName="p{k}.ome.tif">{uuids[k]}</UUID></TiffData>'
        for k in range(2)
    )
    for k in range(2):
        text = (
            f'<?xml version="1.0"?><OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06" UUID="{uuids[k]}">'
            '<Image ID="Image:0"><Pixels ID="Pixels:0" DimensionOrder="XYCZT" Type="uint8" SizeX="48" SizeY="40" '
            'SizeC="2" SizeZ="1" SizeT="1"><Channel ID="Channel:0:0"/><Channel ID="Channel:0:1"/>'
            f"{data}</Pixels></Image></OME>"
        )
        tifffile.imwrite(tmp_path / f"p{k}.ome.tif", STACK[k, 0, 0], description=text, metadata=None)
    path = tmp_path / "p0.ome.tif"
    raster = opened(str(path))
    check_regions(raster, STACK[:, 0, 0].transpose(1, 2, 0))
    assert list(raster.metadata.identity["parts"]) == ["p1.ome.tif"]
    path.write_bytes(path.read_bytes().replace(b"p1.ome.tif", b"../.me.tif"))
    with pytest.raises(ImageError, match="part outside its folder"):
        opened(str(path))


def test_a_plane_of_an_imagej_stack_is_selected_even_behind_one_page(tmp_path: Path) -> None:
    stack = STACK.transpose(0, 2, 1, 3, 4).copy()
    path = written(tmp_path, stack, imagej=True, metadata={"axes": "TZCYX", "unit": "um"}, resolution=(2, 4))
    check_regions(opened(path, t=1, z=2), STACK[1, :, 2].transpose(1, 2, 0))
    assert opened(path).metadata.mpp == (0.25, 0.5)
    path = written(tmp_path, STACK[:, :, 0], contiguous=True, truncate=True, photometric="rgb", planarconfig="separate")
    check_regions(opened(path, z=1), STACK[1, :, 0].transpose(1, 2, 0))


def test_pages_of_one_kind_are_planes_of_a_stack(tmp_path: Path) -> None:
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        for plane in STACK[0, 0]:
            file.write(plane, metadata=None, photometric="minisblack")
    check_regions(opened(str(tmp_path / "a.tif"), z=2), STACK[0, 0, 2][:, :, None])


@pytest.mark.parametrize("nodata", [None, 7])
def test_tiles_that_the_file_leaves_out_are_nodata_or_0(tmp_path: Path, nodata: int | None) -> None:
    pixels = np.full((64, 64), 9, np.uint8)
    tags = [] if nodata is None else [(42113, "s", 0, str(nodata), True)]
    path = written(tmp_path, pixels, tile=(32, 32), photometric="minisblack", compression="zlib", extratags=tags)
    with tifffile.TiffFile(path, mode="r+") as file:
        counts = list(file.pages.first.databytecounts)
        file.pages.first.tags["TileByteCounts"].overwrite([0, *counts[1:]])
        file.pages.first.tags["TileOffsets"].overwrite([0, *file.pages.first.dataoffsets[1:]])
    raster, expected = opened(path), pixels.copy()
    expected[:32, :32] = nodata or 0
    check_regions(raster, expected[:, :, None])
    assert raster.metadata.nodata == nodata
    valid = raster.valid(0, 64, 0, 64)
    assert valid is None if nodata is None else np.array_equal(valid, expected == 9)


def test_a_palette_becomes_its_colours(tmp_path: Path) -> None:
    colours = RNG.integers(0, 65536, (3, 256), dtype=np.uint16)
    path = written(tmp_path, RGB[:, :, 0], photometric="palette", colormap=colours, tile=(32, 32))
    expected = np.asarray(Image.open(path).convert("RGB"))
    check_regions(opened(path), expected)
    check_regions(opened(path, bands=(1,)), expected[:, :, 1:2])


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.bool_])
def test_white_is_zero_is_inverted(tmp_path: Path, dtype: type[np.generic]) -> None:
    pixels = RNG.integers(0, 2, (40, 37)).astype(dtype) if dtype is np.bool_ else (RGB[:, :, 0] * 3).astype(dtype)
    path = written(tmp_path, pixels, photometric="miniswhite", tile=(16, 16))
    expected = ~pixels if dtype is np.bool_ else np.iinfo(dtype).max - pixels
    check_regions(opened(path), expected[:, :, None])


def test_one_bit_is_read_as_pillow_reads_it(tmp_path: Path) -> None:
    Image.fromarray(RGB[:, :, 0]).convert("1").save(tmp_path / "a.tif", compression="group4")
    raster = opened(str(tmp_path / "a.tif"))
    check_regions(raster, np.asarray(Image.open(tmp_path / "a.tif"))[:, :, None])
    assert raster.dtype == np.bool_


def test_inks_become_rgb_as_pillow_does_it(tmp_path: Path) -> None:
    Image.fromarray(RGB).convert("CMYK").save(tmp_path / "a.tif")
    check_regions(opened(str(tmp_path / "a.tif")), np.asarray(Image.open(tmp_path / "a.tif").convert("RGB")))


@pytest.mark.parametrize("bits", [2, 4])
def test_few_bits_fill_the_range_of_8(tmp_path: Path, bits: int) -> None:
    most = 2**bits - 1
    pixels = RNG.integers(0, most + 1, (40, 48), dtype=np.uint8)
    path = written(tmp_path, pixels, bitspersample=bits, photometric="minisblack")
    check_regions(opened(path), (pixels * (255 // most))[:, :, None])


@pytest.mark.parametrize("orientation", range(1, 9))
def test_an_image_stored_rotated_is_read_in_its_orientation(tmp_path: Path, orientation: int) -> None:
    path = written(tmp_path, RGB, photometric="rgb", tile=(32, 16), extratags=[(274, "H", 1, orientation, True)])
    from PIL import ImageOps

    with Image.open(path) as picture:
        expected = np.asarray(ImageOps.exif_transpose(picture))
    raster: Any = opened(path)
    check_regions(raster, expected)
    assert raster.metadata.tile == ((32, 16) if orientation < 5 else (16, 32))
    assert raster.metadata.levels == (expected.shape[:2],)
    assert raster.mask(expected) is None
    again: Any = fullfield.open(path, pixel_size=0.5, value_range="p1,p99")
    check_regions(again, expected, 3)
    assert again.metadata.mpp == (0.5, 0.5)


def test_the_mask_of_an_image_stored_rotated_is_rotated_with_it(tmp_path: Path) -> None:
    tags = [(42113, "s", 0, "0", True), (274, "H", 1, 6, True)]
    pixels = RNG.integers(0, 2, (40, 37), dtype=np.uint8)
    raster: Any = opened(written(tmp_path, pixels, photometric="minisblack", extratags=tags))
    expected = np.rot90(pixels, -1) == 1
    np.testing.assert_array_equal(raster.valid(0, 37, 0, 40), expected)
    np.testing.assert_array_equal(raster.mask(whole(raster)), expected)


def test_transparent_pixels_hold_nothing_also_where_others_are_half_so(tmp_path: Path) -> None:
    alpha = np.full((143, 131, 1), 255, np.uint8)
    alpha[10:20] = 0
    path = written(tmp_path, np.concatenate([RGB, alpha], 2), photometric="rgb", extrasamples=["unassalpha"])
    raster = opened(path)
    np.testing.assert_array_equal(raster.valid(0, 143, 0, 131), alpha[:, :, 0] == 255)
    assert raster.valid(30, 40, 0, 131) is None
    np.testing.assert_array_equal(opened(path, bands=(0, 1)).valid(0, 143, 0, 131), alpha[:, :, 0] == 255)
    assert opened(path, bands=(0, 1, 2, 3)).valid(0, 143, 0, 131) is None  # alpha is read as a band
    alpha[50] = 100
    path = written(tmp_path, np.concatenate([RGB, alpha], 2), photometric="rgb", extrasamples=["unassalpha"])
    np.testing.assert_array_equal(opened(path).valid(0, 143, 0, 131), alpha[:, :, 0] > 0)


def test_one_huge_strip_that_is_not_compressed_is_read_by_rows(tmp_path: Path) -> None:
    pixels = RNG.integers(0, 255, (3000, 400, 3), dtype=np.uint8)
    raster = opened(written(tmp_path, pixels, photometric="rgb"))
    assert raster.metadata.tile == (2**18 // 1200, 400)
    check_regions(raster, pixels)


def test_a_strip_that_decodes_only_whole_to_more_than_allowed_says_so(tmp_path: Path) -> None:
    path = written(tmp_path, np.zeros((64, 20000), np.uint8), compression="zlib", rowsperstrip=64)
    with tifffile.TiffFile(path, mode="r+") as file:
        for name in ("ImageLength", "RowsPerStrip"):
            file.pages.first.tags[name].overwrite(30000)
    with pytest.raises(
        ImageError, match=r"strips of 30000x20000 px that decode only whole: 600000000 bytes(.|\n)*tiffcp"
    ):
        opened(path)


def damage(path: str, tile: int) -> None:
    with tifffile.TiffFile(path) as file:
        start, count = file.pages.first.dataoffsets[tile], file.pages.first.databytecounts[tile]
    with Path(path).open("r+b") as out:
        out.seek(start)
        out.write(b"\xff" * count)


def test_a_damaged_tile_is_an_error_that_names_the_region_and_only_there(tmp_path: Path) -> None:
    path = written(tmp_path, RGB, photometric="rgb", tile=(32, 32), compression="zlib")
    damage(path, tile=1)  # y 0:32, x 32:64
    raster = opened(path)
    np.testing.assert_array_equal(raster.read(32, 143, 0, 131), RGB[32:])
    with pytest.raises(ImageError, match=r"a\.tif: y 3:9, x 40:50 (.|\n)*fix: "):
        raster.read(3, 9, 40, 50)


def test_several_threads_read_the_same_bits(tmp_path: Path) -> None:
    raster = opened(written(tmp_path, RGB, photometric="rgb", tile=(16, 16), compression="zlib"))
    regions = [(y, y + 40, x, x + 50) for y in range(0, 100, 7) for x in range(0, 80, 9)]
    with ThreadPoolExecutor(8) as workers:
        for region, found in zip(regions, workers.map(lambda r: raster.read(*r), regions), strict=True):
            np.testing.assert_array_equal(found, RGB[region[0] : region[1], region[2] : region[3]])


def test_two_threads_decode_at_the_same_time(tmp_path: Path) -> None:
    raster = opened(written(tmp_path, RGB, photometric="rgb", tile=(16, 16), compression="zlib"))
    assert isinstance(raster, TiffRaster)
    both = threading.Barrier(2)  # breaks unless a second thread decodes while the first one does
    plane = raster.levels[0][0]
    decode = plane.decode

    def waits(*args: Any, **options: Any) -> Any:
        both.wait(PATIENCE_S)
        return decode(*args, **options)

    object.__setattr__(plane, "decode", waits)
    with ThreadPoolExecutor(2) as workers:
        list(workers.map(lambda y: raster.read(y, y + 10, 0, 10), (0, 64)))


def test_a_thumbnail_comes_from_the_level_that_fits(tmp_path: Path) -> None:
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        file.write(RGB, subifds=1, photometric="rgb", tile=(32, 32))
        file.write(np.zeros((72, 66, 3), np.uint8), subfiletype=1, photometric="rgb")
    small = opened(str(tmp_path / "a.tif")).thumbnail(40)
    assert small is not None
    assert max(small.shape) <= 40
    assert not small.any()


def test_reading_after_close_is_an_error(tmp_path: Path) -> None:
    raster = opened(written(tmp_path, RGB, photometric="rgb"))
    raster.close()
    raster.close()
    with pytest.raises(ImageError, match="was closed"):
        raster.read(0, 1, 0, 1)
    assert raster.valid(0, 1, 0, 1) is None


@pytest.mark.parametrize("region", [(0, 144, 0, 5), (-1, 4, 0, 5), (3, 3, 0, 5)])
def test_a_region_outside_is_refused(tmp_path: Path, region: tuple[int, int, int, int]) -> None:
    with pytest.raises(ImageError, match="does not lie in the image of 143x131 px"):
        opened(written(tmp_path, RGB, photometric="rgb")).read(*region)


def test_the_identity_changes_with_the_file_and_with_the_selection(tmp_path: Path) -> None:
    path = written(tmp_path, RGB, photometric="rgb", tile=(32, 32))
    first = opened(path).metadata.identity
    assert opened(path).metadata.identity == first
    assert opened(path, bands=(0,)).metadata.identity != first
    damage(path, tile=3)
    assert opened(path).metadata.identity != first


def test_what_cannot_be_read_by_tile_is_refused_with_its_reason(tmp_path: Path) -> None:
    volume = np.zeros((16, 32, 32), np.uint8)
    path = written(tmp_path, volume, volumetric=True, tile=(16, 16, 16), photometric="minisblack")
    with pytest.raises(ImageError, match="a volume"):
        opened(path)
    path = written(tmp_path, RGB.astype(np.complex64), photometric="minisblack", planarconfig="contig")
    with pytest.raises(ImageError, match="sample format"):
        opened(path)
    path = written(tmp_path, RGB, photometric="rgb", compression="jpegxr")
    with pytest.raises(ImageError, match=r"compression JPEGXR (.|\n)*fullfield\[geo,slide\]"):
        opened(path)
    path = written(tmp_path, RGB.astype(np.uint8), photometric="cielab")
    with pytest.raises(ImageError, match=r"CIE L\*a\*b\*"):
        opened(path)


def test_without_tifffile_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path, RGB, photometric="rgb")
    monkeypatch.setitem(__import__("sys").modules, "tifffile", None)
    with pytest.raises(ImageError, match=r"pip install 'fullfield\[tiff\]'"):
        opened(path)
