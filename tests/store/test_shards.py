"""Shards: what we write, zarr reads, number for number."""

import json
import math
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from zarr.codecs import Crc32cCodec, ZstdCodec

from fullfield.errors import GeometryError, ImageError
from fullfield.store.shard_reading import count_files, read_cells, read_grid
from fullfield.store.shards import ShardGrid, default_shard, shard_grid, write_shard, zarr_metadata


def written(folder: Path, array: np.ndarray, grid: ShardGrid) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "zarr.json").write_text(json.dumps(zarr_metadata(grid)))
    for index in np.ndindex(grid.shards):
        extent = grid.extent(index)
        at = tuple(slice(i * s, i * s + n) for i, s, n in zip(index, grid.shard, extent, strict=True))
        write_shard(folder / grid.file(index), grid, extent, array[at].__getitem__)
    return folder


def fill_of(dtype: str) -> float:
    return math.nan if dtype.startswith("float") else float(np.iinfo(dtype).max)


@settings(max_examples=25)
@given(data=st.data(), dtype=st.sampled_from(["float16", "float32", "float64", "uint8", "uint16"]))
def test_zarr_reads_every_array_as_it_was_written(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject, dtype: str
) -> None:
    shape = tuple(data.draw(st.integers(1, most)) for most in (70, 40, 300))
    shard = data.draw(st.sampled_from([(1, 7), (16, 64), (13, 300), (64, 512), (39, 128)]))
    draw = np.random.default_rng(data.draw(st.integers(0, 99)))
    array = draw.integers(0, 2**8 if dtype == "uint8" else 2**10, shape).astype(dtype)
    array[:, : shape[1] // 2] = fill_of(dtype)
    grid = shard_grid(shape, dtype, fill_of(dtype), shard)
    folder = written(tmp_path_factory.mktemp("a") / "0", array, grid)
    np.testing.assert_array_equal(zarr.open_array(str(folder), mode="r")[:], array)
    ends = [sorted((data.draw(st.integers(0, n - 1)), data.draw(st.integers(1, n)))) for n in shape]
    region = tuple(slice(start, max(stop, start + 1)) for start, stop in ends)
    np.testing.assert_array_equal(read_cells(folder, grid, region), array[region])


@pytest.mark.parametrize("damage", ["index", "chunk", "cut", "empty", "gone"])
def test_a_damaged_shard_is_named(tmp_path: Path, damage: str) -> None:
    array = np.random.default_rng(0).random((3, 70, 90)).astype(np.float32)
    grid = shard_grid(array.shape, "float32", math.nan, (64, 64))
    folder = written(tmp_path / "0", array, grid)
    file = folder / grid.file((0, 1, 0))
    data = bytearray(file.read_bytes())
    if damage == "gone":
        file.unlink()
    elif damage in ("index", "chunk"):
        data[-3 if damage == "index" else 0] ^= 1
        file.write_bytes(data)
    else:
        file.write_bytes(data[: 10 if damage == "empty" else -20])
    everything = tuple(slice(0, count) for count in array.shape)
    sound = (slice(0, 3), slice(0, 64), slice(5, 90))
    with pytest.raises(ImageError, match=r"c/0/1/0.*cannot be read"):
        read_cells(folder, grid, everything)
    np.testing.assert_array_equal(read_cells(folder, grid, sound), array[:, :64, 5:])


@pytest.mark.parametrize(("dtype", "fill"), [("float32", math.nan), ("uint8", 255), ("uint16", 65535)])
def test_zarr_itself_describes_such_an_array_in_the_same_words(tmp_path: Path, dtype: str, fill: float) -> None:
    grid = shard_grid((70, 300, 500), dtype, fill, (256, 256))
    zarr.create_array(
        str(tmp_path / "0"),
        shape=grid.shape,
        dtype=grid.dtype,
        shards=grid.shard,
        chunks=grid.chunk,
        fill_value=fill,
        compressors=(ZstdCodec(level=1), Crc32cCodec()),
        dimension_names=("c", "y", "x"),
    )
    assert json.loads((tmp_path / "0/zarr.json").read_text()) == zarr_metadata(grid)


def test_a_shard_of_fill_values_is_a_file_that_says_so(tmp_path: Path) -> None:
    grid = shard_grid((3, 20, 20), "uint8", 255, (20, 20))
    folder = written(tmp_path / "0", np.full(grid.shape, 255, np.uint8), grid)
    assert (folder / "c/0/0/0").stat().st_size == 16 + 4  # one chunk's index entry, and a checksum
    assert (zarr.open_array(str(folder), mode="r")[:] == 255).all()


def test_a_nan_that_carries_something_is_no_fill_value(tmp_path: Path) -> None:
    array = np.full((1, 4, 4), np.uint32(0x7FC00001)).view(np.float32)
    grid = shard_grid(array.shape, "float32", math.nan, (4, 4))
    read = read_cells(written(tmp_path / "0", array, grid), grid, (slice(0, 1), slice(0, 4), slice(0, 4)))
    np.testing.assert_array_equal(read.view(np.uint32), array.view(np.uint32))


def test_the_same_numbers_give_the_same_bytes_and_leave_nothing_else(tmp_path: Path) -> None:
    array = np.random.default_rng(0).standard_normal((70, 90, 80)).astype(np.float32)
    grid = shard_grid(array.shape, "float32", math.nan, (64, 64))
    first, second = written(tmp_path / "a", array, grid), written(tmp_path / "b", array[:, ::-1][:, ::-1], grid)
    files = sorted(path.relative_to(first) for path in first.rglob("*") if path.is_file())
    assert [str(path) for path in files] == ["c/0/0/0", "c/0/0/1", "c/0/1/0", "c/0/1/1", "zarr.json"]
    assert all((first / path).read_bytes() == (second / path).read_bytes() for path in files)
    before = {path: (first / path).read_bytes() for path in files}
    written(first, array, grid)
    assert before == {path: (first / path).read_bytes() for path in files}


def test_a_writer_that_fails_leaves_the_old_file_and_no_other(tmp_path: Path) -> None:
    grid = shard_grid((1, 4, 4), "uint8", 255, (4, 4))
    folder = written(tmp_path / "0", np.zeros(grid.shape, np.uint8), grid)
    before = (folder / "c/0/0/0").read_bytes()

    def fails(_: Any) -> Any:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_shard(folder / "c/0/0/0", grid, (1, 4, 4), fails)
    assert [path.name for path in (folder / "c/0/0").iterdir()] == ["0"]
    assert (folder / "c/0/0/0").read_bytes() == before


def test_writing_takes_the_memory_of_two_inner_chunks(tmp_path: Path) -> None:
    block = np.random.default_rng(0).standard_normal((64, 512, 512), np.float32)  # 64 MiB, no two bytes alike
    grid = shard_grid(block.shape, "float32", math.nan, (512, 512))
    tracemalloc.start()
    write_shard(tmp_path / "a", grid, block.shape, block.__getitem__)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2.2 * (16 << 20)


def test_a_class_is_read_without_most_others(tmp_path: Path) -> None:
    array = np.random.default_rng(0).standard_normal((192, 32, 32)).astype(np.float32)
    grid = shard_grid(array.shape, "float32", math.nan, (32, 32))
    folder = written(tmp_path / "0", array, grid)
    shard = folder / "c/0/0/0"
    data = bytearray(shard.read_bytes())
    data[len(data) // 2] ^= 255  # in the second of three chunks
    shard.write_bytes(data)
    for band in (150, 3):
        found = read_cells(folder, grid, (slice(band, band + 1), slice(0, 32), slice(0, 32)))
        np.testing.assert_array_equal(found[0], array[band])


@pytest.mark.parametrize(
    ("side", "part"), [(1, 1), (200, 200), (256, 256), (512, 256), (300, 150), (768, 256), (320, 160)]
)
def test_inner_chunks_divide_shards(side: int, part: int) -> None:
    grid = shard_grid((1, 5000, 5000), "uint8", 255, (side, side))
    assert (grid.chunk, grid.shard) == ((1, part, part), (1, side, side))


def test_a_shard_that_no_inner_chunk_divides_is_refused() -> None:
    with pytest.raises(
        GeometryError, match=r"257 cells have no divisor from 64 to 256: the greatest is 1\n  fix: take a"
    ):
        shard_grid((1, 5000, 5000), "uint8", 255, (257, 256))
    assert shard_grid((1, 257, 50), "uint8", 255, (257, 256)).shard == (1, 512, 50)  # all in one: filled up


def test_shards_hold_a_quarter_of_a_gibibyte_at_most() -> None:
    for bands, dtype in ((1, "uint8"), (64, "float32"), (1000, "float32"), (1000, "uint8")):
        rows, columns = default_shard(bands, dtype)
        assert rows == columns
        assert rows == 256 or bands * rows * columns * np.dtype(dtype).itemsize <= 1 << 28


def test_shards_are_counted_without_what_lies_beside_them(tmp_path: Path) -> None:
    grid = shard_grid((1, 60, 60), "uint8", 255, (20, 20))
    folder = written(tmp_path / "0", np.zeros(grid.shape, np.uint8), grid)
    (folder / "c/0/1/2").rename(folder / "c/0/1/2.abc.partial")
    (folder / "c/0/1/7").touch()
    (folder / "c/0/.junk").touch()
    assert count_files(folder, grid) == 8
    assert count_files(tmp_path / "none", grid) == 0


def test_what_is_no_array_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="cannot be read"):
        read_grid(tmp_path)


@pytest.mark.parametrize(("shape", "dtype"), [((3, 700, 90), "float32"), ((700, 90), "uint8"), ((1, 9, 9), "uint16")])
def test_the_grid_of_an_array_is_read_from_its_metadata(tmp_path: Path, shape: Any, dtype: str) -> None:
    grid = shard_grid(shape, dtype, fill_of(dtype), (512, 512))
    (tmp_path / "zarr.json").write_text(json.dumps(zarr_metadata(grid)))
    found = read_grid(tmp_path)
    assert zarr_metadata(found) == zarr_metadata(grid)
    assert (found.shard, found.chunk, found.dtype) == (grid.shard, grid.chunk, grid.dtype)


def test_shards_that_are_not_there_are_read_as_fill_where_that_is_meant(tmp_path: Path) -> None:
    grid = shard_grid((4, 4), "uint8", 1, (4, 4))
    region = slice(0, 4), slice(1, 3)
    assert (read_cells(tmp_path, grid, region, absent_is_fill=True) == 1).all()
    with pytest.raises(ImageError, match="c/0/0: scores cannot be read"):
        read_cells(tmp_path, grid, region)
