"""WAV files of every kind of sample are read by parts as floats; others are one clear error each."""

from __future__ import annotations

import struct
import wave
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from fullfield.api.info import info
from fullfield.errors import ImageError
from fullfield.image.open import open as open_file
from fullfield.image.open import open_raster
from fullfield.image.selection import Selection

FRAMES, RATE = 500, 8000
NUMBERS = np.random.default_rng(1).integers(-(2**31), 2**31, (FRAMES, 2))


def written(path: Path, width: int) -> Path:
    """A stereo file by the standard library; samples have the highest bits of ``NUMBERS``."""
    numbers = (NUMBERS >> (32 - 8 * width)).astype("<i4")
    data = (numbers + 128).astype(np.uint8) if width == 1 else numbers[..., None].view(np.uint8)[..., :width]
    with wave.open(str(path), "wb") as file:
        file.setnchannels(2)
        file.setsampwidth(width)
        file.setframerate(RATE)
        file.writeframes(data.tobytes())
    return path


def chunk(name: bytes, data: bytes, order: str = "<") -> bytes:
    return name + struct.pack(f"{order}I", len(data)) + data + bytes(len(data) % 2)


def riff(*chunks: bytes, name: bytes = b"RIFF") -> bytes:
    return name + struct.pack("<I", 4 + sum(map(len, chunks))) + b"WAVE" + b"".join(chunks)


def header(code: int, width: int, channels: int = 2, order: str = "<") -> bytes:
    frame = channels * width
    return struct.pack(f"{order}HHIIHH", code, channels, RATE, RATE * frame, frame, 8 * width)


@pytest.mark.parametrize("width", [1, 2, 3, 4])
def test_whole_numbers_become_floats_below_one(width: int, tmp_path: Path) -> None:
    raster = open_file(written(tmp_path / "a.wav", width))
    assert (raster.shape, raster.metadata.sample_rate) == ((1, FRAMES, 2), RATE)
    wanted = (NUMBERS >> (32 - 8 * width)) / 2.0 ** (8 * width - 1)
    np.testing.assert_array_equal(raster.read(0, 1, 100, 350)[0], wanted[100:350])
    assert open_file(tmp_path / "a.wav", bands=[1]).read(0, 1, 0, 9)[0, :, 0].tolist() == wanted[:9, 1].tolist()


@pytest.mark.parametrize("width", [4, 8])
def test_floats_are_read_as_they_are(width: int, tmp_path: Path) -> None:
    samples: NDArray[np.floating] = (NUMBERS / 2.0**31).astype(f"<f{width}")
    (tmp_path / "a.wav").write_bytes(riff(chunk(b"fmt ", header(3, width)), chunk(b"data", samples.tobytes())))
    raster = open_file(tmp_path / "a.wav")
    assert raster.dtype == samples.dtype
    np.testing.assert_array_equal(raster.read(0, 1, 3, 77)[0], samples[3:77])


def test_other_headers_are_read(tmp_path: Path) -> None:
    samples = (NUMBERS >> 16).astype("<i2")
    long = header(0xFFFE, 2) + struct.pack("<HHIH", 22, 16, 3, 1) + bytes(14)
    info_chunk = chunk(b"LIST", b"INFOodd")
    files = {
        "extensible": riff(chunk(b"fmt ", long), info_chunk, chunk(b"data", samples.tobytes())),
        "stream": riff(chunk(b"fmt ", header(1, 2)), b"data" + struct.pack("<I", 2**32 - 1) + samples.tobytes()),
        "large": riff(
            chunk(b"ds64", struct.pack("<QQQI", 0, samples.nbytes, FRAMES, 0)),
            chunk(b"fmt ", header(1, 2)),
            b"data" + struct.pack("<I", 2**32 - 1) + samples.tobytes() + b"LIST....",
            name=b"RF64",
        ),
        "big endian": b"RIFX" + struct.pack(">I", 0) + b"WAVE" + chunk(b"fmt ", header(1, 2, order=">"), ">")
        + chunk(b"data", samples.astype(">i2").tobytes(), ">"),
    }  # fmt: skip
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
        raster = open_file(tmp_path / name)
        assert raster.shape == (1, FRAMES, 2), name
        np.testing.assert_array_equal(raster.read(0, 1, 0, FRAMES)[0], samples / 2.0**15)


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (riff(chunk(b"fmt ", header(2, 1)), chunk(b"data", bytes(8))), r"format 2 \(ADPCM\).*\n  fix: .*ffmpeg"),
        (
            riff(chunk(b"fmt ", header(1, 2)), b"data" + struct.pack("<I", 99)),
            "has 0 bytes of samples, its header says 99",
        ),
        (riff(chunk(b"fmt ", header(1, 2)), chunk(b"data", b"")), "has no samples"),
        (riff(chunk(b"fmt ", header(1, 2))), "has no samples: the file ends before them"),
        (riff(chunk(b"data", bytes(8))), "does not say how its samples are stored"),
        (riff(chunk(b"fmt ", b"12")), "damaged header"),
        (riff(chunk(b"fmt ", header(1, 5)), chunk(b"data", bytes(20))), "frames of 10 bytes for 2 channels of 40 bits"),
        (riff(chunk(b"fmt ", header(3, 2)), chunk(b"data", bytes(20))), "2 channels of 16 bits"),
    ],
)
def test_what_is_damaged_or_compressed_is_one_clear_error(data: bytes, text: str, tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(data)
    with pytest.raises(ImageError, match=text):
        open_file(tmp_path / "a.wav")


def test_a_file_that_shrinks_is_named(tmp_path: Path) -> None:
    path = written(tmp_path / "a.wav", 2)
    raster = open_file(path)
    with path.open("r+b") as file:
        file.truncate(200)
    with pytest.raises(ImageError, match="cannot be read: the file ends there"):
        raster.read(0, 1, 0, FRAMES)


def test_channels_are_chosen_by_number_or_side(tmp_path: Path) -> None:
    path = written(tmp_path / "a.wav", 2)
    right = open_file(path, bands=["right"]).read(0, 1, 0, FRAMES)
    np.testing.assert_array_equal(right, open_file(path, bands=[1]).read(0, 1, 0, FRAMES))
    with pytest.raises(ImageError, match="band 2 does not exist, there are 2: 0 left, 1 right"):
        open_raster(path, selection=Selection(bands=(2,)))


def test_info_says_what_a_signal_is(tmp_path: Path) -> None:
    found = info(written(tmp_path / "a.wav", 3))
    assert found.facts == {
        "channels": 2,
        "samples": FRAMES,
        "sample_rate_hz": RATE,
        "duration_s": FRAMES / RATE,
        "dtype": "float32",
        "reader": "wave",
    }
    assert "sample rate hz  8000" in str(found)
