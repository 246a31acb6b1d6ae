"""What the planner is told of an image, a network and an output."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import tifffile
from torch import nn

import fullfield
from fullfield.engine.engines.cuda.transfers import BUFFERED
from fullfield.image.cache import CachedRaster
from fullfield.image.open import open_raster
from fullfield.image.selection import Selection
from fullfield.image.sources import open_image, with_cache
from fullfield.image.windowed import WindowedSource, windowed
from fullfield.jobs.overhead import overhead_of
from fullfield.model.preprocessing import Preprocessing
from fullfield.planning.overhead import Overhead, Stored
from fullfield.store.encoding import Encoding, score_encoder
from tests.requests import job_of


def source(image: object, edge: str = "valid") -> WindowedSource:
    opened = open_image(image, preprocessing=Preprocessing(), channels=3, dtype="float32")
    return windowed(opened, window=(8, 8), step=(4, 4), edge=edge)  # type: ignore[arg-type]


def test_an_array_scanned_to_memory_takes_pixels_and_scores_only() -> None:
    found = overhead_of(source(np.zeros((40, 30, 3), np.uint16)), itemsize=4, classes=5, encoder=None)
    assert found == Overhead(
        channels=3,
        itemsize=4,
        raw_channels=3,
        raw_itemsize=2,
        image=(40, 30),
        ahead=2,
        readers=2,
        classes=5,
    )


def test_a_file_takes_a_cache_and_a_store_blocks_and_both_threads_and_handles(tmp_path: Path) -> None:
    np.save(tmp_path / "image.npy", np.zeros((40, 30, 3), np.uint8))
    raster = open_raster(tmp_path / "image.npy", selection=Selection())
    encoder = score_encoder(Encoding(classes=[0, 2]), classes=5, class_names=None, dtype="float32")
    found = overhead_of(source(raster, "reflect"), itemsize=8, classes=5, encoder=encoder)
    assert found.file_tile == raster.metadata.tile
    assert found.padded
    assert found.stored == Stored(2, 4, (64, 256, 256))
    assert found.fixed_bytes == raster.metadata.held_bytes + 24 * 2**20


def test_a_cache_of_the_size_that_was_planned_leaves_an_image_in_memory_alone(tmp_path: Path) -> None:
    np.save(tmp_path / "image.npy", np.zeros((40, 30, 3), np.uint8))
    plain = source(open_raster(tmp_path / "image.npy", selection=Selection())).image
    cached = with_cache(plain, 1000)
    assert isinstance(cached.raster, CachedRaster)
    assert cached.raster.cache.most_bytes == 1000
    assert with_cache(plain, 0) is plain
    in_memory = source(np.zeros((40, 30, 3), np.uint8)).image
    assert with_cache(in_memory, 1000).raster is in_memory.raster


def test_a_file_is_cached_once_and_by_as_much_as_the_plan_says(tmp_path: Path) -> None:
    path = tmp_path / "image.tif"
    tifffile.imwrite(path, np.zeros((256, 320, 3), np.uint8), tile=(64, 64), photometric="rgb")
    module = nn.Sequential(nn.Conv2d(3, 2, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten()).eval()
    job = job_of(fullfield.load(module, window=16), path, on_disk=True, step=8, budget="200MB")
    raster = job.source.image.raster
    assert isinstance(raster, CachedRaster)
    assert raster.cache.most_bytes == job.plan.memory.cache_bytes
    assert not isinstance(raster.inner, CachedRaster)


def test_another_cache_takes_the_place_of_the_first(tmp_path: Path) -> None:
    path = tmp_path / "image.tif"
    tifffile.imwrite(path, np.zeros((64, 64, 3), np.uint8), tile=(32, 32), photometric="rgb")
    twice = with_cache(with_cache(source(open_raster(path, selection=Selection())).image, 1 << 20), 1 << 10)
    assert isinstance(twice.raster, CachedRaster)
    assert not isinstance(twice.raster.inner, CachedRaster)
    assert twice.raster.cache.most_bytes == 1 << 10


def test_pixels_on_their_way_to_a_device_are_counted() -> None:
    """Two tiles' on the host and two on the device."""
    plain, buffered = (
        overhead_of(source(np.zeros((40, 30, 3), np.uint8)), itemsize=4, classes=5, encoder=None, buffered=count)
        for count in (0, BUFFERED)
    )
    assert buffered.pixels_bytes((10, 20)) - plain.pixels_bytes((10, 20)) == 4 * 10 * 20 * 3 * 4
