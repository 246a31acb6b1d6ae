"""Opens files of results, and refuses what is no regular file: reading a pipe or a device may never end."""

from __future__ import annotations

import stat
from pathlib import Path
from typing import BinaryIO


def open_regular(path: Path) -> BinaryIO:
    """The file, opened to read bytes.

    Raises:
        OSError: it does not exist, is not a regular file, or cannot be opened.
    """
    check_regular(path)
    return path.open("rb")


def read_regular(path: Path) -> bytes:
    """The file's content.

    Raises:
        OSError: as ``open_regular``.
    """
    with open_regular(path) as file:
        return file.read()


def check_regular(path: Path) -> None:
    """Raises an OSError unless a path is a regular file, or a link to one."""
    if not stat.S_ISREG(path.stat().st_mode):
        raise OSError(f"{path.name} is not a regular file")
