"""The record of how a scan computes, and the mode as users write it."""

import pytest

from fullfield import ArgumentError, BudgetError, GeometryError
from fullfield.planning import CONTEXT, EXACT, Borders
from fullfield.planning.compute import Compute
from fullfield.planning.mode import mode_text, parse_mode


def test_a_record_shows_what_was_given() -> None:
    assert repr(Compute()) == "Compute()"
    assert repr(Compute(budget="2GB", tile=4, world=2, rank=1)) == "Compute(budget='2GB', tile=(4, 4), rank=1, world=2)"
    assert Compute(tile=(2, 3)).tile_shape == (2, 3)
    assert Compute().tile_shape is None
    assert Compute(budget="1MB").budget_bytes == 1_000_000
    assert Compute(tile=3).to_dict()["tile"] == (3, 3)


@pytest.mark.parametrize(
    ("given", "kind", "text"),
    [
        ({"budget": "much"}, BudgetError, "is no size"),
        ({"tile": 0}, GeometryError, "positive integers"),
        ({"method": "fast"}, GeometryError, "'fast' is not known"),
        ({"rank": 2, "world": 2}, GeometryError, "2 is not one of 2 processes"),
        ({"rank": 0, "world": 0}, GeometryError, "use 0 to 0"),
        ({"budjet": 1}, ArgumentError, "did you mean budget"),
    ],
)
def test_what_cannot_be_is_refused_at_once(given: dict[str, object], kind: type[Exception], text: str) -> None:
    with pytest.raises(kind, match=text):
        Compute(**given)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("mode", "borders", "text"),
    [
        ("exact", EXACT, "exact"),
        ("context", CONTEXT, "context"),
        (0, CONTEXT, "context"),
        (2, Borders(2), "2"),
        ((2, 14), Borders(2, 14), "2,14"),
        ((0, 7), Borders(0, 7), "0,7"),
    ],
)
def test_a_mode_is_a_word_or_a_number_of_cells(mode: object, borders: Borders, text: str) -> None:
    assert parse_mode(mode) == borders  # type: ignore[arg-type]
    assert mode_text(borders) == text


@pytest.mark.parametrize("mode", ["Exact", "", -1, (1, 2, 3), 1.5, None, True])
def test_other_modes_are_refused(mode: object) -> None:
    with pytest.raises(GeometryError, match=r"mode: .*\n  fix: use \"exact\""):
        parse_mode(mode)  # type: ignore[arg-type]


@pytest.mark.parametrize("threads", [0, 1.5, True])
def test_threads_are_a_number_of_them(threads: object) -> None:
    with pytest.raises(GeometryError, match=rf"threads: {threads!r} is not a number of threads\n  fix: use 1 or more"):
        Compute(threads=threads)  # type: ignore[arg-type]
