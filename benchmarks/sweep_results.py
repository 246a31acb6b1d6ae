"""The results of a sweep: one line a model in a file of comma-separated values, and a table of them."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from benchmarks.sweep_networks import family

_NOTE = 200  # characters


@dataclass(frozen=True)
class Result:
    """What a sweep found of one model.

    Args:
        name: of the model.
        verdict: ``passed``, or ``wrong`` (scores), ``counted`` (exact; multiply-adds differ), ``refused``, ``failed``
            (another error), ``late``, ``large``, ``crashed``.
        parameters: how many; ``None`` where the model was not built, or in results of an earlier form.
        exact: largest error over the spread of the scores; ``None`` where it was not measured, or was not kept.
        context: the same of ``context``; ``None`` also where the model is refused there.
        seconds: of the processor.
        limit: seconds that were allowed, of a model that took longer.
        note: the reason of a verdict.
    """

    name: str
    verdict: str
    parameters: int | None = None
    exact: float | None = None
    context: float | None = None
    seconds: int | None = None
    limit: int | None = None
    note: str = ""


_NUMBERS = {"parameters": int, "exact": float, "context": float, "seconds": int, "limit": int}
_COLUMNS = [field.name for field in fields(Result)]


def read_results(file: Path) -> dict[str, Result]:
    """The last result of each model."""
    if not file.exists():
        return {}
    with file.open(newline="") as stream:
        rows = [
            {key: _NUMBERS.get(key, str)(value) for key, value in row.items() if value}
            for row in csv.DictReader(stream)
        ]
    return {row["name"]: Result(**row) for row in rows}  # type: ignore[index,arg-type]


def append_result(file: Path, result: Result) -> None:
    """Adds a line to the file, which is made with its titles where it does not exist."""
    new = not file.exists()
    row = asdict(result) | {"note": " ".join(result.note.split())[:_NOTE]}
    for key in ("exact", "context"):
        row[key] = None if row[key] is None else f"{row[key]:.1e}"
    with file.open("a", newline="") as stream:
        writer = csv.DictWriter(stream, _COLUMNS, lineterminator="\n")
        if new:
            writer.writeheader()
        writer.writerow(row)


def write_results(file: Path, results: Iterable[Result]) -> None:
    """Writes one line a model, by name."""
    file.unlink(missing_ok=True)
    for result in sorted(results, key=lambda result: result.name):
        append_result(file, result)


def table(found: dict[str, Result], names: Iterable[str]) -> str:
    """Results by module of the library, and by name the models that did not pass and those that were not tried."""
    families: dict[str, list[str]] = {}
    for name in sorted(names):
        families.setdefault(family(name), []).append(name)
    rows = [
        "| module | models | tried | pass | measured | also in `context` | largest error | in `context` | s a model |",
        "|---|--:|--:|--:|--:|--:|--:|--:|--:|",
    ]
    every = [name for each in families.values() for name in each]
    for title, each in [*sorted(families.items()), ("all", every)]:
        results = [found[name] for name in each if name in found]
        rows += _row(title, len(each), [result for result in results if result.verdict != "large"])
    results = [found[name] for name in every if name in found]
    failed = [f"- {r.name}, {r.verdict}: {r.note}" for r in results if r.verdict not in ("large", "passed")]
    large = [result.name for result in results if result.verdict == "large"]
    late = [name for name in every if name not in found]
    named = [f"{title}: {', '.join(each) or 'none'}." for title, each in (("Too large", large), ("Not tried", late))]
    return "\n".join([*rows, "", "Did not pass:", "", *(failed or ["none"]), "", named[0], "", named[1]])


def _row(title: str, models: int, tried: list[Result]) -> list[str]:
    """The line of a module; none where none of its models was tried."""
    if not tried:
        return []
    passed = [result for result in tried if result.verdict == "passed"]
    exact = [result.exact for result in passed if result.exact is not None]
    context = [result.context for result in passed if result.context is not None]
    seconds = [result.seconds for result in tried if result.seconds is not None]
    mean = f"{sum(seconds) / len(seconds):.0f}" if seconds else ""
    counts = f"{models} | {len(tried)} | {len(passed)} | {len(exact)} | {len(context)}"
    return [f"| {title} | {counts} | {_largest(exact)} | {_largest(context)} | {mean} |"]


def _largest(errors: list[float]) -> str:
    return f"{max(errors):.0e}" if errors else ""
