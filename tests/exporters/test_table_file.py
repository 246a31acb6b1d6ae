"""Tables as CSV and Parquet, read back by the libraries that people use."""

import csv
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from fullfield.errors import ImageError
from fullfield.exporters.table_file import read_table, write_table

ROWS = [
    {"image": 'a, "b".svs', "windows": 3, "share": 0.5, "note": "line\nbreak"},
    {"image": "ä.svs", "windows": 4, "share": None, "more": "x"},
]


def test_a_csv_has_all_columns_of_all_rows(tmp_path: Path) -> None:
    write_table(ROWS, tmp_path / "a.csv", columns=("image", "error"))
    with (tmp_path / "a.csv").open(newline="", encoding="utf-8") as file:
        found = list(csv.DictReader(file))
    assert list(found[0]) == ["image", "error", "windows", "share", "note", "more"]
    assert found[0] | {"more": ""} == found[0]
    assert (found[0]["image"], found[0]["share"], found[0]["note"]) == ('a, "b".svs', "0.5", "line\nbreak")
    assert read_table(tmp_path / "a.csv")[1] == {
        "image": "ä.svs", "error": None, "windows": "4", "share": None, "note": None, "more": "x",
    }  # fmt: skip


def test_a_parquet_keeps_numbers(tmp_path: Path) -> None:
    write_table(ROWS, tmp_path / "a.parquet", columns=("image", "error", "seconds"), numbers=("seconds",))
    schema = pq.read_schema(tmp_path / "a.parquet")
    types = {name: str(schema.field(name).type) for name in schema.names}
    assert types == {
        "image": "string", "error": "string", "seconds": "double", "windows": "int64", "share": "double",
        "note": "string", "more": "string",
    }  # fmt: skip
    assert read_table(tmp_path / "a.parquet")[0]["windows"] == 3
    assert read_table(tmp_path / "a.parquet")[1]["share"] is None


def test_a_table_replaces_the_earlier_one(tmp_path: Path) -> None:
    for rows in (ROWS, ROWS[:1]):
        write_table(rows, tmp_path / "a.csv")
    assert len(read_table(tmp_path / "a.csv")) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["a.csv"]


def test_an_unknown_suffix_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"the suffix '.xlsx' names no table\n  fix: use one of .csv, .parquet"):
        write_table(ROWS, tmp_path / "a.xlsx")


def test_what_is_no_table_is_one_error(tmp_path: Path) -> None:
    (tmp_path / "a.parquet").write_bytes(b"nothing")
    (tmp_path / "a.csv").write_bytes(b"\xff\xfe\x00")
    for name in ("a.parquet", "a.csv", "none.csv"):
        with pytest.raises(ImageError, match="is no table that can be read"):
            read_table(tmp_path / name)


def test_parquet_names_its_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    for name in ("pyarrow", "pyarrow.parquet"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ImageError, match=r"needs the package pyarrow\n  fix: pip install 'fullfield\[table\]'"):
        write_table(ROWS, tmp_path / "a.parquet")
    write_table(ROWS, tmp_path / "a.csv")
