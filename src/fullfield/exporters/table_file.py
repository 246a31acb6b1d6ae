"""Tables of texts and numbers as files: CSV, and Parquet by pyarrow."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fullfield.errors import ImageError
from fullfield.files import TABLES, replacing
from fullfield.packages import import_packages

TableCell = str | int | float | None
TableRow = Mapping[str, TableCell]


def write_table(
    rows: Sequence[TableRow], path: Path, *, columns: Sequence[str] = (), numbers: Sequence[str] = ()
) -> None:
    """Writes a table whole or not at all; an earlier one is replaced.

    Args:
        rows: cells by column; one that is missing or ``None`` is empty.
        path: the suffix selects the format.
        columns: the first ones, in this order; others follow in the order in which the rows have them.
        numbers: columns of numbers, should all their cells be empty.

    Raises:
        ImageError: no space, no right to write, or pyarrow is not installed.
    """
    names = list(dict.fromkeys([*columns, *(name for row in rows for name in row)]))
    needed = sum(len(str(cell)) + 1 for row in rows for cell in row.values())
    check_table(path)
    with replacing(path, overwrite=True, needed_bytes=needed) as place:
        if path.suffix.lower() == ".parquet":
            _write_parquet(rows, names, numbers, place)
            return
        with place.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, names, restval="", lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)


def read_table(path: Path) -> list[dict[str, TableCell]]:
    """The rows of a table; empty cells are ``None``, all others of a CSV are texts.

    Raises:
        ImageError: it cannot be read, or pyarrow is not installed.
    """
    check_table(path)
    try:
        if path.suffix.lower() == ".parquet":
            found: list[dict[str, TableCell]] = _parquet().read_table(path).to_pylist()
            return found
        with path.open(newline="", encoding="utf-8") as file:
            return [{name: cell or None for name, cell in row.items()} for row in csv.DictReader(file, restkey="")]
    except (OSError, ValueError, csv.Error) as error:  # pyarrow's errors are ValueError or OSError
        raise ImageError(str(path), f"is no table that can be read ({error})", fix="choose another name") from error


def check_table(path: Path) -> None:
    """Passes if a suffix names a format that can be written.

    Raises:
        ImageError: it does not, or pyarrow is not installed.
    """
    if path.suffix.lower() not in TABLES:
        known = ", ".join(TABLES)
        raise ImageError(str(path), f"the suffix {path.suffix!r} names no table", fix=f"use one of {known}")
    if path.suffix.lower() == ".parquet":
        _parquet()


def _write_parquet(rows: Sequence[TableRow], names: Sequence[str], numbers: Sequence[str], path: Path) -> None:
    import pyarrow as pa  # type: ignore[import-untyped]

    cells = {name: [row.get(name) for row in rows] for name in names}
    columns = {name: pa.array(column, _type(column, name in numbers, pa)) for name, column in cells.items()}
    _parquet().write_table(pa.table(columns), path)


def _type(cells: Sequence[TableCell], number: bool, pa: Any) -> Any:
    """Numbers where all that is there are numbers, else texts."""
    known = [cell for cell in cells if cell is not None]
    if any(isinstance(cell, str) for cell in known) or not (known or number):
        return pa.string()
    return pa.int64() if known and all(isinstance(cell, int) for cell in known) else pa.float64()


def _parquet() -> Any:
    return import_packages("pyarrow.parquet", extra="table", where="Parquet")[0]
