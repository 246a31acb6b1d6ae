"""Arguments as users write them, and the suggestions for unknown ones."""

import inspect
from dataclasses import dataclass

import numpy as np
import pytest

from fullfield import ArgumentError, BudgetError, GeometryError
from fullfield.arguments import checks_fields, checks_keywords, parse_bytes, parse_pair, parse_record, suggestion

SCAN = ["model", "image", "step", "mode", "scale", "where", "output", "encoding", "compute", "existing", "verify"]


@pytest.mark.parametrize(
    ("name", "fix"),
    [
        ("stride", "write step=32: px between neighbouring windows"),
        ("overlap", "write step=: px between neighbouring windows, the window's size minus the overlap"),
        ("batch_size", "write compute=Compute(tile=(8, 8)): windows computed together; the plan chooses it by itself"),
        ("region", "write where=Where(region=...)"),
        ("dtype", "write encoding=Encoding(dtype=...)"),
        ("budget", "write compute=Compute(budget=...)"),
        ("border", "write mode=2, or mode=(2, 14)"),
        ("stepp", "did you mean step?"),
        ("zzz", f"use one of {', '.join(SCAN)}"),
    ],
)
def test_an_unknown_argument_gets_the_one_that_was_meant(name: str, fix: str) -> None:
    assert suggestion(name, SCAN) == fix


def test_a_suggestion_names_no_argument_that_is_not_there() -> None:
    assert suggestion("stride", ["path"]) == "use one of path"
    assert suggestion("region", ["path"]) == "use one of path"


def test_a_function_refuses_unknown_keywords_and_keeps_its_signature() -> None:
    @checks_keywords
    def scan(image: int, *, step: int = 1) -> int:
        """Scans."""
        return image * step

    assert scan(3, step=2) == 6
    assert list(inspect.signature(scan).parameters) == ["image", "step"]
    assert inspect.getdoc(scan) == "Scans."
    with pytest.raises(ArgumentError, match=r"scan: has no argument 'stride'\n  fix: write step=32"):
        scan(3, stride=2)  # type: ignore[call-arg]
    with pytest.raises(TypeError):
        scan(3, stride=2)  # type: ignore[call-arg]


def test_a_record_refuses_unknown_fields() -> None:
    @checks_fields
    @dataclass(frozen=True)
    class Compute:
        budget: int = 0

    assert Compute(1) == Compute(budget=1)
    with pytest.raises(ArgumentError, match="did you mean budget"):
        Compute(budgett=1)  # type: ignore[call-arg]


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("2GB", 2_000_000_000),
        ("1.5 g", 1_500_000_000),
        ("512MiB", 1 << 29),
        (4096, 4096),
        ("64k", 64_000),
        ("7b", 7),
        (None, None),
    ],
)
def test_sizes_are_decimal_or_binary(text: str | int | None, size: int | None) -> None:
    assert parse_bytes(text) == size


@pytest.mark.parametrize("text", ["", "GB", "2 iB", "1iB", "-1", "0", "0.1", "2 EB", "2GBs", 0, -5, "2 parsecs"])
def test_what_is_no_size_is_refused(text: str | int) -> None:
    with pytest.raises(BudgetError, match="is no size in bytes"):
        parse_bytes(text)


def test_a_pair_is_one_or_two_whole_numbers() -> None:
    assert parse_pair("step", np.int64(4), fix="") == (4, 4)
    assert parse_pair("step", [4, 8], fix="") == (4, 8)
    assert parse_pair("mode", 2, least=0, second=0, fix="") == (2, 0)


@pytest.mark.parametrize("value", [0, True, 1.0, "4", (1,), (1, 2, 3), (1, 0), None])
def test_other_values_are_no_pair(value: object) -> None:
    with pytest.raises(GeometryError, match="is not one or two positive integers"):
        parse_pair("step", value, fix="use 1 or more")


def test_the_least_of_a_pair_is_said() -> None:
    with pytest.raises(GeometryError, match="is not one or two integers from 0 up"):
        parse_pair("mode", -1, least=0, fix="use 0 or more")


@pytest.mark.parametrize(
    "error",
    [
        MemoryError("Unable to allocate 5.2 GiB for an array"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory: you tried to"),
        RuntimeError("can't start new thread"),
        ImportError("libtorch_cpu.so: failed to map segment from shared object"),
        OSError(12, "Cannot allocate memory"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_system_without_memory_is_one_clear_error(error: Exception) -> None:
    @checks_keywords
    def verb() -> None:
        raise error

    with pytest.raises(BudgetError, match=r"memory: the system gave no more \((.|\n)*fix: lower the budget"):
        verb()


def test_other_errors_of_a_verb_stay_what_they_are() -> None:
    @checks_keywords
    def verb() -> None:
        raise RuntimeError("something else")

    with pytest.raises(RuntimeError, match="something else"):
        verb()


def test_a_record_is_taken_and_any_other_value_refused() -> None:
    @dataclass(frozen=True)
    class Options:
        size: int = 0

    given = Options(size=3)
    assert parse_record("options", given, Options) is given
    assert parse_record("options", None, Options) == Options()
    with pytest.raises(ArgumentError, match=r"options: 'large' is no Options\n  fix: write options=Options\(...\)"):
        parse_record("options", "large", Options)  # type: ignore[arg-type]
