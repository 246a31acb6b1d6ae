"""Writes files whole or not at all, and checks beforehand that they can be written."""

from __future__ import annotations

import errno
import os
import re
import shutil
import time
import uuid
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from fullfield.errors import GeometryError, ImageError
from fullfield.exchange import exchanged
from fullfield.file_locks import SOFT, LockedError, file_lock

PICTURES = (".png", ".jpg", ".jpeg", ".webp")
TABLES = (".csv", ".parquet")
LAYERS = (".geojson", ".gpkg", ".fgb", *TABLES)
"""Formats of objects: windows, regions, points, boxes."""
SCORES = (".zarr", ".npz", *PICTURES)
_LOCK = "lock"  # in the temporary folder of a process that is writing
_TRIES = 20
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def check_writable(
    path: str | os.PathLike[str], overwrite: bool = False, *, suffixes: tuple[str, ...] | None = SCORES
) -> Path:
    """Checks that a result could be written to a path now, for use before long work; returns it as a ``Path``.

    Args:
        path: of the result; the suffix selects the format.
        overwrite: whether an existing result may be replaced.
        suffixes: the formats that the result can have; ``None`` for any.

    Raises:
        ImageError: unknown suffix, missing or read-only folder, or something exists that may not be replaced.
    """
    target = Path(path)
    where = str(path)
    if suffixes is not None and target.suffix.lower() not in suffixes:
        raise ImageError(
            where, f"the suffix {target.suffix!r} names no format", fix=f"use one of {', '.join(suffixes)}"
        )
    try:
        _check_target(target, overwrite)
    except (OSError, ValueError) as error:
        raise ImageError(where, f"is not a valid name ({error})", fix="choose another name") from error
    return target


def _check_target(target: Path, overwrite: bool) -> None:
    """Raises an ImageError unless the folder is writable and the name is free or may be replaced."""
    where, folder = str(target), target.resolve().parent
    if not folder.is_dir():
        raise ImageError(where, f"there is no folder {folder}", fix="make it first, or correct the path")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise ImageError(where, f"the folder {folder} is not writable", fix="write to another folder")
    if target.exists():
        _check_replaceable(target, overwrite)


def _check_replaceable(target: Path, overwrite: bool) -> None:
    """Raises an ImageError unless an existing file or Zarr store may be replaced; other folders never may."""
    store = target.suffix.lower() == ".zarr"
    if target.is_dir() != store:
        kind = "a folder" if target.is_dir() else "a file"
        raise ImageError(str(target), f"is {kind}, which the result would not be", fix="move it away first")
    if not overwrite:
        raise ImageError(str(target), "exists already", fix="choose another name, or pass overwrite=True (--overwrite)")
    if store and any(target.iterdir()) and not (target / "zarr.json").is_file():
        raise ImageError(str(target), "is a folder but no Zarr store, and is kept", fix="choose another name")
    if not store and not target.is_file():
        raise ImageError(str(target), "is not a regular file, and is kept", fix="choose another name")


@contextmanager
def replacing(path: Path, *, overwrite: bool, needed_bytes: int, folder: bool = False) -> Iterator[Path]:
    """A temporary path for a file or folder, which is renamed to ``path`` if the block succeeds.

    Invariant: at ``path`` is the whole old result, the whole new result, or nothing. After any error, interruptions
    included, the temporary files are removed. Temporary files of killed processes in this folder are removed first.

    The temporary path has the final name, in a folder of its own; other temporary files there are removed.

    Args:
        path: of the result, checked already.
        overwrite: whether an existing result may be replaced.
        needed_bytes: size of the result, for the error when the disk is full.
        folder: whether the result is a folder, which is created empty.

    Raises:
        ImageError: no space is left, or another error of the system.
    """
    with _temporary((path,), overwrite=overwrite, needed_bytes=needed_bytes) as (temporary,):
        if folder:
            temporary.mkdir()
        yield temporary


@contextmanager
def replacing_all(paths: Sequence[Path], *, overwrite: bool, needed_bytes: int) -> Iterator[list[Path]]:
    """As ``replacing`` for several files that belong together: either all are written or none.

    Files written next to a temporary path (such as ONNX's external weights) are moved too. The first path's own file
    comes last, so that it exists only once all others do.
    """
    with _temporary(paths, overwrite=overwrite, needed_bytes=needed_bytes, companions=True) as temporaries:
        yield temporaries


