"""What decoding takes at its peak is bounded by the file's bytes, and is what the check says."""

from __future__ import annotations

import io
import subprocess
import sys
import zlib
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import Image

import fullfield
from fullfield.errors import ImageError
from fullfield.image.decode import decode
from fullfield.image.formats.encoded_size import check_tile
from tests.processes import PATIENCE_S

SIDE = 40_000

PEAK = """
import sys
import numpy as np
from PIL import Image
import imagecodecs
import fullfield
from fullfield.image.decoded_size import check_picture
import fullfield.image.decoded_size as decoded_size
from fullfield.image.sources import open_image
from fullfield.model.given_preprocessing import resolve

def status(key):
    return next(int(line.split()[1]) * 1024 for line in open("/proc/self/status") if line.startswith(key))

Image.init()
imagecodecs.png_encode(np.zeros((4, 4), np.uint8))
grey = resolve("unit", channels=3, stated=None)
open_image(fullfield.open(sys.argv[2]), preprocessing=grey, channels=3, dtype="float32")
with Image.open(sys.argv[1]) as picture:
    allowed = picture.width * picture.height * decoded_size._peak(picture)
before = status("VmRSS")
raster = fullfield.open(sys.argv[1])
if raster.shape[2] == 1:
    open_image(raster, preprocessing=grey, channels=3, dtype="float32")
print(status("VmHWM") - before, allowed)
"""


def _saved(kind: str, mode: str, path: Path, side: int, **options: object) -> Path:
    Image.new(mode, (side, side)).save(path, kind, **options)
    return path


def _rotated() -> Image.Exif:
    exif = Image.Exif()
    exif[274] = 6
    return exif


KINDS: dict[str, tuple[str, str, dict[str, object]]] = {
    "grey JPEG": ("JPEG", "L", {}),
    "JPEG": ("JPEG", "RGB", {}),
    "rotated JPEG": ("JPEG", "RGB", {"exif": _rotated()}),
    "progressive JPEG": ("JPEG", "RGB", {"progressive": True}),
    "CMYK JPEG": ("JPEG", "CMYK", {}),
    "PNG": ("PNG", "RGB", {}),
    "PNG with alpha": ("PNG", "RGBA", {}),
    "PNG with a palette": ("PNG", "P", {}),
    "16-bit PNG": ("PNG", "I;16", {}),
    "WebP": ("WEBP", "RGB", {"lossless": True}),
    "WebP with alpha": ("WEBP", "RGBA", {"lossless": True}),
    "GIF": ("GIF", "P", {}),
}


@pytest.mark.skipif(sys.platform != "linux", reason="reads the peak from /proc")
@pytest.mark.parametrize("kind", KINDS)
def test_decoding_takes_no_more_than_the_check_counts(kind: str, tmp_path: Path) -> None:
    suffix, mode, options = KINDS[kind]
    path = _saved(suffix, mode, tmp_path / "a", 3000, **options)
    tiny = _saved("PNG", "L", tmp_path / "b", 8)
    command = [sys.executable, "-c", PEAK, str(path), str(tiny)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, check=True)
    peak, allowed = map(int, done.stdout.split())
    assert peak < 1.1 * allowed + 16 * 2**20


def _declaring(kind: str, path: Path) -> Path:
    """A small file whose header declares 40,000x40,000 px; of WebP 16,383x16,383, the most that it can."""
    if kind == "JPEG":
        data = bytearray(_bytes("JPEG", Image.new("L", (8, 8))))
        at = data.index(b"\xff\xc0")
        data[at + 5 : at + 9] = SIDE.to_bytes(2, "big") * 2
    elif kind == "PNG":
        data = bytearray(_bytes("PNG", Image.new("L", (8, 8))))
        data[16:24] = SIDE.to_bytes(4, "big") * 2
        data[29:33] = zlib.crc32(data[12:29]).to_bytes(4, "big")
    elif kind == "GIF":
        data = bytearray(_bytes("GIF", Image.new("P", (8, 8))))
        data[6:10] = SIDE.to_bytes(2, "little") * 2
    elif kind == "WebP":
        data = bytearray(_bytes("WEBP", Image.new("RGB", (8, 8)), lossless=True))
        assert data[12:16] == b"VP8L"
        data[21:25] = (16_382 | 16_382 << 14).to_bytes(4, "little")
    else:
        data = bytearray(_bytes("BMP", Image.new("L", (8, 8))))
        data[18:26] = SIDE.to_bytes(4, "little") * 2
    path.write_bytes(data)
    return path


