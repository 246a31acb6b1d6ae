"""Files made to break a reader: one clear error, in bounded time and memory."""

import io
import struct
import subprocess
import sys
import tracemalloc
import zlib
from collections.abc import Callable
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import Image

from fullfield.errors import ImageError
from fullfield.image.formats.tiff import open_tiff
from fullfield.image.open import open as open_image
from fullfield.image.selection import Selection
from tests.processes import PATIENCE_S

RGB = np.random.default_rng(5).integers(0, 256, (80, 70, 3), dtype=np.uint8)


def tiff(path: Path, **options: object) -> tifffile.TiffPage:
    tifffile.imwrite(path, RGB, **{"photometric": "rgb", "tile": (32, 32), "compression": "zlib", **options})
    with tifffile.TiffFile(path) as file:
        return file.pages.first


def patch(path: Path, at: int, data: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(at)
        file.write(data)


def read_all(path: Path) -> None:
    raster = open_tiff(str(path), Selection())
    try:
        height, width, _ = raster.shape
        raster.read(0, height, 0, width)
    finally:
        raster.close()


def directories(links: dict[int, int], size: int) -> bytes:
    """A TIFF of empty directories, each with the place of the next one."""
    data = bytearray(size)
    data[:8] = b"II*\0" + struct.pack("<I", 8)
    for at, following in links.items():
        data[at : at + 18] = struct.pack("<HHHIII", 1, 256, 4, 1, 5, following)
    return bytes(data)


def samples() -> dict[str, bytes]:
    """Small valid files of every kind."""
    found = {}
    kinds = {
        "tiles": {"tile": (32, 32), "compression": "zlib", "predictor": True},
        "jpeg": {"tile": (32, 32), "compression": "jpeg"},
        "jpeg2000": {"tile": (32, 32), "compression": "jpeg2000"},
        "lzw": {"rowsperstrip": 9, "compression": "lzw"},
        "webp": {"tile": (32, 32), "compression": "webp"},
        "zstd": {"tile": (32, 32), "compression": "zstd"},
        "jpegxl": {"tile": (32, 32), "compression": "jpegxl"},
        "lerc": {"tile": (32, 32), "compression": "lerc"},
        "raw": {},
    }
    for name, options in kinds.items():
        file = io.BytesIO()
        tifffile.imwrite(file, RGB, photometric="rgb", **options)
        found[name] = file.getvalue()
    file = io.BytesIO()
    with tifffile.TiffWriter(file, ome=True, bigtiff=True) as out:
        out.write(RGB, photometric="rgb", tile=(32, 32), subifds=1, compression="zlib")
        out.write(RGB[::2, ::2], photometric="rgb", tile=(32, 32), subfiletype=1)
    found["ome"] = file.getvalue()
    for kind in ("PNG", "JPEG", "WEBP", "BMP", "GIF"):
        file = io.BytesIO()
        Image.fromarray(RGB).save(file, kind)
        found[kind] = file.getvalue()
    file = io.BytesIO()
    np.save(file, RGB)
    found["npy"] = file.getvalue()
    return found


@pytest.mark.parametrize("length", [1, 2, 3, 250])
def test_directories_in_a_circle_are_refused(tmp_path: Path, length: int) -> None:
    places = [8 + 18 * k for k in range(length)]
    links = dict(zip(places, [*places[1:], places[0]], strict=True))
    (tmp_path / "a.tif").write_bytes(directories(links, 8 + 18 * length))
    with pytest.raises(ImageError, match="run in a circle"):
        read_all(tmp_path / "a.tif")


def test_a_directory_that_is_its_own_child_is_visited_once(tmp_path: Path) -> None:
    (tmp_path / "a.tif").write_bytes(b"II*\0" + struct.pack("<IHHHIII", 8, 1, 330, 4, 1, 8, 0))
    with pytest.raises(ImageError, match="has no pixels: 0x0 px"):
        read_all(tmp_path / "a.tif")


def test_more_directories_than_any_image_has_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fullfield.image.formats.tiff_check._MOST_PAGES", 1000)
    places = [8 + 18 * k for k in range(1002)]
    (tmp_path / "a.tif").write_bytes(directories(dict(zip(places, [*places[1:], 0], strict=True)), places[-1] + 18))
    with pytest.raises(ImageError, match="more than 1000 directories"):
        read_all(tmp_path / "a.tif")


def test_a_tile_beyond_the_file_is_an_error_that_names_the_region(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    page = tiff(path)
    patch(path, page.tags["TileOffsets"].valueoffset, struct.pack("<I", 2**31))
    with pytest.raises(ImageError, match=r"a\.tif: y 0:80, x 0:70 cannot be read: bytes 2147483648"):
        read_all(path)
    open_tiff(str(path), Selection()).read(32, 80, 0, 70)


@pytest.mark.parametrize(
    "codec", ["zlib", "zstd", "lzma", "lzw", "packbits", "jpeg", "jpeg2000", "png", "webp", "jpegxl", "lerc"]
)
def test_a_tile_that_would_decode_to_far_more_than_a_tile_is_refused_in_little_memory(
    tmp_path: Path, codec: str
) -> None:
    large = np.zeros((1600, 1600, 3), np.uint8)
    plain = {"zlib": imagecodecs.zlib_encode, "zstd": imagecodecs.zstd_encode, "lzma": imagecodecs.lzma_encode,
             "lzw": imagecodecs.lzw_encode, "packbits": lambda data: b"\x81\0" * (len(data) // 128)}  # fmt: skip
    if codec in plain:
        bomb = plain[codec](bytes(2**24))
    else:
        bomb = getattr(imagecodecs, {"jpeg": "jpeg8", "jpeg2000": "jpeg2k"}.get(codec, codec) + "_encode")(large)
    path = tmp_path / "a.tif"
    page = tiff(path, compression=codec, tile=(128, 128))
    at = path.stat().st_size
    with path.open("ab") as file:
        file.write(bomb)
    for name, value in (("TileOffsets", at), ("TileByteCounts", len(bomb))):
        form = {3: "<H", 4: "<I"}[page.tags[name].dtype]
        if form == "<H" and value > 65535:
            form, value = "<H", 65535
        patch(path, page.tags[name].valueoffset, struct.pack(form, value))
    tracemalloc.start()
    try:
        read_all(path)  # what only is too long is cut off
        assert codec in ("lzw", "lzma")
    except ImageError as error:
        assert "cannot be read" in error.what  # noqa: PT017
    assert tracemalloc.get_traced_memory()[1] < 4 * len(bomb) + 2**22
    tracemalloc.stop()


@pytest.mark.parametrize(("height", "width"), [(2**31 - 1, 2**31 - 1), (2**32 - 1, 1), (2**20, 2**20)])
def test_a_size_that_the_file_cannot_hold_is_refused(tmp_path: Path, height: int, width: int) -> None:
    path = tmp_path / "a.tif"
    page = tiff(path, photometric="rgb")
    for name, value in (("ImageLength", height), ("ImageWidth", width)):
        tag = page.tags[name]
        patch(path, tag.offset + 2, struct.pack("<HII", 4, 1, value))
    with pytest.raises(ImageError, match="the file lists 9"):
        read_all(path)


def test_tiles_of_absurd_size_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    page = tiff(path)
    for name in ("TileLength", "TileWidth"):
        patch(path, page.tags[name].offset + 2, struct.pack("<HII", 4, 1, 2**30))
    with pytest.raises(ImageError, match="tiles of 1073741824x1073741824 px"):
        read_all(path)


def test_tag_values_that_repeat_the_file_many_times_are_refused(tmp_path: Path) -> None:
    count, data = 4000, 2**20
    table = b"".join(struct.pack("<HHII", 324, 4, data // 4, 8) for _ in range(count))
    head = b"II*\0" + struct.pack("<I", data)
    (tmp_path / "a.tif").write_bytes(head + bytes(data - 8) + struct.pack("<H", count) + table + struct.pack("<I", 0))
    with pytest.raises(ImageError, match="tag 324 has values of"):
        read_all(tmp_path / "a.tif")


def test_entities_of_ome_xml_do_not_multiply(tmp_path: Path) -> None:
    entities = '<!ENTITY a0 "aaaaaaaaaa">' + "".join(f'<!ENTITY a{k} "{f"&a{k - 1};" * 10}">' for k in range(1, 12))
    text = f'<?xml version="1.0"?><!DOCTYPE OME [{entities}]><OME><Image>&a11;</Image></OME>'
    tifffile.imwrite(tmp_path / "a.tif", RGB, photometric="rgb", description=text, metadata=None)
    read_all(tmp_path / "a.tif")  # as a plain TIFF


def test_pickles_in_npy_files_are_not_run(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[Callable[..., object], tuple[str]]:
            return Path.touch, (tmp_path / "ran",)  # type: ignore[return-value]

    np.save(tmp_path / "a.npy", np.array([Evil()], dtype=object), allow_pickle=True)
    with pytest.raises(ImageError, match="pickled Python objects"):
        open_image(tmp_path / "a.npy")
    assert not (tmp_path / "ran").exists()


def test_a_postscript_file_runs_no_program(tmp_path: Path) -> None:
    (tmp_path / "a.eps").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n")
    with pytest.raises(ImageError, match="is not an image"):
        open_image(tmp_path / "a.eps")


def test_a_picture_that_decodes_to_gigabytes_is_refused_with_the_figure(tmp_path: Path) -> None:
    side = 30000
    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(bytes(1000))), (b"IEND", b"")]
    png = b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )
    (tmp_path / "a.png").write_bytes(png)
    with pytest.raises(
        ImageError, match=r"30000x30000 px in \d+ bytes of PNG(.|\n)* 6300000000 bytes(.|\n)*tiled TIFF"
    ):
        open_image(tmp_path / "a.png")


FUZZ = """
import io, random, resource, sys, time
import numpy as np
from fullfield.errors import ImageError
from fullfield.image.open import open as open_image
resource.setrlimit(resource.RLIMIT_AS, (6 << 30, 6 << 30))
seed, count, path = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
valid = open(path, "rb").read()
draw, slowest, refused = random.Random(seed), 0.0, 0
for k in range(count):
    data = bytearray(valid)
    for _ in range(draw.choice([1, 1, 2, 8])):
        head = draw.random() < 0.5
        at = draw.randrange(min(len(data), 600)) if head else draw.randrange(len(data))
        kind = draw.random()
        if kind < 0.4:
            data[at] = draw.randrange(256)
        elif kind < 0.6:
            data[at : at + 4] = draw.choice([b"\\xff" * 4, b"\\0" * 4, b"\\xff\\xff\\xff\\x7f", b"\\1\\0\\0\\0"])
        elif kind < 0.8:
            del data[at:]
            break
        else:
            other = draw.randrange(len(data))
            data[at : at + 16] = data[other : other + 16]
    target = path + ".fuzzed"
    with open(target, "wb") as file:
        file.write(data)
    started = time.process_time()
    try:
        raster = open_image(target)
        height, width, channels = raster.shape
        for top, left in ((0, 0), (max(0, height - 40), max(0, width - 40))):
            raster.read(top, min(height, top + 40), left, min(width, left + 40))
        raster.valid(0, min(height, 40), 0, min(width, 40))
        raster.close()
    except ImageError as error:
        refused += 1
        assert error.fix and target in str(error), error
    slowest = max(slowest, time.process_time() - started)
print(refused, round(slowest, 2))
assert slowest < 60  # seconds of computation: milliseconds, unless a length is believed
"""


@pytest.mark.slow
@pytest.mark.parametrize("kind", sorted(samples()))
def test_mutated_files_are_read_or_refused_with_one_error(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"a.{kind}"
    path.write_bytes(samples()[kind])
    # A process of its own: a codec that crashes, or takes all memory, must not take the tests along.
    result = subprocess.run(
        [sys.executable, "-c", FUZZ, "1", "400", str(path)], capture_output=True, text=True, timeout=PATIENCE_S
    )
    assert result.returncode == 0, (result.returncode, result.stdout, result.stderr[-3000:])
