"""Files that appear whole or not at all."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from fullfield.errors import GeometryError, ImageError
from fullfield.exchange import exchanged
from fullfield.files import (
    PICTURES,
    Room,
    check_writable,
    free_room,
    output_paths,
    remove,
    replacing,
    replacing_all,
    sync,
    system_error,
)


@pytest.mark.parametrize("name", ["a.zarr", "a.npz", "a.PNG", "a.jpg", "a.jpeg", "a.webp"])
def test_a_free_name_of_a_known_format_passes(tmp_path: Path, name: str) -> None:
    assert check_writable(str(tmp_path / name)) == tmp_path / name
    assert not list(tmp_path.iterdir())


def test_an_unknown_suffix_is_refused_with_the_known_ones(tmp_path: Path) -> None:
    for name in ("a.tif", "a", "a.zarr.bak"):
        with pytest.raises(ImageError, match=r"names no format\n  fix: use one of \.zarr, \.npz, \.png"):
            check_writable(tmp_path / name)
    with pytest.raises(ImageError, match=r"use one of \.png, \.jpg"):
        check_writable(tmp_path / "a.zarr", suffixes=PICTURES)


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=f"there is no folder {tmp_path / 'none'}"):
        check_writable(tmp_path / "none" / "a.zarr")


def test_a_folder_without_the_right_to_write_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda *_: False)  # root may write anywhere, so the answer is made up
    with pytest.raises(ImageError, match="is not writable"):
        check_writable(tmp_path / "a.zarr")


def test_what_exists_stays_unless_it_may_be_overwritten(tmp_path: Path) -> None:
    (tmp_path / "a.npz").write_text("old")
    with pytest.raises(ImageError, match=r"exists already\n  fix: .*overwrite=True \(--overwrite\)"):
        check_writable(tmp_path / "a.npz")
    assert check_writable(tmp_path / "a.npz", True)


def test_a_folder_of_other_things_is_never_overwritten(tmp_path: Path) -> None:
    folder = tmp_path / "a.zarr"
    folder.mkdir()
    assert check_writable(folder, True)  # an empty one is no loss
    (folder / "thesis.txt").touch()
    with pytest.raises(ImageError, match="no Zarr store, and is kept"):
        check_writable(folder, True)
    (folder / "zarr.json").touch()
    assert check_writable(folder, True)


def test_a_file_is_not_overwritten_by_a_folder_nor_a_folder_by_a_file(tmp_path: Path) -> None:
    (tmp_path / "a.zarr").touch()
    (tmp_path / "a.png").mkdir()
    for name, kind in (("a.zarr", "a file"), ("a.png", "a folder")):
        with pytest.raises(ImageError, match=f"is {kind}, which the result would not be"):
            check_writable(tmp_path / name, True)


def test_a_device_or_pipe_is_not_overwritten(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.png")
    with pytest.raises(ImageError, match="not a regular file"):
        check_writable(tmp_path / "a.png", True)


def test_nothing_has_the_name_before_the_block_ends(tmp_path: Path) -> None:
    target = tmp_path / "a.png"
    with replacing(target, overwrite=False, needed_bytes=1) as place:
        place.write_text("new")
        assert not target.exists()
        assert tmp_path in place.parents
        assert place.name == target.name
    assert target.read_text() == "new"
    assert list(tmp_path.iterdir()) == [target]


def half_written(target: Path, error: BaseException, *, folder: bool = False, needed_bytes: int = 1) -> None:
    """Writes half of a result, then fails."""
    with replacing(target, overwrite=True, needed_bytes=needed_bytes, folder=folder) as place:
        (place / "part" if folder else place).write_text("half")
        raise error


def old_store(target: Path) -> None:
    target.mkdir()
    (target / "zarr.json").write_text("old")


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError, SystemExit])
def test_on_any_error_the_old_result_stays_and_the_temporary_goes(tmp_path: Path, error: type[BaseException]) -> None:
    picture, store = tmp_path / "a.png", tmp_path / "a.zarr"
    picture.write_text("old")
    old_store(store)
    for target in (picture, store):
        with pytest.raises(error):
            half_written(target, error(), folder=target == store)
    assert sorted(tmp_path.iterdir()) == [picture, store]
    assert picture.read_text() == (store / "zarr.json").read_text() == "old"


def test_a_store_takes_the_place_of_an_older_one_whole(tmp_path: Path) -> None:
    target = tmp_path / "a.zarr"
    old_store(target)
    (target / "old_chunk").touch()
    with replacing(target, overwrite=True, needed_bytes=1, folder=True) as place:
        (place / "zarr.json").write_text("new")
    assert [path.name for path in target.iterdir()] == ["zarr.json"]
    assert (target / "zarr.json").read_text() == "new"
    assert list(tmp_path.iterdir()) == [target]


def test_the_older_store_comes_back_when_the_new_one_cannot_take_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target, rename = tmp_path / "a.zarr", Path.rename
    old_store(target)

    def refuse(self: Path, other: Path) -> Path:
        if self.parent.name == "new":
            raise OSError(errno.EIO, "Input/output error")
        return rename(self, other)

    monkeypatch.setattr(Path, "rename", refuse)
    monkeypatch.setattr("fullfield.files.exchanged", lambda first, second: False)
    with (
        pytest.raises(ImageError, match="cannot be written"),
        replacing(target, overwrite=True, needed_bytes=1, folder=True) as place,
    ):
        (place / "zarr.json").write_text("new")
    assert (target / "zarr.json").read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


_KILLED = """
import os, sys
from pathlib import Path
from fullfield.files import replacing
from fullfield import files

