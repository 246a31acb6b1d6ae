"""The place of a result on disk: what may be started, resumed, returned or replaced there."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fullfield.errors import ImageError, ResumeError
from fullfield.files import free_room, remove, swap, sync
from fullfield.store.journal import differences, has_begun, journal_folder, staged_store
from fullfield.store.levels import store_size
from fullfield.store.maps import MapSpec
from fullfield.store.ome_zarr import create_store, read_record, replace_text
from fullfield.store.record import from_record


def check_place(path: Path, *, overwrite: bool, restart: bool) -> None:
    """Checks that an output is new, resumable, complete or replaceable.

    Args:
        path: of the output.
        overwrite: whether a finished result may be replaced.
        restart: whether an unfinished result may be replaced.

    Raises:
        ImageError: the path has something else.
        ResumeError: the path has an unfinished result without its journal.
    """
    if not path.exists():
        return
    if overwrite or (restart and has_begun(path)):
        _check_ours(path)
        return
    complete = read_record(path)["complete"]
    if not complete and not restart and not journal_folder(path).exists():
        raise ResumeError(
            str(path), "is not complete, and its journal is gone", fix="pass --restart or --overwrite to scan anew"
        )


def is_finished(path: Path, identity: Mapping[str, Any], *, overwrite: bool = False) -> bool:
    """Whether an output is the result of this very scan, complete.

    Args:
        path: of the output.
        identity: everything that the scan's stored numbers depend on.
        overwrite: whether a finished result may be replaced: then none counts.

    Raises:
        ImageError: it is another result.
    """
    if overwrite or not (path / "zarr.json").is_file():
        return False
    record = read_record(path)
    if not record["complete"]:
        return False
    made = record["provenance"].get("job")
    changes = [] if made is None else list(differences(made, identity))
    if made is None or changes:
        what = f" with {changes[0][0]} {changes[0][1]}, now it is {changes[0][2]}" if changes else ""
        if made is None or made.get("format") != identity["format"]:
            what = ", and was not written by a scan to disk of this version of fullfield"
        raise ImageError(
            str(path),
            f"exists already{what}",
            fix='choose another name, or pass existing="overwrite" (--overwrite)',
        )
    return True


def finished_with(path: Path) -> Mapping[str, Any]:
    """What a finished output says of its job; nothing if there is none, or none that can be read."""
    try:
        record = read_record(path)
    except ImageError:
        return {}
    made: Mapping[str, Any] | None = record["provenance"].get("job") if record["complete"] else None
    return made or {}


def begin_store(path: Path, spec: MapSpec) -> None:
    """Makes the empty store that a scan fills: at the path, or in the journal while a finished result stays there.

    Raises:
        ImageError: the disk has no room for both.
    """
    if not _is_complete(path):
        put_empty_store(path, spec)
        return
    _check_room(path, spec)
    staged = staged_store(path)
    create_store(staged, spec)
    sync(staged, within=True)
    sync(staged.parent)


def _is_complete(path: Path) -> bool:
    """Whether there is a finished result."""
    try:
        return bool(read_record(path)["complete"])
    except ImageError:
        return False


def _check_room(path: Path, spec: MapSpec) -> None:
    """Raises unless the disk has room for a new result besides the old one.

    Results of equal numbers are compressed about equally: as much as the old one.
    """
    old = from_record(read_record(path), str(path))
    size, files = store_size(spec)
    taken = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
    needed = min(size, taken * size // store_size(old).bytes)
    room = free_room(path)
    if room.files is not None and room.files < files:
        what, free = f"{files} files and folders", f"{room.files} can be made"
    elif room.bytes < needed:
        what, free = f"about {needed} bytes", f"{room.bytes} are free"
    else:
        return
    raise ImageError(
        str(path),
        f"the earlier result stays until the new one is complete, which needs {what}; {free}",
        fix="free space, write to another disk, or remove the earlier result first",
    )


def replace_finished(path: Path) -> None:
    """Puts the complete store of the journal in place of an earlier result: there is one or the other at any moment.

    To be called under the commit lock. After a kill ``finish_replacing`` completes it.
    """
    staged = staged_store(path)
    replace_text(_note(path), json.dumps(_number(staged)))
    sync(staged.parent)
    swap(staged, path, staged.parent / "old")
    sync(path.absolute().parent)


def finish_replacing(path: Path) -> bool:
    """Completes what ``replace_finished`` had begun when its process was killed; whether it had.

    To be called under the commit lock.
    """
    note, staged = _note(path), staged_store(path)
    if not note.is_file():
        return False
    if staged.exists() and (not path.exists() or _number(path) != json.loads(note.read_text())):
        swap(staged, path, staged.parent / "old")
        sync(path.absolute().parent)
    return True


def _note(path: Path) -> Path:
    """The file that says which folder is the new result, once it is complete."""
    return journal_folder(path) / "replacing.json"


def _number(path: Path) -> list[int]:
    """Disk and number of a folder, which renaming keeps."""
    status = path.stat()
    return [status.st_dev, status.st_ino]


def put_empty_store(path: Path, spec: MapSpec) -> None:
    """Puts an empty store in place of what an earlier run left: whole or not at all, and on the disk."""
    new, old = (journal_folder(path) / f"{name}.zarr" for name in ("new", "old"))
    remove(new)
    create_store(new, spec)
    sync(new, within=True)
    if path.exists():
        path.rename(old)
    try:
        new.rename(path)
    except BaseException:
        if old.exists():
            old.rename(path)
        raise
    sync(path.absolute().parent)
    remove(old)


def _check_ours(path: Path) -> None:
    """Raises where a folder holds anything but a result."""
    if not path.is_dir() or (any(path.iterdir()) and not (path / "zarr.json").is_file()):
        raise ImageError(str(path), "is no Zarr store: it stays", fix="choose another name")
