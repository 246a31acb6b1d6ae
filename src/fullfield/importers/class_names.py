"""Reads class names from a text file."""

from __future__ import annotations

from pathlib import Path

from fullfield.errors import CaptureError

_LARGEST_FILE_BYTES = 2**24


def read_class_names(path: str | Path) -> tuple[str, ...]:
    """One class name a line; blank lines at the end are ignored.

    Raises:
        CaptureError: the file cannot be read, is not UTF-8 text, is empty, or has a blank line between names.
    """
    file = Path(path)
    fix = "give a UTF-8 text file with one class name a line"
    try:
        if file.exists() and not file.is_file():
            raise CaptureError(str(file), "is not a regular file", fix=fix)
        if file.stat().st_size > _LARGEST_FILE_BYTES:
            raise CaptureError(str(file), f"has {file.stat().st_size} bytes, too many for class names", fix=fix)
        names = [line.strip() for line in file.read_text(encoding="utf-8-sig").splitlines()]
    except OSError as error:
        raise CaptureError(str(file), f"cannot be read ({error.strerror})", fix=fix) from error
    except UnicodeDecodeError as error:
        raise CaptureError(str(file), "is not UTF-8 text", fix=fix) from error
    while names and not names[-1]:
        names.pop()
    if not names or "" in names:
        where = f"line {names.index('') + 1} is blank" if names else "is empty"
        raise CaptureError(str(file), where, fix=fix)
    return tuple(names)
