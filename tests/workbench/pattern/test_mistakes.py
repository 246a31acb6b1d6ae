"""Patterns that cannot be built: the position, what was expected there, and the arithmetic."""

from __future__ import annotations

import contextlib
import importlib.util
import string
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fullfield import workbench
from fullfield.errors import BudgetError, CaptureError, FullfieldError, GeometryError, UnsupportedError

I = "INPUT(3x8x8) -> "  # as short as a table needs it

# pattern, kind, line, column, number of carets, message, fix
BROKEN: list[tuple[str, type[FullfieldError], int, int, int, str, str]] = [
    ("", CaptureError, 1, 1, 1, "is empty", "begin with INPUT"),
    ("CONV(3)", CaptureError, 1, 1, 4, "a pattern begins with INPUT", "INPUT(3x224x224)"),
    ("INPUT(3x8x8)", CaptureError, 1, 1, 12, "no layer follows INPUT", "FC(10)"),
    ("INPUT(8x8) -> RELU", CaptureError, 1, 1, 10, "INPUT takes three positive sizes", "channels, height, width"),
    ("INPUT(32x32x3) -> RELU", CaptureError, 1, 1, 14, "INPUT has its channels last", "INPUT(3x32x32)"),
    ("INPUT(3x0x8) -> RELU", CaptureError, 1, 1, 12, "INPUT takes three positive sizes", "channels, height, width"),
    ("INPUT(3x8x8)*2 -> RELU", CaptureError, 1, 1, 14, "INPUT occurs once", "begin with"),
    (f"{I}INPUT(3x8x8)", CaptureError, 1, 17, 5, "INPUT is not a layer", "once, at the beginning"),
    (f"{I}CONVV(4)", CaptureError, 1, 17, 5, "CONVV is not a layer", "did you mean CONV?"),
    (f"{I}XYZZY", CaptureError, 1, 17, 5, "XYZZY is not a layer", "use one of CONV, LOCAL, POOL"),
    (f"{I}CONV(4) RELU", CaptureError, 1, 25, 4, "expected the end of the pattern, '->', ", "join layers with ->"),
    (f"{I}CONV(4) => RELU", CaptureError, 1, 25, 1, "expected", "join layers with ->"),
    (f"{I}CONV(4) ->", CaptureError, 1, 27, 1, "the pattern ends, expected '[' or a layer", "finish"),
    (f"{I}\n[CONV(4)\n -> RELU", CaptureError, 3, 9, 1, "the pattern ends, expected '->' or ']'", "finish"),
    (f"{I}RELU]*2", CaptureError, 1, 21, 1, "expected the end of the pattern", "correct it there"),
    (f"{I}[]*2", CaptureError, 1, 18, 1, "expected '[' or a layer, not ']'", "correct"),
    (f"{I}CONV(4,,5)", CaptureError, 1, 24, 1, "expected a number, sizes such as 3x5 or a name", "correct"),
    (f"{I}CONV(4", CaptureError, 1, 23, 1, "the pattern ends, expected ')', '|' or ','", "finish"),
    (f"{I}... -> FC(2)", CaptureError, 1, 17, 1, "'.' has no meaning here; expected '[' or a layer", "write every"),
    (f"{I}RELU*2?", CaptureError, 1, 23, 1, "not '?'", "before the repeat"),
    (f"{I}[RELU]*1.5", CaptureError, 1, 17, 10, "*1.5 is not a number of rounds", "0, 1, 2"),
    (f"{I}[RELU]*-1", CaptureError, 1, 17, 9, "*-1 is not a number of rounds", "0, 1, 2"),
    (f"{I}CONV", CaptureError, 1, 17, 4, "CONV needs k", "CONV(k, f=3, s=1, p=(f-1)/2, d=1, g=1, bias=yes"),
    (f"{I}CONV(0)", CaptureError, 1, 22, 1, "k takes a positive whole number, not 0", "correct the value"),
    (f"{I}CONV(2.5)", CaptureError, 1, 22, 3, "k takes a positive whole number, not 2.5", "correct the value"),
    (f"{I}CONV(3x3)", CaptureError, 1, 22, 3, "k takes a positive whole number, not 3x3", "correct the value"),
    (f"{I}CONV(4, 3, s=0)", CaptureError, 1, 30, 1, "s takes one or two positive whole numbers", "correct"),
    (f"{I}CONV(4, 3x3x3)", CaptureError, 1, 25, 5, "f takes one or two positive", "correct"),
    (f"{I}CONV(4, p=-1)", CaptureError, 1, 27, 2, "p takes one or two whole numbers from 0 up", "correct"),
    (f"{I}CONV(4, strid=2)", CaptureError, 1, 25, 7, "CONV has no argument 'strid'", "did you mean stride?"),
    (f"{I}CONV(4, 3, f=5)", CaptureError, 1, 28, 3, "CONV has f twice", "give it once"),
    (f"{I}CONV(4, 3, k=5)", CaptureError, 1, 28, 3, "CONV has f twice", "give it once"),
    (f"{I}CONV(k=4, 3)", CaptureError, 1, 27, 1, "a value without a name after named ones", "write CONV("),
    (f"{I}CONV(4, bias=3)", CaptureError, 1, 30, 1, "bias takes yes or no, not 3", "correct"),
    (f"{I}CONV(4, round=ceil)", CaptureError, 1, 31, 4, "round takes floor or exact, not ceil", "correct"),
    (f"{I}DROPOUT(1.5)", CaptureError, 1, 25, 3, "p takes a number from 0 to 1, not 1.5", "correct"),
    (f"{I}RELU(3)", CaptureError, 1, 22, 1, "RELU takes no values without a name", "write RELU"),
    (f"{I}[CONV(4|5|6)]*2", CaptureError, 1, 23, 5, "3 values in turn, but the repeats here have 2 rounds, 2 in", ""),
    (f"{I}CONV(4|5)", CaptureError, 1, 22, 3, "2 values in turn, but nothing repeats here", "[CONV(64|128|256)]*3"),
    (f"{I}[POOL?(yes|no)]*3", CaptureError, 1, 18, 13, "2 values in turn, but the repeats here have 3", ""),
    (f"{I}[[RELU]*(1|2)]*3", CaptureError, 1, 18, 12, "2 values in turn, but the repeats here have 3", ""),
    (f"{I}[RELU]*99999", CaptureError, 1, 17, 12, "comes to more than 10000 layers", "less often"),
    (f"{I}{'[' * 33}RELU{']' * 33}", CaptureError, 1, 49, 1, "opens more than 32 brackets", "flatter"),
    (f"{I}RELU\n  -> POOL(3, s=2)", GeometryError, 2, 6, 4, "(8 - 3 + 2*0)/2 + 1 = 3.5, not a whole number", "round"),
    (f"{I}CONV(4, 4, s=3)", GeometryError, 1, 17, 4, "(8 - 4 + 2*0)/3 + 1 = 2.333, not a whole number", "pad with p=1"),
    (f"{I}CONV(4, 5, s=1, p=0, d=3)", GeometryError, 1, 17, 4, "kernel 5 (spans 13, dilated by 3), stride", "smaller"),
    (f"{I}POOL*4", GeometryError, 1, 17, 4, "POOL after 3x1x1: kernel 2, stride 2, padding 0 does not fit 1", "INPUT"),
    (f"{I}POOL(2, p=2)", GeometryError, 1, 17, 4, "padding 2 is more than half of the kernel 2", "pad by less"),
    (f"{I}CONV(4, g=2)", GeometryError, 1, 17, 4, "2 groups do not divide 3 -> 4 channels", "divisor"),
    (f"{I}FC(9) -> CONV(4)", GeometryError, 1, 26, 4, "CONV takes a map, but its input is a vector of 9", "before"),
    ("INPUT 3x8x8 -> FC(2)", CaptureError, 1, 7, 5, "'->', '(', '*' or '?', not '3x8x8'", "use ( )"),
    (f"{I}CONV[4]", CaptureError, 1, 21, 1, "not '['", "use ( ) for a layer's numbers and [ ] for a group"),
    (f"{I}CONV(1e99)", CaptureError, 1, 22, 4, "k takes a positive whole number, not 1e+99", "correct"),
    (f"{I}LRN(5, k=0)", GeometryError, 1, 17, 3, "LRN after 3x8x8: k 0 is not positive", "k=1"),
    (f"{I}CONV(4, table=x)", CaptureError, 1, 31, 1, "table takes full or lenet, not x", "correct"),
    (f"{I}CONV(4, fft=3)", CaptureError, 1, 29, 1, "fft takes yes, no or auto, not 3", "correct"),
    (f"{I}CONV(4, table=lenet)", GeometryError, 1, 17, 4, "table lenet connects 6 maps to 16, not 3 to 4", "leave out"),
    (f"{I}CONV(6) -> CONV(16, table=lenet, g=2)", GeometryError, 1, 28, 4, "table lenet together with 2 groups", "one"),
    (f"{I}LOCAL(4, fft=yes)", CaptureError, 1, 26, 7, "LOCAL has no argument 'fft'", "write LOCAL("),
    (f"{I}SUBSAMPLE(3)", GeometryError, 1, 17, 9, "(8 - 3 + 2*0)/3 + 1 = 2.667", "change the kernel"),
    (f"{I}RBF(3) -> SUBSAMPLE", GeometryError, 1, 27, 9, "SUBSAMPLE takes a map, but its input is", "before"),
    (f"{I}FC(9) -> FLATTEN", GeometryError, 1, 26, 7, "FLATTEN takes a map, but its input is a vector of 9", "before"),
]  # fmt: skip


