"""An image that is changed while it is scanned is an error, and what was finished before stays."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import tifffile
import torch
import zarr
from torch import nn

import fullfield
from fullfield import Compute, ImageError, ResumeError
from fullfield.engine.progress import Progress
from fullfield.planning import overhead
from fullfield.store.journal import has_begun, journal_folder
from tests.api.killing import contents
from tests.image.serving import serving

PIXELS = np.random.default_rng(0).integers(0, 256, (62, 71, 3), dtype=np.uint8)
OTHER = 255 - PIXELS
WRITERS = ("a.tif", "geo.tif", "a.npy", "a.zarr")


def write(path: Path, pixels: np.ndarray) -> None:
    """Writes an image in the format of its name; of equal size for equal pixels."""
    if path.name == "geo.tif":
        place = rasterio.Affine(2, 0, 5e5, 0, -2, 4e6)
        profile = {"height": 62, "width": 71, "count": 3, "dtype": "uint8", "crs": "EPSG:32633", "transform": place}
        with rasterio.open(path, "w", driver="GTiff", **profile) as file:
            file.write(pixels.transpose(2, 0, 1))
    elif path.suffix == ".tif":
        tifffile.imwrite(path, pixels, photometric="rgb", tile=(16, 16))
    elif path.suffix == ".npy":
        np.save(path, pixels)
    else:
        names = ("y", "x", "c")
        made = zarr.create_array(
            str(path), shape=pixels.shape, dtype="uint8", chunks=(16, 16, 3), dimension_names=names
        )
        made[...] = pixels


@pytest.fixture(scope="module")
def net() -> fullfield.Model:
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 3, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(75, 4)]
    return fullfield.load(nn.Sequential(*layers).eval(), window=12)


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """A block for every tile: 5 by 5 of them."""
    monkeypatch.setattr(overhead, "_BLOCK_BYTES", 1)


def scan(
    net: fullfield.Model, image: Any, output: Path | None, progress: Callable[[Progress], None] | None = None
) -> Any:
    return fullfield.scan(net, image, step=3, output=output, compute=Compute(tile=(4, 4)), progress=progress)


class Overwriting:
    """Overwrites an image in place after so many blocks."""

    def __init__(self, image: Path, blocks: int) -> None:
        self.image, self.blocks, self.done = image, blocks, False
        self.other = image.with_name("other") / image.name
        self.other.parent.mkdir()
        write(self.other, OTHER)

    def __call__(self, now: Progress) -> None:
        if now.blocks >= self.blocks and not self.done:
            self.done = True
            files = [self.image] if self.image.is_file() else [f for f in self.image.rglob("*") if f.is_file()]
            for file in files:
                changed = (self.other / file.relative_to(self.image)) if self.image.is_dir() else self.other
                with file.open("r+b") as place:  # the same file, as a copy program writes it
                    place.write(changed.read_bytes())
                    place.truncate()
                os.utime(file, ns=(file.stat().st_atime_ns, file.stat().st_mtime_ns + 10**9))


@pytest.mark.parametrize("name", WRITERS)
def test_a_scan_to_disk_stops_and_keeps_what_it_finished_before(
    net: fullfield.Model, tmp_path: Path, name: str
) -> None:
    image, output, kept = tmp_path / name, tmp_path / "map.zarr", tmp_path / "kept" / name
    write(image, PIXELS)
    kept.parent.mkdir()
    (shutil.copytree if image.is_dir() else shutil.copy2)(image, kept)
    with pytest.raises(ImageError, match=r"was changed while it was scanned: .*\n  fix: scan it anew"):
        scan(net, image, output, Overwriting(image, 9))
    assert has_begun(output)
    with pytest.raises(ResumeError, match=r"was begun with image\.identity"):
        scan(net, image, output)
    (shutil.rmtree if image.is_dir() else os.remove)(image)
    (shutil.copytree if kept.is_dir() else shutil.copy2)(kept, image)
    totals: list[int] = []
    whole = scan(net, image, tmp_path / "whole.zarr")
    assert whole is not None
    scan(net, image, output, lambda now: totals.append(now.blocks_total))
    assert contents(output) == contents(tmp_path / "whole.zarr")
    assert totals[-1] <= 25 - 7  # the last two blocks may have been on their way
    assert not journal_folder(output).exists()


@pytest.mark.parametrize("name", WRITERS)
def test_a_scan_in_memory_or_to_a_file_is_an_error(net: fullfield.Model, tmp_path: Path, name: str) -> None:
    for output in (None, tmp_path / "map.npz"):
        image = tmp_path / str(output is None) / name
        image.parent.mkdir()
        write(image, PIXELS)
        with pytest.raises(ImageError, match="was changed while it was scanned"):
            scan(net, image, output, Overwriting(image, 1))
        assert output is None or not output.exists()


def test_an_image_that_stays_the_same_is_scanned_also_if_it_was_opened_before(
    net: fullfield.Model, tmp_path: Path
) -> None:
    write(tmp_path / "a.tif", PIXELS)
    raster = fullfield.open(tmp_path / "a.tif")
    assert scan(net, raster, tmp_path / "map.zarr") is not None
    write(tmp_path / "a.tif", OTHER)
    with pytest.raises(ImageError, match="was changed while it was scanned"):
        scan(net, raster, None)


@pytest.mark.parametrize("name", ["large.tif", "large.npy"])
def test_a_file_that_changes_on_a_server_is_an_error_at_the_next_read(
    net: fullfield.Model, tmp_path: Path, name: str
) -> None:
    large = np.random.default_rng(0).integers(0, 256, (600, 700, 3), dtype=np.uint8)
    write(tmp_path / name, large)
    with serving(tmp_path) as (address, _):
        image = fullfield.open(f"{address}/ranges/{name}")
        image.read(0, 16, 0, 16)
        os.utime(tmp_path / name, ns=(0, 10**18))
        with pytest.raises(ImageError, match=r"was changed on the server while it was read: its ETag was \"\d+\", now"):
            image.read(200, 216, 0, 16)
        with pytest.raises(ImageError, match="was changed"):
            scan(net, image, None)


def test_a_changed_raster_behind_an_address_of_gdal_is_noticed_before_the_result_is_complete(
    net: fullfield.Model, tmp_path: Path
) -> None:
    write(tmp_path / "geo.tif", PIXELS)
    with serving(tmp_path) as (address, _):

        def touch(now: Progress) -> None:
            if now.blocks == 9:
                os.utime(tmp_path / "geo.tif", ns=(0, 10**18))

        with pytest.raises(ImageError, match=r"was changed while it was scanned: etag was \"\d+\", now it is \"1"):
            scan(net, f"{address}/ranges/geo.tif", tmp_path / "map.zarr", touch)
    assert has_begun(tmp_path / "map.zarr")
