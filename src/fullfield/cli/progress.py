"""Shows progress on standard error: a bar on a terminal, lines of JSON for programs."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from fullfield.engine.progress import OnProgress, Progress

_EVERY_S = 0.5  # between two lines of JSON


@contextmanager
def progress_bar(what: str, *, as_json: bool = False) -> Iterator[OnProgress]:
    """A callback that shows progress on standard error: a bar on a terminal, nothing in a pipe; remarks in both.

    Args:
        what: the file or the verb.
        as_json: write a line of JSON every half second and at the end instead, also in a pipe.
    """
    if as_json:
        last: dict[str, Any] = {"at": 0.0, "progress": None}

        def line(now: Progress) -> None:
            last["progress"] = now
            if time.monotonic() - last["at"] >= _EVERY_S:
                last["at"] = time.monotonic()
                click.echo(json.dumps(facts(what, now)), err=True)

        yield line
        if last["progress"] is not None:
            click.echo(json.dumps(facts(what, last["progress"])), err=True)
        return
    said = set[str]()
    with _bar(what) as (bar, task):

        def report(now: Progress) -> None:
            if now.remark and now.remark not in said:
                said.add(now.remark)
                click.echo(now.remark, err=True)
            if bar is not None:
                bar.update(task, completed=now.done, total=now.total or None, unit=now.unit, rate=_rate(now))

        yield report


def _rate(now: Progress) -> str:
    """Speed, limiting factor and peak memory of a scan; empty for other work."""
    from fullfield.engine.heap import peak_bytes

    if not now.pixels or now.elapsed_s <= 0:
        return ""
    return f"{now.pixels / now.elapsed_s / 1e6:.3g} Mpx/s, {now.bound}-bound, {peak_bytes() / 1e6:.0f} MB"


def facts(what: str, now: Progress) -> dict[str, Any]:
    """Progress as plain JSON."""
    from fullfield.engine.heap import peak_bytes

    return {
        "file": what,
        "stage": now.stage,
        "blocks": now.blocks,
        "blocks_total": now.blocks_total,
        now.unit: now.done,
        f"{now.unit}_total": now.total,
        "windows_computed": now.computed,
        "seconds": round(now.elapsed_s, 3),
        "seconds_left": None if now.left_s is None else round(now.left_s, 1),
        "megapixels_per_s": round(now.pixels / 1e6 / max(now.elapsed_s, 1e-9), 4),
        "bound": now.bound,
        "remark": now.remark,
        "reading_s": round(now.reading_s, 3),
        "writing_s": round(now.writing_s, 3),
        "peak_bytes": peak_bytes(),
    }


@contextmanager
def _bar(what: str) -> Iterator[tuple[Any, Any]]:
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
        *(
            TextColumn("{task.fields[unit]}"),
            TextColumn("{task.fields[rate]}"),
            TextColumn("left"),
            TimeRemainingColumn(),
        ),
    )
    with Bar(*columns, console=console, transient=True) as bar:
        yield bar, bar.add_task(what, total=None, unit="", rate="")
