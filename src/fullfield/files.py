"""Files that appear whole or not at all."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from fullfield.errors import ImageError

PICTURES = (".png", ".jpg", ".jpeg", ".webp")
SCORES = (".zarr", ".npz", *PICTURES)
_LOCK = "lock"  # in the folder of a result that is being written
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def check_writable(
    path: str | os.PathLike[str], overwrite: bool = False, *, suffixes: tuple[str, ...] = SCORES
) -> Path:
    """The path as a ``Path``, if a result could be written there now: for a check before a long scan.

    Args:
        path: where the result will go; the suffix chooses the format.
        overwrite: whether an earlier result there may go.
        suffixes: the formats that the result can take.

    Raises:
        ImageError: unknown suffix, no such folder, no right to write there, or something there already.
    """
    target = Path(path)
    where = str(path)
    if target.suffix.lower() not in suffixes:
        raise ImageError(
            where, f"the suffix {target.suffix!r} names no format", fix=f"use one of {', '.join(suffixes)}"
        )
    try:
        _check_place(target, overwrite)
    except (OSError, ValueError) as error:  # a name that the system cannot have
        raise ImageError(where, f"no such name can be ({error})", fix="choose another name") from error
    return target


def _check_place(target: Path, overwrite: bool) -> None:
    """Raises unless the folder is there and open, and the name free or to be replaced."""
    where, folder = str(target), target.resolve().parent
    if not folder.is_dir():
        raise ImageError(where, f"there is no folder {folder}", fix="make it first, or correct the path")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise ImageError(where, f"the folder {folder} is not writable", fix="write to another folder")
    if target.exists():
        _check_replaceable(target, overwrite)


def _check_replaceable(target: Path, overwrite: bool) -> None:
    """Raises unless ``target`` may go: only results go, never a folder of other things."""
    if not overwrite:
        raise ImageError(str(target), "exists already", fix="choose another name, or pass overwrite=True (--overwrite)")
    store = target.suffix.lower() == ".zarr"
    if target.is_dir() != store:
        kind = "a folder" if target.is_dir() else "a file"
        raise ImageError(str(target), f"is {kind}, which the result would not be", fix="move it away first")
    if store and any(target.iterdir()) and not (target / "zarr.json").is_file():
        raise ImageError(str(target), "is a folder but no Zarr store: it stays", fix="choose another name")
    if not store and not target.is_file():
        raise ImageError(str(target), "is not a regular file: it stays", fix="choose another name")


@contextmanager
def replacing(path: Path, *, overwrite: bool, needed_bytes: int, folder: bool = False) -> Iterator[Path]:
    """A temporary path beside ``path``; what was written there takes its name when the block ends well.

    Invariant: at ``path`` lies the whole old thing, the whole new thing, or nothing; on any error, an interruption
    included, the temporary is removed. What killed processes left in this folder goes first.

    The temporary has the name that it will have, and a folder of its own: there is room for other temporary files.

    Args:
        path: the name wanted, checked already.
        overwrite: whether what lies there may go.
        needed_bytes: size of the result, for the error when the disk is full.
        folder: the block fills a folder instead of writing a file.

    Raises:
        ImageError: no space left, or any other reason of the system.
    """
    target = path.resolve()  # through a link, to the file that it names
    try:
        with _own_folder(target.parent) as work:
            temporary = work / "new" / target.name
            temporary.parent.mkdir(parents=True, exist_ok=True)
            if folder:
                temporary.mkdir()
            yield temporary
            settle(temporary)
            if target.exists():
                _check_replaceable(target, overwrite)
            _swap(temporary, target, work / "old")
    except OSError as error:
        raise system_error(str(path), error, needed_bytes) from error


@contextmanager
def _own_folder(place: Path) -> Iterator[Path]:
    """A new folder in ``place`` that is this process's while it lives, and gone at the end.

    The system lets go of a process's locks when it dies: a folder whose lock can be had belongs to none.
    """
    from filelock import FileLock, Timeout  # not needed to import fullfield

    _sweep(place)
    while True:
        work = place / f".fullfield-{uuid.uuid4().hex[:12]}.partial"
        work.mkdir()
        lock = FileLock(work / _LOCK, timeout=0)
        try:
            lock.acquire()
        except (Timeout, FileNotFoundError):  # another process swept it away before it was locked
            continue
        except NotImplementedError:  # no locks on this disk: nobody sweeps there
            pass
        break
    try:
        yield work
    finally:
        lock.release()
        remove(work)


def _sweep(place: Path) -> None:
    """Removes what killed processes left; a whole result that they had moved aside gets its name back."""
    from filelock import FileLock, Timeout

    for work in place.glob(".fullfield-*.partial"):
        with suppress(OSError, Timeout, NotImplementedError), FileLock(work / _LOCK, timeout=0):
            for old in work.glob("old/*"):
                if not (place / old.name).exists():
                    old.rename(place / old.name)
            remove(work)


def settle(path: Path, *, within: bool = True) -> None:
    """Forces a file, or a folder and all ``within`` it, to the disk."""
    if os.name == "nt":  # there only handles open for writing can be forced out
        return
    for entry in (*path.rglob("*"), path) if within and path.is_dir() else (path,):
        sync(entry)


def _swap(temporary: Path, target: Path, aside: Path) -> None:
    """Gives ``temporary`` the name ``target``; an old folder there steps aside first, and comes back on failure."""
    if not target.is_dir():
        temporary.replace(target)
        return
    aside.mkdir()
    old = target.rename(aside / target.name)
    try:
        temporary.rename(target)
    except BaseException:
        old.rename(target)
        raise


def remove(path: Path) -> None:
    """Removes a file or folder, also while a writer's last block is still on its way into it."""
    for _ in range(20):
        with suppress(OSError):
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
        if not path.exists():
            return
        time.sleep(0.05)


