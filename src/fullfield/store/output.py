"""The place of a result on disk: what may be started, resumed, returned or replaced there."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fullfield.errors import ImageError, ResumeError
from fullfield.files import remove, sync
from fullfield.store.journal import differences, has_begun, journal_folder
from fullfield.store.maps import MapSpec
from fullfield.store.ome_zarr import create_store, read_record


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
