"""Zarr chunks that declare or hold too many bytes: one error, in little memory."""

import bz2
import gzip
import json
import lzma
import struct
import tracemalloc
import warnings
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numcodecs  # type: ignore[import-untyped]
import numpy as np
import pytest
import zarr

from fullfield.errors import ImageError
from fullfield.image.formats.zarr import open_zarr
from fullfield.image.formats.zarr_codecs import BoundedCompressor, declared_size
from fullfield.image.selection import Selection

PIXELS = np.random.default_rng(3).integers(0, 4, (60, 70), dtype=np.uint16)
HUGE = 1 << 26
CODECS = ["blosc", "bz2", "gzip", "lz4", "lzma", "zlib", "zstd"]


def zstd_of_blocks(count: int) -> bytes:
    """A Zstandard frame of no stated size, of blocks that repeat a byte 128 Ki times."""
    blocks = (struct.pack("<I", (1 << 17) << 3 | 2 | (k == count - 1))[:3] + b"\0" for k in range(count))
    return b"\x28\xb5\x2f\xfd\0\x58" + b"".join(blocks)


def bombs() -> dict[str, bytes]:
    """Small chunks of 64 MiB, by codec; of those that state their size only the statement."""
    zeros = bytes(HUGE)
    return {
        "blosc": numcodecs.Blosc(cname="lz4").encode(zeros),
        "bz2": bz2.compress(bytes(HUGE // 8)) * 8,
        "gzip": gzip.compress(zeros, 1),
        "lz4": struct.pack("<I", HUGE) + b"\0" * 9,
        "lzma": lzma.compress(zeros, preset=0),
        "zlib": zlib.compress(zeros, 1),
        "zstd": numcodecs.Zstd().encode(zeros),
        "zstd of no stated size": zstd_of_blocks(4 * HUGE >> 17),
    }


BOMBS = bombs()


def written(place: Path, codec: str, form: int, *, shards: bool = False) -> Path:
    """An array of chunks of 20 x 20; the path of its first file."""
    options: dict[str, Any] = {"shards": (60, 80)} if shards else {}
    options["zarr_format"] = form
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if form == 2:
            compressor = numcodecs.get_codec({"id": codec})
        elif codec in ("blosc", "gzip", "zstd"):
            compressor = {"name": codec, "configuration": {}}
        else:
            compressor = {"name": f"numcodecs.{codec}", "configuration": {}}
        made = zarr.create_array(
            str(place),
            shape=PIXELS.shape,
            chunks=(20, 20),
            dtype="u2",
            compressors=compressor,
            **options,
        )
        made[...] = PIXELS
    return place / ("0.0" if form == 2 else "c/0/0")


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("form", [2, 3])
def test_every_compressor_is_read(tmp_path: Path, codec: str, form: int) -> None:
    for shards in [False, True][: form - 1]:
        place = tmp_path / f"{shards}.zarr"
        written(place, codec, form, shards=shards)
        raster = open_zarr(str(place), Selection())
        np.testing.assert_array_equal(raster.read(0, 60, 0, 70)[:, :, 0], PIXELS)


@pytest.mark.parametrize("bomb", sorted(BOMBS))
@pytest.mark.parametrize("form", [2, 3])
def test_a_chunk_that_decodes_to_far_more_is_refused_in_little_memory(tmp_path: Path, bomb: str, form: int) -> None:
    written(tmp_path / "a.zarr", bomb.split()[0], form).write_bytes(BOMBS[bomb][: 1 << 20])
    check_refused(tmp_path / "a.zarr", r"decodes to|compressed chunk ends|has \d+ bytes")


@pytest.mark.parametrize("bomb", sorted(BOMBS))
def test_a_chunk_in_a_shard_that_decodes_to_far_more_is_refused(tmp_path: Path, bomb: str) -> None:
    chunk = BOMBS[bomb][: 1 << 17]
    file = written(tmp_path / "a.zarr", bomb.split()[0], 3, shards=True)
    index = np.full((12, 2), 2**64 - 1, "<u8")
    index[0] = 0, len(chunk)
    file.write_bytes(chunk + numcodecs.CRC32C(location="end").encode(index.tobytes()).tobytes())
    check_refused(tmp_path / "a.zarr", r"decodes to|compressed chunk ends|has \d+ bytes")


def check_refused(place: Path, text: str) -> None:
    raster = open_zarr(str(place), Selection())
    tracemalloc.start()
    try:
        with pytest.raises(ImageError, match=rf"y 0:10, x 0:10 cannot be read(.|\n)*({text})"):
            raster.read(0, 10, 0, 10)
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("form", [2, 3])
def test_a_chunk_file_of_a_terabyte_is_not_read(tmp_path: Path, form: int) -> None:
    file = written(tmp_path / "a.zarr", "zstd", form)
    with file.open("r+b") as out:
        out.truncate(1 << 40)
    check_refused(tmp_path / "a.zarr", "has 1099511627776 bytes")


def test_a_shards_index_cannot_ask_for_a_terabyte(tmp_path: Path) -> None:
    file = written(tmp_path / "a.zarr", "zstd", 3, shards=True)
    index = np.full((12, 2), 2**64 - 1, "<u8")
    index[0] = 0, 1 << 40
    file.write_bytes(bytes(100) + numcodecs.CRC32C(location="end").encode(index.tobytes()).tobytes())
    check_refused(tmp_path / "a.zarr", "has 1099511627776 bytes")


@pytest.mark.parametrize("part", ["zarr.json", "c/0/0"])
def test_a_zip_that_unpacks_to_far_more_is_refused(tmp_path: Path, part: str) -> None:
    written(tmp_path / "a.zarr", "zstd", 3)
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as out:
        for name in ("zarr.json", "c/0/0"):
            out.writestr(name, bytes(20 << 20) if part == name else (tmp_path / "a.zarr" / name).read_bytes())
    with pytest.raises(ImageError, match=r"has \d+ bytes, at most \d+ are read"):
        open_zarr(str(tmp_path / "a.zip"), Selection()).read(0, 10, 0, 10)


@pytest.mark.parametrize("name", ["pickle", "base64"])
def test_a_filter_that_is_not_of_numbers_runs_nothing(tmp_path: Path, name: str) -> None:
    written(tmp_path / "a.zarr", "zstd", 2)
    meta = json.loads((tmp_path / "a.zarr" / ".zarray").read_text())
    (tmp_path / "a.zarr" / ".zarray").write_text(json.dumps({**meta, "filters": [{"id": name}]}))
    with pytest.raises(ImageError, match=name):
        open_zarr(str(tmp_path / "a.zarr"), Selection())


@pytest.mark.parametrize("codec", ["blosc", "lz4", "zstd"])
def test_the_stated_size_is_that_of_the_chunk(codec: str) -> None:
    data = bytes(range(256)) * 300
    assert declared_size(codec, numcodecs.get_codec({"id": codec}).encode(data)) == len(data)


def test_a_frame_of_no_stated_size_is_decoded() -> None:
    data = zstd_of_blocks(3)
    assert BoundedCompressor(numcodecs.Zstd(), 3 << 17).decode(data) == bytes(3 << 17)
    assert declared_size("zstd", zstd_of_blocks(1000)) == 1000 * (1 << 17) - (1 << 26)


def test_streams_one_after_the_other_are_one_chunk() -> None:
    for codec, data in (("gzip", gzip.compress(b"ab")), ("bz2", bz2.compress(b"ab")), ("lzma", lzma.compress(b"ab"))):
        bounded = BoundedCompressor(numcodecs.get_codec({"id": codec}), 4)
        assert bounded.decode(data + data) == b"abab"
        with pytest.raises(ValueError, match="more than 4"):
            bounded.decode(data + data + data)


def test_filters_that_lengthen_values_are_read(tmp_path: Path) -> None:
    made = zarr.create_array(
        str(tmp_path / "a.zarr"), shape=PIXELS.shape, chunks=(20, 20), dtype="u2", zarr_format=2,
        filters=[numcodecs.AsType("f8", "u2"), numcodecs.Delta("f8")], compressors=numcodecs.Zlib(),
    )  # fmt: skip
    made[...] = PIXELS
    np.testing.assert_array_equal(open_zarr(str(tmp_path / "a.zarr"), Selection()).read(0, 60, 0, 70)[:, :, 0], PIXELS)