def _bytes(kind: str, picture: Image.Image, **options: object) -> bytes:
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "WebP", "BMP"])
@pytest.mark.parametrize("read", [fullfield.open, decode], ids=["open", "decode"])
def test_a_small_file_that_declares_a_large_picture_is_refused(
    kind: str, read: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    path = _declaring(kind, tmp_path / "a")
    with pytest.raises(ImageError, match=r"px in \d+ bytes of \w+ are decoded whole, which takes \d+ bytes \(at most"):
        read(path)  # type: ignore[operator]


@pytest.mark.parametrize("bigtiff", [False, True])
@pytest.mark.parametrize("layout", [{"rowsperstrip": 20_000}, {"tile": (20_000, 20_000)}], ids=["strip", "tile"])
def test_a_small_tiff_of_one_large_strip_or_tile_is_refused(
    layout: dict[str, int], bigtiff: bool, tmp_path: Path
) -> None:
    path = tmp_path / "a.tif"
    with tifffile.TiffWriter(path, bigtiff=bigtiff) as out:
        packed = imagecodecs.zstd_encode(bytes(1000))
        options = {"shape": (20_000, 20_000), "dtype": "u1", "compression": "zstd", "photometric": "minisblack"}
        out.write(iter([packed]), **options, **layout)
    with pytest.raises(ImageError, match=r"400000000 bytes[^(]*\(at most 67\d{6} "):
        fullfield.open(path)


def test_a_geotiff_of_one_large_tile_is_refused(tmp_path: Path) -> None:
    rasterio = pytest.importorskip("rasterio")
    path = tmp_path / "a.tif"
    options = {"driver": "GTiff", "width": 9000, "height": 9000, "count": 3, "dtype": "uint8", "compress": "zstd"}
    place = rasterio.Affine(2, 0, 0, 0, -2, 0)
    with rasterio.open(
        path,
        "w",
        **options,
        tiled=True,
        blockxsize=9008,
        blockysize=9008,
        interleave="pixel",
        transform=place,
        crs="EPSG:3857",
    ) as out:
        out.write(np.zeros((3, 9000, 9000), np.uint8))
    with pytest.raises(ImageError, match=r"blocks of 9008x9008 px, 243432192 bytes each; at most"):
        fullfield.open(path)


@pytest.mark.parametrize(("kind", "compression"), [("WEBP", 50001), ("PNG", 34933)])
def test_a_tile_that_declares_a_picture_beyond_pillows_limit_is_refused(kind: str, compression: int) -> None:
    options = {"lossless": True, "method": 0} if kind == "WEBP" else {}
    data = _bytes(kind, Image.new("RGB", (16_383, 16_383)), **options)
    with pytest.raises(ValueError, match="16383x16383 px in a tile of 256x256 px"):
        check_tile(data, compression, (256, 256), 3)


def test_the_frame_inside_an_extended_webp_counts() -> None:
    inner = _bytes("WEBP", Image.new("RGB", (4000, 300)), lossless=True)[12:]
    canvas = b"VP8X" + (10).to_bytes(4, "little") + bytes(4) + (31).to_bytes(3, "little") * 2
    data = b"RIFF" + (4 + len(canvas) + len(inner)).to_bytes(4, "little") + b"WEBP" + canvas + inner
    with pytest.raises(ValueError, match="300x4000 px"):
        check_tile(data, 50001, (32, 32), 3)


def test_an_animated_webp_in_a_tile_is_refused() -> None:
    frames = [Image.new("RGB", (32, 32), (i, 0, 0)) for i in (1, 99)]
    data = _bytes("WEBP", frames[0], save_all=True, append_images=frames[1:])
    with pytest.raises(ValueError, match="animation"):
        check_tile(data, 50001, (32, 32), 3)


@pytest.mark.parametrize("lossless", [False, True])
def test_sizes_of_webp_are_read_as_they_were_written(lossless: bool) -> None:
    data = _bytes("WEBP", Image.new("RGB", (250, 131)), lossless=lossless)
    check_tile(data, 50001, (131 - 64, 250 - 64), 3)
    with pytest.raises(ValueError, match="131x250 px"):
        check_tile(data, 50001, (131 - 65, 250 - 64), 3)
    with pytest.raises(ValueError, match="131x250 px"):
        check_tile(data, 50001, (131 - 64, 250 - 65), 3)
