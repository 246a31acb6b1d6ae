"""Places for files of networks: free, and filled whole or not at all."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from fullfield.errors import ImageError


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
