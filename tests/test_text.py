"""Text of reports: aligned columns, shortened names and counts."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from fullfield.text import (
    closest,
    did_you_mean,
    html_text,
    list_text,
    record_text,
    short_count,
    shortened,
    size_text,
    table_lines,
)

ROWS = [("layer", "type", "MACs"), ("conv1", "conv", "9"), ("fc", "", "1,000")]


def test_columns_are_as_wide_as_their_longest_text_and_numbers_are_to_the_right() -> None:
    assert table_lines(ROWS, left=2) == [
        "layer  type   MACs",
        "------------------",
        "conv1  conv      9",
        "fc           1,000",
    ]


def test_the_last_row_may_hold_totals() -> None:
    head, rule, first, second, total = table_lines(ROWS, left=2, gap=" ", totals=True)
    assert (rule, second) == ("-" * len(head), rule)
    assert (first, total) == ("conv1 conv     9", "fc         1,000")


def test_no_line_ends_with_blanks() -> None:
    assert table_lines([("layer", "fits"), ("relu", "")], left=1)[-1] == "relu"


@pytest.mark.parametrize(
    ("width", "front", "text"), [(8, False, "features"), (4, False, "fea…"), (4, True, "…res"), (8, True, "features")]
)
def test_a_long_text_is_cut_on_one_side(width: int, front: bool, text: str) -> None:
    assert shortened("features", width, front=front) == text


@pytest.mark.parametrize(("number", "text"), [(0, "0"), (999, "999"), (999.6, "1.00 k"), (5e18, "5000 P")])
def test_counts_are_short(number: float, text: str) -> None:
    assert short_count(number) == text


def test_a_record_shows_what_is_not_its_default() -> None:
    @dataclass(frozen=True, repr=False)
    class Options:
        tile: int = 0
        names: tuple[str, ...] = ()

    assert record_text(Options()) == "Options()"
    assert record_text(Options(names=("a",))) == "Options(names=('a',))"


def test_html_shows_lines_as_they_are() -> None:
    assert html_text("a < b\n  c") == "<pre>a &lt; b\n  c</pre>"


def test_a_long_list_says_how_many_items_are_left_out() -> None:
    assert list_text(["a", "b", "c"], 3) == "a, b, c"
    assert list_text(["a", "b", "c", "d"], 3, "; ") == "a; b; c and 1 more"
    assert list_text([], 3) == ""


def test_sizes_are_joined_by_an_x() -> None:
    assert (size_text([3, 224, 224]), size_text(())) == ("3x224x224", "")


def test_the_most_similar_name_is_suggested_if_there_is_one() -> None:
    known = ("step", "mode", "model")
    assert closest("modes", known) == "mode"
    assert closest("q", known) is None
    assert did_you_mean("stp", known, "see --help") == "did you mean step?"
    assert did_you_mean("q", known, "see --help") == "see --help"
