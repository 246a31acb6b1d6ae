"""How far a scan is: a bar on a terminal, lines of JSON for programs; on standard error, nowhere else."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from fullfield.engine.stream import Pace, Report

Progress = Callable[[int, int, int], None]
_EVERY_S = 0.5  # between two lines of JSON


@contextmanager
def progress_bar(what: str) -> Iterator[Progress | None]:
    """What to hand to ``scan`` as ``progress``: windows done, time left, megapixels a second; ``None`` in a pipe."""
    with _bar(what, "windows") as (bar, task):
        if bar is None:
            yield None
            return

        def report(done: int, total: int, pixels: int) -> None:
            seconds = bar.tasks[0].elapsed or 0.0
            rate = f"{pixels / seconds / 1e6:.3g} megapixels/s" if seconds > 0 else ""
            bar.update(task, completed=done, total=total, rate=rate)

        yield report


@contextmanager
def stream_progress(what: str, *, as_json: bool) -> Iterator[Report | None]:
    """What to hand to ``scan_to`` as ``progress``: blocks, speed, time left, what it waits for, peak memory.

    Args:
        what: the file.
        as_json: a line of JSON every half second and at the end, also in a pipe.
    """
    said = set[str]()

    def remark(pace: Pace) -> None:
        if pace.remark and not said:
            said.add(pace.remark)
            click.echo(pace.remark, err=True)

    if as_json:
        last: dict[str, Any] = {"at": 0.0, "pace": None}

        def line(pace: Pace) -> None:
            last["pace"] = pace
            if time.monotonic() - last["at"] >= _EVERY_S:
                last["at"] = time.monotonic()
                click.echo(json.dumps(facts(what, pace)), err=True)

        yield line
        if last["pace"] is not None:
            click.echo(json.dumps(facts(what, last["pace"])), err=True)
        return
    with _bar(what, "blocks") as (bar, task):
        if bar is None:
            yield remark
            return

        def report(pace: Pace) -> None:
            remark(pace)
            now = facts(what, pace)
            rate = f"{now['megapixels_per_s']:.3g} Mpx/s, {pace.bound}-bound, {now['peak_bytes'] / 1e6:.0f} MB"
            share = pace.windows / max(pace.planned, 1) * pace.total
            bar.update(task, completed=round(share, 2), total=pace.total, rate=rate)

        yield report


def facts(what: str, pace: Pace) -> dict[str, Any]:
    """The pace as plain JSON."""
    from fullfield.engine.heap import peak_bytes

    seconds = max(pace.elapsed_s, 1e-9)
    left = pace.planned - pace.windows
    return {
        "file": what,
        "blocks": pace.blocks,
        "blocks_total": pace.total,
        "windows": pace.windows,
        "windows_total": pace.planned,
        "windows_computed": pace.computed,
        "seconds": round(seconds, 3),
        "seconds_left": round(seconds * left / pace.windows, 1) if pace.windows else None,
        "megapixels_per_s": round(pace.pixels / 1e6 / seconds, 4),
        "bound": pace.bound,
        "remark": pace.remark,
        "reading_s": round(pace.reading_s, 3),
        "writing_s": round(pace.writing_s, 3),
        "peak_bytes": peak_bytes(),
    }


@contextmanager
def _bar(what: str, unit: str) -> Iterator[tuple[Any, Any]]:
    """A bar and its task; nothing but ``None`` in a pipe."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TaskProgressColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    console = Console(stderr=True)
    if not console.is_terminal:
        yield None, None
        return
    columns = (
        *(TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), MofNCompleteColumn()),
        *(TextColumn(unit + ", {task.fields[rate]}"), TextColumn("left"), TimeRemainingColumn()),
    )
    with Bar(*columns, console=console, transient=True) as bar:
        yield bar, bar.add_task(what, total=None, rate="")
