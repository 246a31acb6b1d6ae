"""Reads lists of images: a text file with a path a line, or a table with a column ``image``."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from fullfield.errors import ImageError
from fullfield.image.blob import is_url
from fullfield.image.listed import ListedImage
from fullfield.image.selection import Selection

LIST_SUFFIXES = (".txt", ".csv")
_SIZES = ("mpp", "pixel_size")
_KNOWN = ("image", "mask", *_SIZES)
_DELIMITERS = ",;\t"


def read_list(path: Path, selection: Selection) -> list[ListedImage]:
    """The images of a list, in its order; relative paths start at the list's folder.

    A ``.txt`` has a path or URL a line; empty lines and those that start with ``#`` are skipped. A ``.csv`` has a line
    of column names, separated by commas, semicolons or tabs: ``image``, and if wanted ``mpp`` or ``pixel_size``
    (micrometres per pixel of that image's finest level) and ``mask``. Its other columns become ``facts``.

    Args:
        path: of the list.
        selection: the part of every image.

    Raises:
        ImageError: the list cannot be read, has no images, or an entry means nothing; the text names its line.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ImageError(str(path), "is not a text in UTF-8", fix="save the list as UTF-8") from error
    except OSError as error:
        raise ImageError(str(path), f"cannot be read ({error.strerror})", fix="check the path") from error
    found = list(_rows(text, path, selection) if path.suffix.lower() == ".csv" else _lines(text, path, selection))
    if not found:
        raise ImageError(str(path), "the list is empty", fix="write the path of an image on each line")
    return found


def _lines(text: str, path: Path, selection: Selection) -> Iterator[ListedImage]:
    for line in map(str.strip, text.splitlines()):
        if line and not line.startswith("#"):
            yield ListedImage(_from(path, line), selection)


def _rows(text: str, path: Path, selection: Selection) -> Iterator[ListedImage]:
    first = text.split("\n", 1)[0]
    reader = csv.reader(io.StringIO(text), delimiter=max(_DELIMITERS, key=first.count), strict=True)
    try:
        names = _names(next(reader, []), path)
        for row in reader:
            cells = [cell.strip() for cell in row]
            if any(cells):
                yield _listed(
                    dict(zip(names, cells, strict=False)), len(cells) - len(names), path, reader.line_num, selection
                )
    except csv.Error as error:
        raise ImageError(f"{path}, line {reader.line_num}", f"is no row of a table ({error})", fix="mend it") from error


def _names(header: list[str], path: Path) -> list[str]:
    """The names of the columns; those that mean something in lower case."""
    names = [low if (low := name.strip().lower()) in _KNOWN else name.strip() for name in header]
    if "image" not in names:
        what = f"has no column image: it has {', '.join(names) or 'none'}"
        raise ImageError(str(path), what, fix="name the column of the paths image")
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice or all(size in names for size in _SIZES):
        which = ", ".join(twice or _SIZES)
        raise ImageError(str(path), f"several columns say the same: {which}", fix="keep one of them")
    return names


def _listed(row: dict[str, str], more: int, path: Path, line: int, selection: Selection) -> ListedImage:
    where = f"{path}, line {line}"
    if more > 0:
        raise ImageError(where, f"has {more} cells more than columns", fix="put a cell with a separator in quotes")
    if not row["image"]:
        raise ImageError(where, "names no image", fix="write a path in the column image, or remove the line")
    size = next((row[name] for name in _SIZES if row.get(name)), "")
    mask = row.get("mask", "")
    return ListedImage(
        _from(path, row["image"]),
        replace(selection, pixel_size=_number(size, where)) if size else selection,
        _from(path, mask) if mask else None,
        facts=tuple((name, text) for name, text in row.items() if name not in _KNOWN),
    )


def _number(text: str, where: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0 < number < float("inf"):
        raise ImageError(where, f"{text!r} is no pixel size", fix="give micrometres per pixel, such as 0.25")
    return number


def _from(path: Path, entry: str) -> str:
    """An entry's path: relative ones start at the list's folder."""
    return entry if is_url(entry) else str(path.parent / entry)
