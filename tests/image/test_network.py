"""Reads over HTTP are repeated, stalls end after they were announced, and every failure is one clear error."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import tifffile
import zarr
from PIL import Image

import fullfield
from fullfield.errors import ImageError
from fullfield.image import network
from fullfield.image.blob import open_blob
from fullfield.image.network import passes, retried
from tests.image.serving import serving

pytest.importorskip("aiohttp")
PIXELS = np.random.default_rng(3).integers(0, 256, (300, 200, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    folder = tmp_path_factory.mktemp("served")
    tifffile.imwrite(folder / "a.tif", PIXELS, photometric="rgb", tile=(64, 64), compression="zlib")
    Image.fromarray(PIXELS).save(folder / "a.png")
    np.save(folder / "a.npy", PIXELS)
    zarr.create_array(folder / "a.zarr", data=PIXELS, chunks=(64, 64, 3))
    with serving(folder) as (address, _):
        yield address, folder


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(network, "WAITS_S", (0.0, 0.01, 0.02))
    monkeypatch.setattr(network, "STALLED_S", 1)
    monkeypatch.setattr(network, "SILENT_S", 0.2)


NAMES = ["a.tif", "a.png", "a.npy", "a.zarr"]


@pytest.mark.parametrize("how", ["busy", "gone", "cut"])
@pytest.mark.parametrize("name", NAMES)
def test_a_read_that_fails_twice_is_repeated(served: tuple[str, Path], name: str, how: str) -> None:
    raster = fullfield.open(f"{served[0]}/twice-{how}/{name}")
    np.testing.assert_array_equal(raster.read(0, 300, 0, 200), PIXELS)


@pytest.mark.parametrize("how", ["busy", "gone", "cut"])
@pytest.mark.parametrize("name", NAMES)
def test_a_server_that_fails_at_any_request_is_one_clear_error(served: tuple[str, Path], name: str, how: str) -> None:
    failed = 0
    for first in range(1, 12):
        address = f"{served[0]}/from{first}-{how}/{name}"
        with suppress(ImageError):
            fullfield.open(address).read(0, 300, 0, 200)
            continue
        failed += 1
    assert failed >= 2


@pytest.mark.parametrize("name", ["a.tif", "a.npy"])
@pytest.mark.parametrize("first", [1, 2, 4])
def test_a_stall_is_announced_and_ends(
    served: tuple[str, Path], name: str, first: int, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING), pytest.raises(ImageError, match="nothing for 1 s"):
        fullfield.open(f"{served[0]}/from{first}-late/{name}").read(0, 300, 0, 200)
    assert "no answer for 0.2 s; given up after 1 s without a byte" in caplog.text


def test_each_repetition_is_told_and_waits_longer(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    waits: list[float] = []
    monkeypatch.setattr(network, "WAITS_S", (0.5, 1.0, 2.0))
    monkeypatch.setattr(network.time, "sleep", waits.append)
    monkeypatch.setattr(network, "SILENT_S", 60.0)

    def read() -> bytes:
        raise ConnectionResetError("reset by peer")

    with caplog.at_level(logging.WARNING), pytest.raises(ConnectionResetError):
        retried(read, "http://a/b")
    assert waits == [0.5, 1.0, 2.0]
    assert caplog.messages[2] == "http://a/b: reset by peer; tried again in 2 s"


def _answer(status: int) -> Exception:
    aiohttp = pytest.importorskip("aiohttp")
    error: Exception = aiohttp.ClientResponseError(None, (), status=status)
    return error


def _wrapped(status: int) -> Exception:
    error = FileNotFoundError("http://a/b")
    error.__cause__ = _answer(status)
    return error


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (ConnectionResetError(), True),
        (EOFError(), True),
        (FileNotFoundError(), False),
        (PermissionError(), False),
        (TimeoutError(), False),
        (ImageError("a", "b", fix="c"), False),
        (ValueError(), False),
        (_answer(503), True),
        (_answer(429), True),
        (_answer(403), False),
        (_answer(404), False),
        (_wrapped(502), True),
        (_wrapped(404), False),
    ],
)
def test_only_what_may_pass_is_repeated(error: Exception, expected: bool) -> None:
    assert passes(error) is expected


def test_a_file_object_reads_what_ranges_hold() -> None:
    data = bytes(np.random.default_rng(1).integers(0, 256, 900_000, dtype=np.uint8))
    calls: list[tuple[int, int]] = []

    def read(start: int, stop: int) -> bytes:
        calls.append((start, stop))
        return data[start:stop]

    file = network.RangeFile(read, len(data))
    assert file.read(5) == data[:5]
    file.seek(-7, 2)
    assert file.read() == data[-7:]
    file.seek(250_000)
    assert file.read(300_000) == data[250_000:550_000]
    assert file.tell() == 550_000
    assert len(calls) == len(set(calls)) == 4
    file.seek(0)
    assert file.readall() == data


def test_ranges_that_come_short_are_errors_of_the_system(served: tuple[str, Path]) -> None:
    blob = open_blob(f"{served[0]}/ranges/a.npy")
    short: Callable[..., bytes] = lambda *_: b"abc"  # noqa: E731
    blob._range = short  # type: ignore[attr-defined]
    assert blob.read(0, 3) == b"abc"
