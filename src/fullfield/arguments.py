"""Parses arguments as users write them, and refuses unknown ones with a suggestion. Imports no torch."""

from __future__ import annotations

import difflib
import functools
import inspect
import re
from collections.abc import Callable, Iterable
from numbers import Integral
from typing import Any, TypeVar, overload

from fullfield.errors import ArgumentError, BudgetError, FullfieldError, GeometryError, out_of_memory
from fullfield.text import closest, did_you_mean

F = TypeVar("F", bound=Callable[..., Any])
T = TypeVar("T")

_DECIMAL = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
_BINARY = {"K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}

_TILE = "compute=Compute(tile=(8, 8)): windows computed together; the plan chooses it by itself"
# What other libraries call an argument -> the argument that it is here, and what to write.
_ELSEWHERE = {
    "stride": ("step", "step=32: px between neighbouring windows"),
    "overlap": ("step", "step=: px between neighbouring windows, the window's size minus the overlap"),
    "batch_size": ("compute", _TILE),
    "sw_batch_size": ("compute", _TILE),
    "roi_size": ("model", "the model's own window: load(source, window=224)"),
    "patch_size": ("model", "the model's own window: load(source, window=224)"),
    "window": ("model", "the model's own window: load(source, window=224)"),
    "border": ("mode", "mode=2, or mode=(2, 14)"),
    "padding": ("where", 'where=Where(edge="reflect")'),
    "keep": ("encoding", "encoding=Encoding(...)"),
    "out": ("output", 'output="map.zarr"'),
    "overwrite": ("existing", 'existing="overwrite"'),
    "restart": ("existing", 'existing="restart"'),
    "resume": ("existing", 'existing="resume", the default'),
    "resolution": ("image", "open(path, mpp=0.5)"),
    "mpp": ("image", "open(path, mpp=0.5)"),
    "level": ("image", "open(path, level=1)"),
}
# Fields of the records that verbs take: their argument, and the record's name.
_RECORDS = {
    "where": ("Where", ("region", "mask", "coordinates", "skip_background", "min_coverage", "edge", "clip")),
    "encoding": ("Encoding", ("classes", "labels", "activation", "dtype", "range")),
    "compute": ("Compute", ("budget", "tile", "method", "device", "rank", "world")),
}
# What other programs call an option -> the option that it is here, and what to write.
_OPTIONS_ELSEWHERE = {
    "stride": ("--step", "--step 32: px between neighbouring windows"),
    "overlap": ("--step", "--step: px between neighbouring windows, the window's size minus the overlap"),
    "batch-size": ("--tile", "--tile 8,8: windows computed together; the plan chooses it by itself"),
    "sw-batch-size": ("--tile", "--tile 8,8: windows computed together; the plan chooses it by itself"),
    "roi-size": ("--window", "--window 224, where the model does not say its own"),
    "patch-size": ("--window", "--window 224, where the model does not say its own"),
    "border": ("--mode", "--mode 2, or --mode 2,14"),
    "padding": ("--edge", "--edge reflect"),
    "argmax": ("--labels", "--labels"),
    "keep": ("--classes", "--classes, --labels, --activation, --dtype or --range"),
    "out": ("--output", "-o map.zarr"),
    "resume": ("--output", "nothing: the same command resumes an unfinished result"),
    "resolution": ("--mpp", "--mpp 0.5"),
    "memory": ("--budget", "--budget 2GB"),
    "geometry": ("--rows", "--rows points, or regions"),
    "gpu": ("--device", "--device cuda:0"),
    "cuda": ("--device", "--device cuda:0"),
    "output-name": ("--score", "--score NAME"),
}


def option_suggestion(name: str, known: list[str]) -> str:
    """What to write instead of an unknown option of the command line.

    Args:
        name: the unknown one.
        known: the command's options.

    Examples:
        >>> option_suggestion("--batch_size", ["--step", "--tile"])
        'write --tile 8,8: windows computed together; the plan chooses it by itself'
        >>> option_suggestion("--mod", ["--mode", "--step"])
        'did you mean --mode?'
    """
    option, text = _OPTIONS_ELSEWHERE.get(name.lstrip("-").replace("_", "-"), (None, ""))
    if option in known:
        return f"write {text}"
    words = {option.lstrip("-"): option for option in known}  # two dashes alone make no option like another
    near = closest(name.lstrip("-"), words)
    return f"did you mean {words[near]}?" if near is not None else "see --help-all for all options"


def nearest(name: str, known: Iterable[str], count: int = 3) -> list[str]:
    """Those of the known names that are most like an unknown one, in letters of any case, or contain it.

    Examples:
        >>> nearest("layer5", ["layer3", "layer4", "avgpool", "fc"])
        ['layer4', 'layer3']
    """
    folded = {each.casefold(): each for each in known}
    wanted = name.casefold()
    near = [folded[each] for each in difflib.get_close_matches(wanted, folded, n=count, cutoff=0.5)]
    inside = [text for each, text in folded.items() if len(wanted) > 1 and wanted in each and text not in near]
    return near + inside[:count]


def check_choice(name: str, value: object, known: Iterable[str], error: type[FullfieldError] = GeometryError) -> None:
    """Passes if an argument is one of the known words.

    Raises:
        FullfieldError: it is not, as ``error``.

    Examples:
        >>> check_choice("order", "zyx", ("cyx", "yxc"))
        Traceback (most recent call last):
        ...
        fullfield.errors.GeometryError: order: 'zyx' is not known
          fix: use one of cyx, yxc
    """
    words = list(known)
    if value not in words:
        raise error(name, f"{value!r} is not known", fix=f"use one of {', '.join(words)}")


def checks_keywords(function: F) -> F:
    """A function that refuses a keyword which it does not take and names the one that was probably meant.

    Where the system gives no more memory, its error is a ``BudgetError``.

    Examples:
        >>> scan = checks_keywords(lambda image, *, step=1: step)
        >>> scan(0, stride=2)
        Traceback (most recent call last):
        ...
        fullfield.errors.ArgumentError: <lambda>: has no argument 'stride'
          fix: write step=32: px between neighbouring windows
    """
    known = [name for name in inspect.signature(function).parameters if name != "self"]

    @functools.wraps(function)
    def checked(*args: Any, **given: Any) -> Any:
        for name in given:
            if name not in known:
                raise unknown_keyword(function.__name__, name, known)
        try:
            return function(*args, **given)
        except (MemoryError, RuntimeError, ImportError, OSError) as error:
            if (told := out_of_memory(error)) is None:
                raise
            raise told from error

    return checked  # type: ignore[return-value]


def checks_fields(record: type[T]) -> type[T]:
    """A dataclass that refuses a field which it does not have and names the one that was probably meant."""
    create = record.__init__
    known = [name for name in inspect.signature(create).parameters if name != "self"]

    @functools.wraps(create)
    def checked(self: T, *args: Any, **given: Any) -> None:
        for name in given:
            if name not in known:
                raise unknown_keyword(record.__name__, name, known)
        create(self, *args, **given)

    record.__init__ = checked  # type: ignore[assignment]
    return record


def parse_record(name: str, value: T | None, record: type[T]) -> T:
    """The record given for an argument; the one of all defaults where none is.

    Raises:
        ArgumentError: something else is given.

    Examples:
        >>> parse_record("encoding", "uint8", dict)
        Traceback (most recent call last):
        ...
        fullfield.errors.ArgumentError: encoding: 'uint8' is no dict
          fix: write encoding=dict(...)
    """
    if value is None:
        return record()
    if not isinstance(value, record):
        kind = record.__name__
        raise ArgumentError(name, f"{value!r:.60} is no {kind}", fix=f"write {name}={kind}(...)")
    return value


def unknown_keyword(function: str, name: str, known: list[str]) -> ArgumentError:
    """The error for a keyword that a function does not take."""
    return ArgumentError(function, f"has no argument {name!r}", fix=suggestion(name, known))


def suggestion(name: str, known: list[str]) -> str:
    """What to write instead of an unknown argument.

    Args:
        name: the unknown one.
        known: those that there are.
    """
    argument, text = _ELSEWHERE.get(name, (None, ""))
    if argument in known:
        return f"write {text}"
    for argument, (record, fields) in _RECORDS.items():
        if argument in known and name in fields:
            return f"write {argument}={record}({name}=...)"
    return did_you_mean(name, known, f"use one of {', '.join(known)}")


@overload
def parse_bytes(size: str | int) -> int: ...
@overload
def parse_bytes(size: None) -> None: ...
@overload
def parse_bytes(size: str | int | None) -> int | None: ...
def parse_bytes(size: str | int | None) -> int | None:
    """Bytes from a size as people write it: ``"2GB"`` (decimal), ``"512MiB"`` (binary), ``"1.5 G"``, ``4096``.

    ``None``, no size, stays ``None``.

    Raises:
        BudgetError: it is no size, or not positive.

    Examples:
        >>> parse_bytes("2GB"), parse_bytes("512MiB"), parse_bytes(4096)
        (2000000000, 536870912, 4096)
    """
    if size is None:
        return None
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(?:([kmgt]?)(i?)b?)\s*", str(size), re.IGNORECASE)
    letter, binary = (found[2].upper(), bool(found[3])) if found else ("", False)
    number = int(float(found[1]) * (_BINARY if binary else _DECIMAL)[letter]) if found and (letter or not binary) else 0
    if number < 1:
        raise BudgetError("budget", f"{size!r} is no size in bytes", fix="write 2GB, 512MiB or a number of bytes")
    return number


def parse_pair(
    name: str,
    value: object,
    *,
    least: int = 1,
    fix: str = "pass 3 or (3, 5), say",
    second: object = None,
    error: type[FullfieldError] = GeometryError,
) -> tuple[int, int]:
    """Two integers, y before x, from one or two.

    Args:
        name: of the argument, for the error.
        value: one integer or two.
        least: the least that each may be.
        fix: what to write instead.
        second: the second integer where one is given; by default the same.
        error: the type of error to raise.

    Raises:
        error: not one or two integers of at least ``least``.

    Examples:
        >>> parse_pair("step", 32, fix="use 1 or more"), parse_pair("step", (32, 16), fix="use 1 or more")
        ((32, 32), (32, 16))
    """
    pair = tuple(value) if isinstance(value, (tuple, list)) else (value, value if second is None else second)
    whole = [int(n) for n in pair if isinstance(n, Integral) and not isinstance(n, bool) and int(n) >= least]
    if len(pair) != 2 or len(whole) != 2:
        kind = "positive integers" if least == 1 else f"integers from {least} up"
        raise error(name, f"{value!r} is not one or two {kind}", fix=fix)
    return whole[0], whole[1]
