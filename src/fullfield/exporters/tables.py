"""Writes objects as tables, CSV and Parquet, a batch at a time."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from fullfield.exporters.objects import Layer, Objects, columns
from fullfield.packages import import_packages


def write_csv(path: Path, layer: Layer, batches: Iterator[Objects]) -> int:
    """Writes a line an object, in UTF-8; empty where a number is missing. Returns their number."""
    count, head = 0, True
    with path.open("w", encoding="utf-8", newline="") as file:
        for objects in batches:
            count += _write_lines(file, columns(objects, layer, places=True), head=head)
            head = False
    return count


def _write_lines(file: TextIO, found: dict[str, Any], *, head: bool) -> int:
    writer = csv.writer(file, lineterminator="\n")
    if head:
        writer.writerow(found)
    texts = [_texts(values) for values in found.values()]
    writer.writerows(zip(*texts, strict=True))
    return len(texts[0])


def _texts(values: Any) -> list[Any]:
    """Values of a column as the shortest text that reads back equal in their own type."""
    if not isinstance(values, np.ndarray):
        return list(values)
    if values.dtype.kind != "f":
        return list(values.tolist())
    shown = values.astype(str).tolist()
    return ["" if text == "nan" else text for text in shown]


def write_parquet(path: Path, layer: Layer, batches: Iterator[Objects]) -> int:
    """Writes a row an object; null where a number is missing. Returns their number.

    Raises:
        ImageError: pyarrow is not installed.
    """
    arrow, parquet = arrow_or_error(layer.where, "table"), import_module("pyarrow.parquet")
    count, writer = 0, None
    try:
        for objects in batches:
            batch = record_batch(arrow, columns(objects, layer, places=True))
            writer = writer or parquet.ParquetWriter(path, batch.schema, compression="zstd")
            writer.write_batch(batch)
            count += batch.num_rows
    finally:
        if writer is not None:
            writer.close()
    return count


def record_batch(arrow: Any, found: dict[str, Any]) -> Any:
    """Columns as a batch of Arrow; NaN becomes null."""
    made = {
        name: arrow.array(values, from_pandas=True)
        if isinstance(values, np.ndarray)
        else arrow.array(values, arrow.string())
        for name, values in found.items()
    }
    return arrow.record_batch(made)


def arrow_or_error(where: str, extra: str) -> Any:
    """The package pyarrow.

    Raises:
        ImageError: it is not installed.
    """
    what = "it is written by the package pyarrow, which is not installed"
    return import_packages("pyarrow", extra=extra, where=where, what=what)[0]
