"""Reads tables of labels: points, or the classes of whole images."""

from __future__ import annotations

import csv
import io
import os
from pathlib import Path

from fullfield.decisions.evaluation.labels import Labels
from fullfield.errors import ImageError, first_line
from fullfield.image.checks import check_file

LABEL_FORMS = "give points or polygons as GeoJSON, points as CSV (y, x, class), or a raster of class indices"


def is_table(path: Path) -> bool:
    """Whether a file is a table, by its name."""
    return path.suffix.lower() in (".csv", ".tsv", ".txt")


def read_label_table(path: Path) -> list[dict[str, str]]:
    """The rows of a CSV file with a header; its separator is a comma, semicolon or tab. Names are in lower case.

    Raises:
        ImageError: it is no text, or holds no row.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ImageError(str(path), f"cannot be read as a table ({first_line(error)})", fix=LABEL_FORMS) from error
    head = text.split("\n", 1)[0]
    rows = csv.DictReader(io.StringIO(text), delimiter=max(",;\t", key=head.count), skipinitialspace=True)
    try:
        found = [{(k or "").strip().lower(): (v or "").strip() for k, v in row.items() if k} for row in rows]
    except csv.Error as error:
        raise ImageError(str(path), f"cannot be read as a table ({first_line(error)})", fix=LABEL_FORMS) from error
    if not found:
        raise ImageError(str(path), "holds no labels", fix="write a header (y,x,class), and a line for each label")
    return found


def columns_of(rows: list[dict[str, str]], names: tuple[str, ...], path: Path) -> list[list[str]]:
    """The columns of a table by name.

    Raises:
        ImageError: one is missing.
    """
    missing = [name for name in names if name not in rows[0]]
    if missing:
        raise ImageError(
            str(path),
            f"has no column {missing[0]}; its columns are {', '.join(map(repr, rows[0]))}",
            fix=f"name the columns {', '.join(names)} in the first line",
        )
    return [[row.get(name, "") for row in rows] for name in names]


def names_images(labels: Labels) -> bool:
    """Whether labels are a table of whole images: it has a column ``image``, and none ``y`` or ``x``."""
    if not isinstance(labels.source, (str, os.PathLike)) or not is_table(Path(labels.source)):
        return False
    check_file(Path(labels.source))
    columns = read_label_table(Path(labels.source))[0].keys()
    return "image" in columns and not {"y", "x"} & columns