target = Path(sys.argv[1])
if sys.argv[2] == "moved":
    files.swap = lambda new, old, aside: (aside.mkdir(), old.rename(aside / old.name), os.kill(os.getpid(), 9))
with replacing(target, overwrite=True, needed_bytes=1, folder=target.suffix == ".zarr") as place:
    (place / "zarr.json" if target.suffix == ".zarr" else place).write_text("half")
    if sys.argv[2] == "writing":
        os.kill(os.getpid(), 9)
"""


@pytest.mark.parametrize(("name", "when"), [("a.png", "writing"), ("a.zarr", "moved")])
def test_what_a_killed_process_left_goes_when_the_next_result_is_written(tmp_path: Path, name: str, when: str) -> None:
    target = tmp_path / name
    if name == "a.zarr":
        old_store(target)
    subprocess.run([sys.executable, "-c", _KILLED, target, when], check=False)
    assert [path.name for path in tmp_path.iterdir() if path != target and ".fullfield-" in path.name]
    assert not target.exists()
    with replacing(tmp_path / "b.png", overwrite=False, needed_bytes=1) as place:
        place.write_text("new")
    assert sorted(path.name for path in tmp_path.iterdir()) == [*([name] if when == "moved" else []), "b.png"]
    assert when == "writing" or (target / "zarr.json").read_text() == "old"


def test_files_that_belong_together_are_written_all_or_none(tmp_path: Path) -> None:
    first, second = tmp_path / "a.onnx", tmp_path / "b.txt"
    with replacing_all([first, second], overwrite=False, needed_bytes=1) as (one, other):
        one.write_text("1")
        one.with_name("a.onnx.data").write_text("weights")
        other.write_text("2")
        assert not any(path.is_file() for path in tmp_path.iterdir())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.onnx", "a.onnx.data", "b.txt"]

    def write(overwrite: bool, *texts: str) -> None:
        with replacing_all([first, second], overwrite=overwrite, needed_bytes=1) as places:
            for place, text in zip(places, texts, strict=False):
                place.write_text(text)
            places[0].with_name("a.onnx.data").write_text("other weights")

    second.unlink()
    for overwrite, texts, text in ((True, ("3",), "cannot be written"), (False, ("3", "4"), "exists already")):
        with pytest.raises(ImageError, match=text):  # the second file is missing; the first two exist
            write(overwrite, *texts)
        assert [first.read_text(), (tmp_path / "a.onnx.data").read_text()] == ["1", "weights"]
        assert sorted(path.name for path in tmp_path.iterdir()) == ["a.onnx", "a.onnx.data"]
    write(True, "3", "4")
    assert [p.read_text() for p in (first, tmp_path / "a.onnx.data", second)] == ["3", "other weights", "4"]


def test_the_system_is_asked_to_write_files_and_folders_to_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "c").touch()
    names = {
        path.stat().st_ino: path.name for path in (tmp_path / "a", tmp_path / "a" / "b", tmp_path / "a" / "b" / "c")
    }
    synced: list[str] = []
    monkeypatch.setattr(os, "fsync", lambda handle: synced.append(names[os.fstat(handle).st_ino]))
    sync(tmp_path / "a")
    assert synced == ["a"]
    sync(tmp_path / "a", within=True)
    assert synced[1:] == ["b", "c", "a"]


def test_what_another_process_writes_stays(tmp_path: Path) -> None:
    with replacing(tmp_path / "a.png", overwrite=False, needed_bytes=1) as first:
        first.write_text("a")
        with replacing(tmp_path / "b.png", overwrite=False, needed_bytes=1) as second:
            second.write_text("b")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.png", "b.png"]
    assert (tmp_path / "a.png").read_text() == "a"


def test_a_file_that_appeared_meanwhile_is_not_overwritten(tmp_path: Path) -> None:
    target = tmp_path / "a.png"

    def write() -> None:
        with replacing(target, overwrite=False, needed_bytes=1) as place:
            place.write_text("new")
            target.write_text("another program's")

    with pytest.raises(ImageError, match="exists already"):
        write()
    assert target.read_text() == "another program's"
    assert list(tmp_path.iterdir()) == [target]


def test_a_link_stays_and_its_file_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "far").mkdir()
    (tmp_path / "far" / "b.png").write_text("old")
    (tmp_path / "a.png").symlink_to(tmp_path / "far" / "b.png")
    with replacing(tmp_path / "a.png", overwrite=True, needed_bytes=1) as place:
        place.write_text("new")
    assert (tmp_path / "a.png").is_symlink()
    assert (tmp_path / "far" / "b.png").read_text() == "new"


def test_a_disk_without_inodes_says_how_many_files_are_needed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fullfield.files.free_room", lambda path: Room(10**9, 0))
    error = system_error("a.zarr", OSError(errno.ENOSPC, "No space left on device"), 5, 1234)
    assert error.what == "the disk has no inodes left: the result needs up to 1234 files and folders"
    assert "result does not fit" in system_error("a.zarr", OSError(errno.EDQUOT, "quota"), 5, 1234).what


def test_the_room_of_a_disk_is_that_of_the_folder_that_will_hold_a_result(tmp_path: Path) -> None:
    room = free_room(tmp_path / "not" / "yet" / "there")
    assert room.bytes > 0
    assert room.files is None or room.files > 0


def test_two_folders_are_exchanged_or_nothing_is_changed(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / name).touch()
    done = exchanged(tmp_path / "a", tmp_path / "b")
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["b" if done else "a"]
    assert [path.name for path in (tmp_path / "b").iterdir()] == ["a" if done else "b"]
    assert not exchanged(tmp_path / "a", tmp_path / "none")


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_a_full_disk_says_how_much_is_needed(tmp_path: Path, code: int) -> None:
    """A full disk is made up here; ``test_scores`` meets a real limit of the system."""
    target = tmp_path / "a.png"
    text = rf"^{target}: the result does not fit: it needs up to 12345 bytes \({os.strerror(code)}\)\n  fix: free space"
    with pytest.raises(ImageError, match=text):
        half_written(target, OSError(code, os.strerror(code)), needed_bytes=12345)
    assert not list(tmp_path.iterdir())


def test_any_other_reason_of_the_system_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"cannot be written \(Read-only file system\)"):
        half_written(tmp_path / "a.png", OSError(errno.EROFS, "Read-only file system"))
    with pytest.raises(ImageError, match=r"cannot be written \(nameless\)"):
        half_written(tmp_path / "a.png", OSError("nameless"))


@pytest.mark.parametrize("stem", ["a" * 300, "a\0b"])
def test_a_name_that_the_system_cannot_have_is_one_clear_error(tmp_path: Path, stem: str) -> None:
    with pytest.raises(ImageError, match="is not a valid name"):
        check_writable(tmp_path / f"{stem}.png")


def test_the_longest_name_of_the_system_can_be_written(tmp_path: Path) -> None:
    target = tmp_path / f"{'a' * 251}.png"
    with replacing(target, overwrite=False, needed_bytes=1) as place:
        place.write_text("new")
    assert target.read_text() == "new"


def test_the_remains_of_a_writer_that_still_runs_are_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = tmp_path / "a.partial"
    place.mkdir()
    tries = []

    def late(path: Path) -> None:
        tries.append(path)
        if len(tries) < 3:
            raise OSError(errno.ENOTEMPTY, "Directory not empty")  # a block arrived while the folder was removed
        path.rmdir()

    monkeypatch.setattr("fullfield.files.shutil.rmtree", late)
    monkeypatch.setattr("fullfield.files.time.sleep", lambda _: None)
    remove(place)
    assert not place.exists()


def test_outputs_keep_the_folders_in_which_images_were_found() -> None:
    found = output_paths(["in/a.png", "in/b/a.png"], "out/{folder}/{name}{suffix}.tif", ["", "b"])
    assert [path.as_posix() for path in found] == ["out/a.png.tif", "out/b/a.png.tif"]


@pytest.mark.parametrize(
    ("images", "folders", "found"),
    [
        (["p/x/a.tif", "q/x/a.tif", "p/x/b.tif"], [], ["p/x/a", "q/x/a", "b"]),
        (["p/x/a.tif", "q/x/a.tif"], ["x", "x"], ["p/x/a", "q/x/a"]),
        (["../p/a.tif", "../q/../r/a.tif"], [], ["p/a", "r/a"]),
        (["https://host/p/a.tif?k=1", "https://host/q/a.tif"], [], ["p/a", "q/a"]),
        (["a/s.tif", "b/s.tif", "a/s.png"], [], None),
        (["a/s.tif", "./a/s.tif"], [], None),
    ],
)
def test_images_of_one_name_lie_in_folders_that_tell_them_apart(
    images: list[str], folders: list[str], found: list[str] | None
) -> None:
    if found is None:
        with pytest.raises(GeometryError, match="would both go to"):
            output_paths(images, "out/{folder}/{name}.zarr", folders)
        return
    places = output_paths(images, "out/{folder}/{name}.zarr", folders)
    assert [path.as_posix() for path in places] == [f"out/{name}.zarr" for name in found]
    assert output_paths(images[::-1], "out/{folder}/{name}.zarr", folders[::-1]) == places[::-1]


def test_words_in_braces_in_an_images_own_name_are_not_replaced() -> None:
    (found,) = output_paths(["in/{parent}.png"], "out/{name}.tif")
    assert found.as_posix() == "out/{parent}.tif"


@pytest.mark.parametrize(
    ("images", "says"),
    [
        (["x/a.tif", "y/a.tif"], r'or write "maps/\{parent\}/\{name\}.zarr"'),
        (["x/a.tif", "x/a.png"], r'or write "maps/\{name\}\{suffix\}.zarr"'),
        (["p/x/a.tif", "q/x/a.tif"], "or scan them one by one"),
    ],
)
def test_images_of_one_name_are_told_apart_by_what_differs(images: list[str], says: str) -> None:
    with pytest.raises(GeometryError, match=says):
        output_paths(images, "maps/{name}.zarr")


def test_an_unknown_word_in_braces_is_refused() -> None:
    with pytest.raises(GeometryError, match=r"\{nmae\} in .* is not known\n  fix: use \{name\}, \{suffix\}"):
        output_paths(["a.tif"], "maps/{nmae}/{name}.zarr")
