import json
import os
import shutil
import warnings
from concurrent.futures import ThreadPoolExecutor

import fsspec
import hypothesis.strategies as st
import numpy as np
import pytest
import zarr
from hypothesis import given, settings

from fullfield.errors import ImageError
from fullfield.image.formats.zarr import open_zarr
from fullfield.image.selection import Selection
from tests.image.serving import serving

RNG = np.random.default_rng(0)
SIZES = {"t": 2, "c": 3, "z": 3, "y": 70, "x": 90}
STACK = RNG.integers(0, 65536, tuple(SIZES.values()), dtype=np.uint16)


def array(path, pixels, **options):
    """A v3 array, written and filled."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made = zarr.create_array(str(path), shape=pixels.shape, dtype=pixels.dtype, **options)
    made[...] = pixels
    return str(path)


def ome(path, pixels, axes, *, version="0.5", levels=2, unit="micrometer", extra=None):
    """An OME-Zarr of every second pixel a level."""
    group = zarr.open_group(str(path), mode="w", zarr_format=3 if version == "0.5" else 2)
    datasets = []
    for level in range(levels):
        step = tuple(slice(None, None, 2**level) if a in "yx" else slice(None) for a in axes)
        part = pixels[step]
        chunks = tuple(32 if a in "yx" else 1 for a in axes)
        group.create_array(str(level), shape=part.shape, dtype=part.dtype, chunks=chunks)[...] = part
        scale = [0.25 * 2**level if a == "y" else 0.5 * 2**level if a == "x" else 1.0 for a in axes]
        datasets.append({"path": str(level), "coordinateTransformations": [{"type": "scale", "scale": scale}]})
    kinds = {"t": "time", "c": "channel"}
    listed = [
        {"name": a, "type": kinds.get(a, "space")} | ({"unit": unit} if unit and a in "zyx" else {}) for a in axes
    ]
    attributes = {"multiscales": [{"version": version, "axes": listed, "datasets": datasets}]} | (extra or {})
    group.attrs.update({"ome": {"version": "0.5"} | attributes} if version == "0.5" else attributes)
    return str(path)


def whole(raster):
    return raster.read(0, raster.shape[0], 0, raster.shape[1])


@pytest.mark.parametrize(
    ("version", "axes"),
    [
        *(("0.5", axes) for axes in ("tczyx", "yx", "cyx", "zyx", "yxc", "xyczt", "ztyx")),
        ("0.4", "tczyx"),
        ("0.4", "yxc"),
    ],
)
def test_axes_in_any_order_give_the_selected_plane(tmp_path, axes, version):
    index = {"t": 1, "z": 2, "c": slice(None), "y": slice(None), "x": slice(None)}
    stack = STACK[tuple(slice(None) if a in axes else 0 for a in "tczyx")]
    present = [a for a in "tczyx" if a in axes]
    pixels = stack.transpose([present.index(a) for a in axes])
    path = ome(tmp_path / "a.zarr", pixels, axes, version=version, levels=1)
    plane = STACK[tuple(index[a] if a in axes else 0 for a in "tczyx")]
    plane = plane.transpose(1, 2, 0) if "c" in axes else plane[:, :, None]
    selection = Selection(t=1 if "t" in axes else None, z=2 if "z" in axes else None)
    raster = open_zarr(path, selection)
    assert raster.shape == plane.shape
    np.testing.assert_array_equal(whole(raster), plane)
    assert raster.metadata.mpp == (0.25, 0.5)


SHARDED = RNG.integers(0, 256, (5, 200, 310), dtype=np.uint8)


@pytest.fixture(scope="module")
def sharded(tmp_path_factory):
    place = tmp_path_factory.mktemp("zarr") / "a.zarr"
    return array(place, SHARDED, chunks=(2, 32, 16), shards=(4, 64, 64), dimension_names=("c", "y", "x"))


@settings(max_examples=15)
@given(data=st.data(), bands=st.lists(st.integers(0, 4), min_size=1, max_size=6))
def test_any_region_and_bands_of_a_sharded_array_equal_zarrs_own_read(sharded, data, bands):
    raster = open_zarr(sharded, Selection(bands=tuple(bands)))
    top, left = data.draw(st.integers(0, 199)), data.draw(st.integers(0, 309))
    bottom, right = data.draw(st.integers(top + 1, 200)), data.draw(st.integers(left + 1, 310))
    expected = zarr.open_array(sharded, mode="r")[:, top:bottom, left:right].transpose(1, 2, 0)[:, :, bands]
    np.testing.assert_array_equal(raster.read(top, bottom, left, right), expected)


def test_a_tile_is_the_inner_chunk_of_a_shard(sharded):
    assert open_zarr(sharded, Selection()).metadata.tile == (32, 16)


def test_many_threads_read_the_same_pixels(sharded):
    raster = open_zarr(sharded, Selection())
    pixels = SHARDED.transpose(1, 2, 0)

    def same(seed):
        top, left = seed * 7 % 150, seed * 13 % 260
        return np.array_equal(raster.read(top, top + 50, left, left + 50), pixels[top : top + 50, left : left + 50])

    with ThreadPoolExecutor(6) as pool:
        assert all(pool.map(same, range(40)))


@pytest.mark.parametrize(
    ("shape", "expected"), [((60, 70), (60, 70, 1)), ((60, 70, 3), (60, 70, 3)), ((7, 60, 70), (60, 70, 7))]
)
@pytest.mark.parametrize("form", [2, 3])
def test_arrays_without_names_go_by_what_is_usual(tmp_path, shape, expected, form):
    path = array(tmp_path / "a.zarr", np.zeros(shape, np.float32), zarr_format=form)
    assert open_zarr(path, Selection()).shape == expected


@pytest.mark.parametrize("name", ["", "yx", "xc", "zt"])
def test_an_axis_of_any_other_name_is_read_at_its_only_position_or_refused(tmp_path, name):
    pixels = RNG.integers(0, 256, (1, 3, 60, 70), dtype=np.uint8)
    path = array(tmp_path / "a.zarr", pixels, dimension_names=(name, "c", "y", "x"))
    np.testing.assert_array_equal(whole(open_zarr(path, Selection())), pixels[0].transpose(1, 2, 0))
    path = array(tmp_path / "b.zarr", pixels.repeat(2, axis=0), dimension_names=(name, "c", "y", "x"))
    with pytest.raises(ImageError, match=rf"axis {name or '.no name.'} has 2 positions"):
        open_zarr(path, Selection())


@pytest.mark.parametrize("shards", [None, (64, 64)])
@pytest.mark.parametrize("what", ["a folder", "a file above it", "a folder in a zip file"])
def test_a_chunk_that_is_no_file_is_damage_and_not_the_fill_value(tmp_path, what, shards):
    pixels = RNG.integers(1, 256, (60, 70), dtype=np.uint8)
    path = array(tmp_path / "a.zarr", pixels, chunks=(32, 32), shards=shards)
    chunk = tmp_path / "a.zarr/c/0/1"
    chunk.unlink()
    if what == "a file above it":
        shutil.rmtree(chunk.parent)
        chunk.parent.write_bytes(b"")
    else:
        chunk.mkdir()
    if what == "a folder in a zip file":
        path = shutil.make_archive(str(tmp_path / "b.zarr"), "zip", path)
    with pytest.raises(ImageError, match=r"c/0/[01] cannot be read: (it is a folder|0 is a file|Not a directory)"):
        open_zarr(path, Selection()).read(0, 60, 0, 70)


def test_names_of_axes_come_before_what_is_usual(tmp_path):
    pixels = RNG.random((60, 5, 70))
    path = array(tmp_path / "a.zarr", pixels, dimension_names=("y", "band", "x"))
    np.testing.assert_array_equal(whole(open_zarr(path, Selection())), pixels.transpose(0, 2, 1))


def test_xarrays_names_of_axes_are_understood(tmp_path):
    pixels = RNG.random((1, 60, 70))
    path = array(tmp_path / "a.zarr", pixels, zarr_format=2, attributes={"_ARRAY_DIMENSIONS": ["time", "lat", "lon"]})
    np.testing.assert_array_equal(whole(open_zarr(path, Selection()))[:, :, 0], pixels[0])


def test_big_endian_arrays_come_in_the_machines_order(tmp_path):
    pixels = RNG.integers(0, 9999, (60, 70)).astype(">u2")
    raster = open_zarr(array(tmp_path / "a.zarr", pixels, zarr_format=2), Selection())
    assert raster.dtype == np.dtype(np.uint16) == whole(raster).dtype
    np.testing.assert_array_equal(whole(raster)[:, :, 0], pixels)


def test_truth_values_become_black_and_white(tmp_path):
    pixels = RNG.random((60, 70)) > 0.5
    raster = open_zarr(array(tmp_path / "a.zarr", pixels), Selection())
    assert raster.dtype == np.uint8
    np.testing.assert_array_equal(whole(raster)[:, :, 0], pixels * 255)


def test_chunks_never_written_are_the_fill_value_and_valid(tmp_path):
    made = zarr.create_array(str(tmp_path / "a.zarr"), shape=(60, 70), chunks=(20, 20), dtype="u1", fill_value=7)
    made[:20, :20] = 1
    raster = open_zarr(str(tmp_path / "a.zarr"), Selection())
    assert whole(raster)[20:].min() == 7
    assert raster.valid(0, 60, 0, 70) is None


def test_nan_as_fill_value_is_nodata(tmp_path):
    made = zarr.create_array(
        str(tmp_path / "a.zarr"), shape=(60, 70), chunks=(20, 20), dtype="f4", fill_value=float("nan")
    )
    made[:20, :20] = 1
    found = open_zarr(str(tmp_path / "a.zarr"), Selection()).valid(0, 60, 0, 70)
    assert found.sum() == 400
    assert found[:20, :20].all()


def test_a_declared_value_is_nodata(tmp_path):
    pixels = RNG.integers(0, 3, (60, 70), dtype=np.int16)
    path = array(tmp_path / "a.zarr", pixels, attributes={"_FillValue": 2})
    raster = open_zarr(path, Selection())
    assert raster.metadata.nodata == 2
    np.testing.assert_array_equal(raster.valid(0, 60, 0, 70), pixels != 2)


def test_levels_names_and_resolution_of_an_ome_zarr(tmp_path):
    channels = {"omero": {"channels": [{"label": "DAPI"}, {}, {"label": "Ki67"}]}}
    path = ome(tmp_path / "a.zarr", STACK, "tczyx", unit="millimeter", extra=channels)
    raster = open_zarr(path, Selection(level=1, bands=(2, 0), t=1, z=2))
    assert raster.metadata.levels == ((70, 90), (35, 45))
    assert raster.metadata.mpp == (500.0, 1000.0)
    assert raster.metadata.band_names == ("Ki67", "DAPI")
    np.testing.assert_array_equal(whole(raster), STACK[1, [2, 0], 2, ::2, ::2].transpose(1, 2, 0))


def test_a_resolution_picks_the_nearest_finer_level(tmp_path):
    path = ome(tmp_path / "a.zarr", STACK[0, :, 0], "cyx", levels=3)
    assert [open_zarr(path, Selection(mpp=m)).level for m in (0.3, 1.0, 1.9, 2.0, 9.0)] == [0, 1, 1, 2, 2]
    with pytest.raises(ImageError, match="does not state its resolution"):
        open_zarr(ome(tmp_path / "b.zarr", STACK[0, :, 0], "cyx", unit=None), Selection(mpp=1.0))


@pytest.mark.parametrize("listed", [True, False])
def test_series_of_bioformats2raw_are_chosen_by_number(tmp_path, listed):
    root = zarr.open_group(str(tmp_path / "a.zarr"), mode="w", zarr_format=2)
    root.attrs["bioformats2raw.layout"] = 3
    for i in range(2):
        ome(tmp_path / "a.zarr" / str(i), STACK[i], "czyx", version="0.4")
    if listed:
        root.create_group("OME").attrs["series"] = ["1", "0"]
    for series in range(2):
        source = 1 - series if listed else series
        raster = open_zarr(str(tmp_path / "a.zarr"), Selection(series=series))
        np.testing.assert_array_equal(whole(raster), STACK[source, :, 0].transpose(1, 2, 0))
    with pytest.raises(ImageError, match="series 2 does not exist, there are 2"):
        open_zarr(str(tmp_path / "a.zarr"), Selection(series=2))


def test_a_plate_asks_for_a_field(tmp_path):
    zarr.open_group(str(tmp_path / "a.zarr"), mode="w", attributes={"ome": {"plate": {}}})
    with pytest.raises(ImageError, match="is a plate"):
        open_zarr(str(tmp_path / "a.zarr"), Selection())


def test_a_group_of_one_array_is_that_array_and_of_several_none(tmp_path):
    group = zarr.open_group(str(tmp_path / "a.zarr"), mode="w")
    group.create_array("one", shape=(60, 70), dtype="u1")
    assert open_zarr(str(tmp_path / "a.zarr"), Selection()).shape == (60, 70, 1)
    group.create_array("two", shape=(60, 70), dtype="u1")
    with pytest.raises(ImageError, match=r"2 arrays \(one, two\)"):
        open_zarr(str(tmp_path / "a.zarr"), Selection())


def test_a_thumbnail_comes_from_the_pyramid(tmp_path):
    path = ome(tmp_path / "a.zarr", STACK[0, :, 0], "cyx", levels=3)
    np.testing.assert_array_equal(
        open_zarr(path, Selection()).thumbnail(45), STACK[0, :, 0, ::2, ::2].transpose(1, 2, 0)
    )


def test_a_large_array_without_a_pyramid_has_no_thumbnail(tmp_path):
    zarr.create_array(str(tmp_path / "a.zarr"), shape=(50_000, 50_000), chunks=(512, 512), dtype="u1")
    assert open_zarr(str(tmp_path / "a.zarr"), Selection()).thumbnail(100) is None


def test_fsspec_addresses_and_zip_files_are_read(tmp_path, sharded):
    target = fsspec.filesystem("memory")
    target.put(sharded, "/fullfield-zarr", recursive=True)
    try:
        remote = open_zarr("memory://fullfield-zarr", Selection())
        np.testing.assert_array_equal(whole(remote), SHARDED.transpose(1, 2, 0))
    finally:
        target.rm("/fullfield-zarr", recursive=True)
    archive = shutil.make_archive(str(tmp_path / "a"), "zip", sharded)
    zipped = open_zarr(archive, Selection())
    np.testing.assert_array_equal(whole(zipped), SHARDED.transpose(1, 2, 0))
    zipped.close()


def test_a_changed_chunk_or_level_changes_the_identity(tmp_path):
    path = ome(tmp_path / "a.zarr", STACK[0, :, 0], "cyx")
    before = open_zarr(path, Selection()).metadata.identity
    assert before == open_zarr(path, Selection()).metadata.identity
    assert before != open_zarr(path, Selection(level=1)).metadata.identity
    assert before != open_zarr(path, Selection(bands=(0,))).metadata.identity
    json.dumps(before)
    zarr.open_array(f"{path}/0", mode="r+")[0, 0, 0] = 0
    assert before != open_zarr(path, Selection()).metadata.identity


def test_a_chunk_that_a_server_gives_anew_changes_the_identity(tmp_path):
    array(tmp_path / "a.zarr", SHARDED[0], chunks=(50, 50))
    chunk = tmp_path / "a.zarr" / "c" / "0" / "1"
    with serving(tmp_path) as (address, _):
        path = f"{address}/ranges/a.zarr"
        before = open_zarr(path, Selection()).metadata.identity
        assert before == open_zarr(path, Selection()).metadata.identity
        chunk.write_bytes(chunk.read_bytes())
        changed = open_zarr(path, Selection()).metadata.identity
        chunk.unlink()
        found = [before, changed, open_zarr(path, Selection()).metadata.identity]
    assert len({json.dumps(one) for one in found}) == 3


def test_a_server_that_gives_no_parts_of_files_gives_chunks_but_no_shards(tmp_path):
    array(tmp_path / "chunks.zarr", SHARDED[0], chunks=(50, 50))
    array(tmp_path / "shards.zarr", SHARDED[0], chunks=(25, 25), shards=(50, 50))
    with serving(tmp_path) as (address, _):
        for name in ("ranges/chunks", "whole/chunks", "ranges/shards"):
            np.testing.assert_array_equal(whole(open_zarr(f"{address}/{name}.zarr", Selection()))[:, :, 0], SHARDED[0])
        with pytest.raises(
            ImageError, match=r"range requests, which shards need \(c/\d/\d\)\n  fix: download the image"
        ):
            whole(open_zarr(f"{address}/whole/shards.zarr", Selection()))


def test_of_many_chunks_behind_an_address_a_few_are_asked_for(monkeypatch):
    fs = fsspec.filesystem("memory")
    asked = []
    plain = type(fs).info
    monkeypatch.setattr(type(fs), "info", lambda self, path, **kw: asked.append(path) or plain(self, path, **kw))
    try:
        zarr.create_array("memory://fullfield-many", shape=(400, 400), chunks=(16, 16), dtype="u1")
        open_zarr("memory://fullfield-many", Selection())
        chunks = [path for path in asked if "/c/" in path]
        assert len(chunks) == 16
        assert {"0/0", "24/24"} <= {path.rsplit("/c/")[1] for path in chunks}
    finally:
        fs.rm("/fullfield-many", recursive=True)


def test_a_server_that_does_not_know_is_an_error_and_no_other_image(monkeypatch):
    fs = fsspec.filesystem("memory")

    def broken(self, path, **_):
        error = FileNotFoundError(path)
        error.__cause__ = OSError("503")
        error.__cause__.status = 503
        raise error

    try:
        zarr.create_array("memory://fullfield-broken", shape=(40, 40), chunks=(16, 16), dtype="u1")
        monkeypatch.setattr(type(fs), "info", broken)
        with pytest.raises(ImageError, match="fullfield-broken: cannot be read as Zarr"):
            open_zarr("memory://fullfield-broken", Selection())
    finally:
        monkeypatch.undo()
        fs.rm("/fullfield-broken", recursive=True)


def test_a_damaged_chunk_names_the_region(tmp_path):
    path = array(tmp_path / "a.zarr", SHARDED[0], chunks=(50, 50))
    (tmp_path / "a.zarr" / "c" / "1" / "1").write_bytes(b"nonsense")
    raster = open_zarr(path, Selection())
    assert raster.read(0, 50, 0, 50).shape == (50, 50, 1)
    with pytest.raises(ImageError, match="y 40:70, x 40:70 cannot be read"):
        raster.read(40, 70, 40, 70)


def damage(place, **changes):
    file = place / "zarr.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


GRID = {"name": "regular", "configuration": {"chunk_shape": [100_000, 100_000]}}
TINY = {"name": "regular", "configuration": {"chunk_shape": [1, 1]}}


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"shape": [10**6, 10**6], "chunk_grid": GRID}, "blocks of 100000x100000 px"),
        ({"shape": [10**12, 10]}, "1000000000000x10 px"),
        ({"shape": [10**6, 10**6], "chunk_grid": TINY}, "chunks of 1 px"),
        ({"shape": [0, 10]}, "0x10 px"),
        ({"shape": [-5, 10]}, "a.zarr"),
        ({"shape": "many"}, "a.zarr"),
        ({"data_type": "complex64", "fill_value": [0, 0]}, "complex64"),
        ({"codecs": [{"name": "unheard"}]}, "a.zarr"),
        ({"chunk_grid": {}}, "a.zarr"),
        ({"zarr_format": 9}, "a.zarr"),
        ({"dimension_names": ["y", "y"]}, "2 of them y"),
    ],
)
def test_absurd_metadata_are_one_clear_error(tmp_path, changes, text):
    array(tmp_path / "a.zarr", SHARDED[0], chunks=(50, 50))
    damage(tmp_path / "a.zarr", **changes)
    with pytest.raises(ImageError, match=text):
        open_zarr(str(tmp_path / "a.zarr"), Selection())


@pytest.mark.parametrize(
    "ome_content",
    [
        {"multiscales": [5]},
        {"multiscales": [{"datasets": []}]},
        {"multiscales": [{"datasets": [{"path": "../../etc"}]}]},
        {"multiscales": [{"datasets": [{"path": "absent"}]}]},
        {"multiscales": [{"datasets": [{}]}]},
        {"multiscales": [{"axes": [{"name": "x"}], "datasets": [{"path": "0"}]}]},
        {"multiscales": "many"},
        {"bioformats2raw.layout": 3},
        {"well": {"images": [{"path": ""}]}},
    ],
)
def test_absurd_ome_metadata_are_one_clear_error(tmp_path, ome_content):
    path = ome(tmp_path / "a.zarr", STACK[0, :, 0], "cyx", levels=1)
    if "bioformats2raw.layout" in ome_content:
        shutil.rmtree(f"{path}/0")
    zarr.open_group(path, mode="r+").attrs["ome"] = ome_content
    with pytest.raises(ImageError, match=r"a\.zarr"):
        open_zarr(path, Selection())


def test_metadata_beyond_all_bounds_are_refused_unread(tmp_path):
    array(tmp_path / "a.zarr", SHARDED[0])
    with (tmp_path / "a.zarr" / "zarr.json").open("a") as file:
        file.write(" " * (17 << 20))
    with pytest.raises(ImageError, match=r"zarr\.json has"):
        open_zarr(str(tmp_path / "a.zarr"), Selection())


def test_a_resolution_that_is_no_number_is_unknown(tmp_path):
    path = ome(tmp_path / "a.zarr", STACK[0, :, 0], "cyx", levels=1)
    group = zarr.open_group(path, mode="r+")
    content = group.attrs["ome"]
    content["multiscales"][0]["datasets"][0]["coordinateTransformations"][0]["scale"] = [1, "wide", -3]
    group.attrs["ome"] = content
    assert open_zarr(path, Selection()).metadata.mpp is None


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="the system has no pipes")
@pytest.mark.parametrize("key", ["zarr.json", "c/0/0"])
@pytest.mark.parametrize("kind", ["pipe", "device"])
def test_a_document_or_chunk_that_is_no_regular_file_is_refused_without_waiting(key, kind, tmp_path):
    zarr.create_array(tmp_path / "a.zarr", data=np.ones((8, 8), np.uint8), chunks=(8, 8), compressors=None)
    place = tmp_path / "a.zarr" / key
    place.unlink()
    if kind == "pipe":
        os.mkfifo(place)
    else:
        place.symlink_to("/dev/zero")
    with pytest.raises(ImageError, match=r"is not a regular file|not a Zarr"):
        open_zarr(str(tmp_path / "a.zarr"), Selection()).read(0, 8, 0, 8)


def test_a_folder_that_is_no_zarr_and_a_path_that_is_none_are_clear(tmp_path):
    for path in (tmp_path, tmp_path / "absent"):
        with pytest.raises(ImageError, match=r"Zarr|no such folder"):
            open_zarr(str(path), Selection())


def test_a_link_to_a_store_is_followed(tmp_path, sharded):
    (tmp_path / "link.zarr").symlink_to(sharded)
    assert open_zarr(str(tmp_path / "link.zarr"), Selection()).shape == (200, 310, 5)
