"""Scans to disk give the bits of a scan in memory, whatever the tiles, methods and encodings."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import fullfield
from fullfield import Compute
from fullfield.api.scan import scan
from fullfield.api.scores import Scores
from fullfield.engine.progress import Progress
from fullfield.planning import overhead
from fullfield.store.encoding import Encoded, Encoding, ScoreEncoder, score_encoder
from tests.requests import grouped


@pytest.fixture(scope="module")
def net() -> fullfield.Model:
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 3, 3, 2, 1), nn.ReLU(), nn.MaxPool2d(2), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    return fullfield.load(nn.Sequential(*layers, nn.Linear(3, 4)).eval(), window=13)


class Root(nn.Module):
    """The square root: NaN of negative numbers."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.sqrt()


@pytest.fixture(scope="module")
def image() -> np.ndarray:
    return np.random.default_rng(0).random((59, 73, 3), dtype=np.float32)


@pytest.fixture(params=[1, 700, 1 << 26], ids=["tile", "some", "whole"])
def block_bytes(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """A block for every tile, for a few, for the whole map."""
    monkeypatch.setattr(overhead, "_BLOCK_BYTES", request.param)
    return int(request.param)


def everything(stored: Scores | None) -> tuple[np.ndarray, np.ndarray]:
    """Stored numbers, and which cells have them."""
    assert stored is not None
    _, rows, columns = stored.shape
    return stored.map.read(0, rows, 0, columns), stored.valid()


@pytest.mark.usefixtures("block_bytes")
@pytest.mark.parametrize(
    "settings",
    [
        {"step": 4, "tile": (3, 5)},
        {"step": 4, "tile": (1, 1), "mode": "context"},
        {"step": (2, 3), "tile": (7, 2), "method": "shifted"},
        {"step": 3, "tile": (4, 4), "method": "fragments", "mode": "context"},
        {"step": 5, "tile": (100, 100), "edge": "reflect"},
        {"step": 3, "tile": (2, 9), "mode": 1, "region": (7, 50, 3, 61)},
        {"step": 2, "method": "shifted", "mode": "context", "tile": (5, 3), "edge": "constant"},
        {"step": 50},
    ],
)
def test_the_bits_are_those_of_a_scan_in_memory(
    net: fullfield.Model, image: np.ndarray, tmp_path: Path, settings: dict[str, Any]
) -> None:
    numbers, valid = everything(scan(net, image, output=tmp_path / "map.zarr", **grouped(settings)))
    if "tile" in settings:
        wanted = fullfield.scan(net, image, **grouped(settings)).array
        np.testing.assert_array_equal(numbers, wanted)
    assert valid.all()


@pytest.mark.usefixtures("block_bytes")
@pytest.mark.parametrize("method", ["atrous", "shifted"])
def test_cells_that_are_not_wanted_are_empty(
    net: fullfield.Model, image: np.ndarray, tmp_path: Path, method: Any
) -> None:
    mask = np.zeros(image.shape[:2])
    mask[20:31, 40:] = 1
    settings: dict[str, Any] = {"step": 3, "tile": (2, 3), "method": method, "mask": mask}
    numbers, valid = everything(scan(net, image, output=tmp_path / "map.zarr", **grouped(settings)))
    wanted = fullfield.scan(net, image, **grouped(settings)).array
    np.testing.assert_array_equal(numbers, wanted)
    np.testing.assert_array_equal(valid, ~np.isnan(wanted[0]))
    assert 0 < valid.mean() < 1


@pytest.mark.parametrize(
    "encoding",
    [
        Encoding(classes=(2, 0)),
        Encoding(labels=True),
        Encoding(activation="softmax", dtype="float16"),
        Encoding(activation="sigmoid", dtype="uint8", classes=(3,)),
        Encoding(dtype="uint8", range=(-0.1, 0.1)),
    ],
)
def test_stored_numbers_are_the_encoded_scores(
    net: fullfield.Model, image: np.ndarray, tmp_path: Path, encoding: Encoding
) -> None:
    numbers, _ = everything(
        scan(net, image, output=tmp_path / "map.zarr", step=4, compute=Compute(tile=(3, 5)), encoding=encoding)
    )
    scores = fullfield.scan(net, image, step=4, compute=Compute(tile=(3, 5))).array
    np.testing.assert_array_equal(numbers, score_encoder(encoding, classes=4).encode(scores).block)


@pytest.mark.usefixtures("block_bytes")
@pytest.mark.parametrize("masked", [False, True])
def test_progress_adds_up(net: fullfield.Model, image: np.ndarray, tmp_path: Path, masked: bool) -> None:
    mask = np.zeros(image.shape[:2])
    mask[:20] = 1
    windows: list[int] = []
    last: list[Progress] = []

    def note(now: Progress) -> None:
        windows.append(now.done)
        last[:] = [now]

    settings: dict[str, Any] = {"mask": mask} if masked else {}
    scan(
        net,
        image,
        output=tmp_path / "map.zarr",
        progress=note,
        **grouped(settings | {"step": 3, "tile": (2, 3)}),
    )
    (now,) = last
    assert windows == sorted(windows)
    assert now.done == now.total == 16 * 21
    assert now.blocks == now.blocks_total
    assert now.pixels == pytest.approx(59 * 73)
    assert (now.computed < now.done) == masked
    assert 0 <= now.reading_s + now.writing_s <= now.elapsed_s
    assert now.bound in ("reader", "writer", "compute")


@pytest.mark.usefixtures("block_bytes")
@pytest.mark.parametrize("encoding", [Encoding(dtype="uint8", range=(0.0, 0.1)), Encoding(), Encoding(labels=True)])
def test_scores_that_could_not_be_stored_are_counted_in_the_record(
    image: np.ndarray, tmp_path: Path, encoding: Encoding
) -> None:
    torch.manual_seed(1)
    net = fullfield.load(nn.Sequential(nn.Conv2d(3, 4, 13), nn.Flatten(), Root()).eval(), window=13)
    arguments: dict[str, Any] = {"step": 4, "compute": Compute(tile=(3, 5))}
    encoded = score_encoder(encoding, classes=4).encode(np.asarray(scan(net, image, **arguments)))
    wanted = {"nans": encoded.nans, "saturated": encoded.saturated}
    stored = scan(net, image, output=tmp_path / "map.zarr", encoding=encoding, **arguments)
    assert stored is not None
    assert stored.provenance["counts"] == wanted
    if encoding != Encoding():
        in_memory = scan(net, image, encoding=encoding, **arguments)
        assert in_memory is not None
        assert in_memory.provenance["counts"] == wanted
    assert encoded.nans > 0
    assert (encoded.saturated > 0) == (encoding.dtype == "uint8")


def test_an_interrupted_scan_is_finished_by_the_next_run(
    net: fullfield.Model, image: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(overhead, "_BLOCK_BYTES", 1)

    def stop(now: Progress) -> None:
        if now.blocks == 5:
            raise KeyboardInterrupt

    settings: dict[str, Any] = {"step": 2, "tile": (3, 5), "method": "shifted"}
    with pytest.raises(KeyboardInterrupt):
        scan(net, image, output=tmp_path / "map.zarr", progress=stop, **grouped(settings))
    numbers, _ = everything(scan(net, image, output=tmp_path / "map.zarr", **grouped(settings)))
    np.testing.assert_array_equal(numbers, fullfield.scan(net, image, **grouped(settings)).array)


@pytest.mark.parametrize("tile", [0, 3, 11])
def test_an_encoder_that_fails_stops_the_run_and_loses_nothing(
    net: fullfield.Model, image: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tile: int
) -> None:
    monkeypatch.setattr(overhead, "_BLOCK_BYTES", 1)
    settings: dict[str, Any] = {"step": 4, "tile": (4, 4)}
    tiles, encode = 0, ScoreEncoder.encode

    def fails(self: ScoreEncoder, *args: Any) -> Encoded:
        nonlocal tiles
        tiles += 1
        if tiles == tile + 1:
            raise MemoryError("no room")
        return encode(self, *args)

    with monkeypatch.context() as patch:
        patch.setattr(ScoreEncoder, "encode", fails)
        with pytest.raises(fullfield.BudgetError, match="no room"):
            scan(net, image, output=tmp_path / "map.zarr", **grouped(settings))
    before = sys.getswitchinterval()
    done: list[int] = []
    numbers, _ = everything(
        scan(
            net,
            image,
            output=tmp_path / "map.zarr",
            progress=lambda now: done.extend([now.blocks_total] if now.stage == "scanning" else []),
            **grouped(settings),
        )
    )
    assert done[0] == 12 - tile
    assert sys.getswitchinterval() == before == pytest.approx(0.005)
    np.testing.assert_array_equal(numbers, fullfield.scan(net, image, **grouped(settings)).array)