def system_error(where: str, error: OSError, needed_bytes: int) -> ImageError:
    """What is said of a result that the system did not take."""
    if error.errno in _FULL:
        return ImageError(
            where,
            f"the result does not fit: it needs up to {needed_bytes} bytes ({os.strerror(error.errno)})",
            fix="free space, write to another disk, or scan with a larger step",
        )
    reason = error.strerror or str(error) or type(error).__name__
    return ImageError(where, f"cannot be written ({reason})", fix="write to another place")


def free_place(path: Path, *, overwrite: bool) -> Path:
    """The path, if a file may be written there.

    Raises:
        ImageError: a file is there already, it is a folder, or its folder is missing.
    """
    if path.is_dir():
        raise ImageError(str(path), "is a directory", fix="name a file in it")
    if path.exists() and not overwrite:
        raise ImageError(str(path), "exists already", fix="pass overwrite=True or --overwrite, or another name")
    if not path.parent.is_dir():
        raise ImageError(str(path), f"has no directory {str(path.parent)!r} to lie in", fix="make the directory first")
    return path


@contextmanager
def filled_whole(*places: Path) -> Iterator[list[Path]]:
    """A path to write to for each place; all written, their files move there, the first place's own file last.

    Each path lies in a folder of its own beside its place; files written beside it move along.

    Raises:
        ImageError: the system takes one of them not.
    """
    try:
        with ExitStack() as stack:
            folders = [
                Path(stack.enter_context(tempfile.TemporaryDirectory(prefix=".fullfield-", dir=place.parent)))
                for place in places
            ]
            yield [folder / place.name for folder, place in zip(folders, places, strict=True)]
            for folder, place in reversed(list(zip(folders, places, strict=True))):
                for written in sorted(folder.iterdir(), key=lambda p: p.name == place.name):
                    written.replace(place.parent / written.name)
    except OSError as error:
        fix = "check the directory and the space left"
        raise ImageError(str(places[0]), f"cannot be written ({error.strerror})", fix=fix) from error


def sync(path: Path) -> None:
    """Forces a file or a folder's list of names to disk, where the system can."""
    if path.is_dir() and os.name == "nt":
        return
    handle = os.open(path, os.O_RDWR if os.name == "nt" else os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