@contextmanager
def _temporary(
    paths: Sequence[Path], *, overwrite: bool, needed_bytes: int, companions: bool = False
) -> Iterator[list[Path]]:
    targets = [path.resolve() for path in paths]  # of a link, the file that it points to
    try:
        with ExitStack() as stack:
            folders = [stack.enter_context(_own_folder(target.parent)) for target in targets]
            temporaries = [folder / "new" / target.name for folder, target in zip(folders, targets, strict=True)]
            for temporary in temporaries:
                temporary.parent.mkdir()
            yield temporaries
            moves = []
            for temporary, target in reversed(list(zip(temporaries, targets, strict=True))):
                others = sorted(set(temporary.parent.iterdir()) - {temporary}) if companions else []
                moves += [(new, target.with_name(new.name)) for new in (*others, temporary)]
            for new, target in moves:
                sync(new, within=True)
                if target.exists():
                    _check_replaceable(target, overwrite)
            for new, target in moves:
                swap(new, target, new.parent.parent / "old")
    except OSError as error:
        raise system_error(str(paths[0]), error, needed_bytes) from error


@contextmanager
def _own_folder(parent: Path) -> Iterator[Path]:
    """A new temporary folder in ``parent``, locked while this process lives and removed at the end.

    A folder that is not locked is left from a process that died, and is removed.
    """
    _sweep(parent)
    with ExitStack() as held:
        for _ in range(_TRIES):
            work = parent / f".fullfield-{uuid.uuid4().hex[:12]}.partial"
            work.mkdir()
            try:
                held.enter_context(file_lock(work / _LOCK))
            except (LockedError, FileNotFoundError):  # another process removed it before it was locked
                continue
            except BaseException:
                remove(work)
                raise
            break
        else:
            raise OSError(errno.EAGAIN, "another process removes every temporary folder")
        held.callback(remove, work)
        yield work


def _sweep(parent: Path) -> None:
    """Removes temporary folders of killed processes; a result that one of them had renamed gets its name back."""
    for work in parent.glob(".fullfield-*.partial"):
        with suppress(OSError, LockedError), file_lock(work / _LOCK) as file:
            others = {work / _LOCK, work / f"{_LOCK}{SOFT}"} - {file}
            if any(other.exists() for other in others):  # of a machine that sees this disk otherwise
                continue
            for old in work.glob("old/*"):
                if not (parent / old.name).exists():
                    old.rename(parent / old.name)
            remove(work)


def swap(new: Path, target: Path, backup: Path) -> None:
    """Renames ``new`` to ``target``, which is the old result or the new one at any moment.

    An old folder is at ``new`` afterwards; or in the folder ``backup``, which is made, where the disk cannot exchange
    two folders: there is a moment without either, and after a failure the old one gets its name back.
    """
    if not target.is_dir():
        new.replace(target)
        return
    if exchanged(new, target):
        return
    backup.mkdir(exist_ok=True)
    old = target.rename(backup / target.name)
    try:
        new.rename(target)
    except BaseException:
        old.rename(target)
        raise