@pytest.mark.parametrize("case", BROKEN, ids=range(len(BROKEN)))
def test_a_mistake_is_shown_where_it_is(case: tuple[Any, ...]) -> None:
    pattern, kind, line, column, carets, says, mend = case
    with pytest.raises(FullfieldError) as caught:
        workbench.build(pattern)
    error = caught.value
    assert type(error) is kind
    assert error.where == f"pattern, line {line}, column {column}"
    what, shown, marks = error.what.split("\n")
    assert says in what
    assert mend in error.fix
    assert shown == f"    {pattern.splitlines()[line - 1] if pattern else ''}"
    assert marks == " " * (4 + column - 1) + "^" * carets


def test_a_long_line_is_cut_round_the_place() -> None:
    pattern = I + " -> ".join(["RELU"] * 60 + ["OOPS"] + ["RELU"] * 60)
    with pytest.raises(CaptureError) as caught:
        workbench.build(pattern)
    _, shown, marks = caught.value.what.split("\n")
    assert len(shown) <= 4 + 100
    assert shown[marks.index("^") : marks.rindex("^") + 1] == "OOPS"
    assert caught.value.where == f"pattern, line 1, column {pattern.index('OOPS') + 1}"


@given(st.text(alphabet="INPUTCOVLRES(3x8)|[]*?->,=.# \n" + string.digits, max_size=60) | st.text(max_size=40))
def test_any_text_builds_or_is_one_clear_error(text: str) -> None:
    for pattern in (text, f"{I}{text}"):
        with contextlib.suppress(FullfieldError):
            workbench.build(pattern, budget="1MB")


def test_parameters_beyond_the_budget_are_refused_before_they_are_made() -> None:
    with pytest.raises(BudgetError, match=r"fc1: is the largest layer of a network with 4,608,002,248 bytes"):
        workbench.build("INPUT(3x800x800) -> CONV(4) -> FC(450)", budget="1GB")
    with pytest.raises(BudgetError, match="fc1"):
        workbench.build("INPUT(3x2000000000x2000000000) -> FC(2000000000)")


def test_what_is_no_text_is_refused() -> None:
    with pytest.raises(CaptureError, match="list is not text"):
        workbench.build(["INPUT"])  # type: ignore[arg-type]


def test_without_the_parser_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "lark" else find(name))
    with pytest.raises(UnsupportedError, match=r"pip install 'fullfield\[pattern\]'"):
        workbench.build("LeNet-5")