def sync(path: Path, *, within: bool = False) -> None:
    """Forces a file or a folder's list of names to the disk; with ``within`` all that a folder contains, too."""
    inside = path.rglob("*") if within and path.is_dir() else ()
    for entry in (*(entry for entry in inside if entry.is_file() or entry.is_dir()), path):  # opening a pipe may wait
        if os.name == "nt" and entry.is_dir():
            continue  # Windows cannot sync folders
        handle = os.open(entry, os.O_RDWR if os.name == "nt" else os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def remove(path: Path) -> None:
    """Removes a file or folder, even if a writer's last block still arrives in it."""
    for _ in range(20):
        with suppress(OSError):
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
        if not path.exists():
            return
        time.sleep(0.05)


def system_error(where: str, error: OSError, needed_bytes: int, needed_files: int = 1) -> ImageError:
    """The error for a result that the system did not write.

    Args:
        where: the result.
        error: of the system.
        needed_bytes, needed_files: what the result takes at most.
    """
    if error.errno == errno.ENOSPC and free_room(Path(where)).files == 0:
        return ImageError(
            where,
            f"the disk has no inodes left: the result needs up to {needed_files} files and folders",
            fix="remove files there, write to another disk, or make one file, such as .npy or .tif",
        )
    if error.errno in _FULL:
        return ImageError(
            where,
            f"the result does not fit: it needs up to {needed_bytes} bytes ({os.strerror(error.errno)})",
            fix="free space, write to another disk, or make a smaller result, such as a scan with a larger step",
        )
    reason = error.strerror or str(error) or type(error).__name__
    return ImageError(where, f"cannot be written ({reason})", fix="write to another place")


class Room(NamedTuple):
    """What a disk has left.

    Args:
        bytes: free.
        files: that can be made; ``None`` where the disk does not limit or tell it.
    """

    bytes: int
    files: int | None


def free_room(path: Path) -> Room:
    """What the disk of a path, or of the folder that it would be made in, has left."""
    place = path.absolute()
    while not place.exists():
        place = place.parent
    files = None
    if hasattr(os, "statvfs"):  # not on Windows
        disk = os.statvfs(place)
        files = disk.f_favail if disk.f_files else None
    return Room(shutil.disk_usage(place).free, files)


_PLACEHOLDERS = ("name", "suffix", "parent", "folder")


def output_paths(images: Iterable[str], output: str, folders: Sequence[str] = ()) -> list[Path]:
    """The output of every image, which depends on this image alone, as long as no two would have one output.

    Of ``{name}``, ``{suffix}``, ``{parent}`` and ``{folder}`` in ``output``, the first three are the image's name
    without its suffix, the suffix with its dot, and the name of the folder that the image is in. ``{folder}/`` is the
    path of that folder below the one that was searched, and empty for an image that was named by itself; where several
    images would have one output, it is as much of the ends of their folders' paths as tells them apart.

    Args:
        images: paths.
        output: a path with ``{name}`` in it.
        folders: of every image, what ``{folder}`` becomes; empty by default.

    Raises:
        GeometryError: an ``output`` without ``{name}`` or with an unknown word in braces, or two images of one output.

    Examples:
        >>> [path.as_posix() for path in output_paths(["slides/a.ome.tif", "b.zarr/"], "maps/{name}.zarr")]
        ['maps/a.zarr', 'maps/b.zarr']
        >>> [path.as_posix() for path in output_paths(["x/a.tif", "y/a.tif"], "maps/{parent}-{name}.zarr")]
        ['maps/x-a.zarr', 'maps/y-a.zarr']
        >>> [path.as_posix() for path in output_paths(["x/a.tif", "y/a.tif", "b.tif"], "maps/{folder}/{name}.zarr")]
        ['maps/x/a.zarr', 'maps/y/a.zarr', 'maps/b.zarr']
    """
    if "{name}" not in output:
        raise GeometryError("output", f"{output!r} has no {{name}}", fix='write "maps/{name}.zarr", say')
    for word in re.findall(r"{(\w+)}", output):
        if word not in _PLACEHOLDERS:
            known = ", ".join(f"{{{each}}}" for each in _PLACEHOLDERS)
            raise GeometryError("output", f"{{{word}}} in {output!r} is not known", fix=f"use {known}")
    listed, places = list(images), dict[Path, str]()
    for image, folder in zip(listed, _told_apart(listed, output, folders or [""] * len(listed)), strict=True):
        place = _output_path(image, output, folder)
        if place in places:
            both = f"{places[place]} and {image} would both go to {place}"
            raise GeometryError("output", both, fix=_apart(places[place], image, output))
        places[place] = image
    return list(places)


def _told_apart(images: Sequence[str], output: str, folders: Sequence[str]) -> list[str]:
    """The ``{folder}`` of every image: that given, or for images of one output the part of the path that differs."""
    found = list(folders)
    together: dict[Path, list[int]] = {}
    for number, (image, folder) in enumerate(zip(images, folders, strict=True)):
        together.setdefault(_output_path(image, output, folder), []).append(number)
    for group in together.values():
        paths = {number: _folder_parts(images[number]) for number in group} if len(group) > 1 else {}
        for depth in range(1, max(map(len, paths.values()), default=0) + 1):
            tried = {number: "/".join(parts[-depth:]) for number, parts in paths.items()}
            if len({_output_path(images[number], output, folder) for number, folder in tried.items()}) == len(group):
                for number, folder in tried.items():
                    found[number] = folder
                break
    return found


def _folder_parts(image: str) -> list[str]:
    """The names of the folders that an image is in, from the outermost."""
    plain = _plain(image)
    path = plain.partition("://")[2] if "://" in plain else Path(os.path.abspath(plain)).as_posix()  # noqa: PTH100
    return [part for part in path.split("/")[:-1] if part not in ("", ".", "..") and ":" not in part]


def _output_path(image: str, output: str, folder: str) -> Path:
    plain = _plain(image)
    name = image_name(image)
    words = {
        "{name}": name,
        "{suffix}": plain.rsplit("/", 1)[-1][len(name) :],
        "{parent}": Path(plain).absolute().parent.name if "://" not in plain else plain.rsplit("/", 2)[-2],
        "{folder}": folder or ".",
    }
    return Path(re.sub("|".join(map(re.escape, words)), lambda found: words[found[0]], output))


def _apart(first: str, second: str, output: str) -> str:
    """What to write so that two images have different outputs."""
    for name in ("{name}{suffix}", "{parent}/{name}"):
        better = output.replace("{name}", name)
        if _output_path(first, better, "") != _output_path(second, better, ""):
            return f'rename one of them, or write "{better}"'
    return "rename one of them, or scan them one by one"


def image_name(image: str) -> str:
    """The name of an image's results.

    Examples:
        >>> image_name("slides/a.ome.tif"), image_name("b.zarr/"), image_name("https://host/c.svs?x=1")
        ('a', 'b', 'c')
    """
    name = _plain(image).rsplit("/", 1)[-1]
    for ending in (".ome.tif", ".ome.tiff", ".ome.zarr"):
        if name.lower().endswith(ending):
            return name[: -len(ending)]
    return Path(name).stem


def _plain(image: str) -> str:
    """A path or URL without a query, a slash at its end, or backslashes."""
    return image.split("?")[0].rstrip("/\\").replace("\\", "/")
