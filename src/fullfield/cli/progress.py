"""Shows ``Progress`` on standard error: one bar on a terminal, lines of JSON for programs."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from fullfield.cli.echo import echo, echo_json
from fullfield.errors import printable

if TYPE_CHECKING:
    from fullfield.engine.progress import OnProgress, Progress
    from fullfield.model.model import Model

_EVERY_S = 0.5  # between two lines of JSON
_WAITS = {"reader": "waits for the image", "writer": "waits for the disk", "compute": "computing"}


@dataclass
class Display:
    """Shows the progress of one piece of work after another.

    Args:
        show: called with the number of the piece, its name and its progress.
        total: number of pieces.
    """

    show: Callable[[int, str, Progress], None]
    total: int = 1
    _number: int = 0
    _remarks: set[str] = field(default_factory=set)

    def of(self, path: str) -> OnProgress:
        """What is to be called with the progress of the work on the next file."""
        self._number += 1
        number, name = self._number, PurePath(path.rstrip("/")).name or path
        self._remarks.clear()

        def report(now: Progress) -> None:
            if now.remark and now.remark not in self._remarks:
                self._remarks.add(now.remark)
                echo(now.remark, err=True)
            self.show(number, name, now)

        return report

    def reading(self, load: Callable[[], Model]) -> Model:
        """What ``load`` returns; shows that the model is being read."""
        from fullfield.engine.progress import Progress

        self.show(self._number, "", Progress("reading the model"))
        return load()


@contextmanager
def show_progress(total: int = 1, *, as_json: bool = False) -> Iterator[Display]:
    """Shows progress until the block ends: on a terminal, and with ``as_json`` anywhere. Remarks are always shown.

    Args:
        total: number of images.
        as_json: write a line of JSON at every new stage, every half second and at the end, instead of a bar.
    """
    with (_json_lines if as_json else _bar)(total) as show:
        yield Display(show, total)


@contextmanager
def _json_lines(total: int) -> Iterator[Callable[[int, str, Progress], None]]:
    last: list[dict[str, Any]] = []
    shown = [("", 0.0)]

    def show(number: int, name: str, now: Progress) -> None:
        last[:] = [{"image": name, "number": number, "of": total} | facts(now)]
        stage = f"{number} {now.stage}"
        if stage != shown[0][0] or time.monotonic() - shown[0][1] >= _EVERY_S:
            shown[0] = stage, time.monotonic()
            echo_json(last.pop(), err=True)

    yield show
    for line in last:
        echo_json(line, err=True)


def facts(now: Progress) -> dict[str, Any]:
    """Progress as plain JSON."""
    from fullfield.engine.heap import peak_bytes

    return {
        "stage": now.stage,
        "done": now.done,
        "total": now.total or None,
        "unit": now.unit,
        "blocks": now.blocks,
        "blocks_total": now.blocks_total,
        "windows_computed": now.computed,
        "seconds": round(now.elapsed_s, 3),
        "seconds_left": None if now.left_s is None else round(now.left_s, 1),
        "megapixels_per_s": round(_rate(now), 4),
        "bound": now.bound if now.elapsed_s else None,
        "remark": now.remark,
        "reading_s": round(now.reading_s, 3),
        "writing_s": round(now.writing_s, 3),
        "peak_bytes": peak_bytes(),
    }


def _rate(now: Progress) -> float:
    """Megapixels a second."""
    return now.pixels / 1e6 / max(now.elapsed_s, 1e-9)


@contextmanager
def _bar(total: int) -> Iterator[Callable[[int, str, Progress], None]]:
    """A bar on a terminal; nothing in a pipe."""
    from rich.console import Console
    from rich.progress import BarColumn, TextColumn
    from rich.progress import Progress as Bar

    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda number, name, now: None
        return
    title, texts = (TextColumn(text, markup=False) for text in ("{task.description}", "{task.fields[facts]}"))
    columns = title, BarColumn(bar_width=20), texts
    with Bar(*columns, console=console, transient=True) as bar:
        task = bar.add_task("", total=None, facts="")
        shown = ""

        def show(number: int, name: str, now: Progress) -> None:
            nonlocal shown
            which = f"{number}/{total} {name}: " if number and total > 1 else f"{name}: " if name else ""
            heading, text = printable(f"{which}{now.stage}"), ", ".join(_texts(now))
            new, shown = heading != shown, heading  # a new stage is drawn at once, however short it is
            of = now.total or None
            bar.update(task, description=heading, completed=now.done, total=of, facts=text, refresh=new)

        yield show


def _texts(now: Progress) -> Iterator[str]:
    """What the bar says of the work: amount, time left, speed, what it waits for, and the most memory it took."""
    from fullfield.engine.heap import peak_bytes

    if now.total:
        yield f"{now.fraction:.0%} of {now.total:,} {now.unit}"
    if now.left_s is not None and now.done < now.total:
        yield f"{duration(now.left_s)} left"
    if now.pixels and now.elapsed_s > 0:
        yield f"{_rate(now):.3g} megapixels/s, {_WAITS[now.bound]}"
        yield f"{peak_bytes() / 1e6:,.0f} MB"


def duration(seconds: float) -> str:
    """A time in two digits and a fitting unit.

    Examples:
        >>> duration(0.123), duration(75), duration(5000), duration(1e6)
        ('0.12 s', '75 s', '83 min', '280 h')
    """
    for unit, size in (("s", 1), ("min", 60), ("h", 3600)):
        if seconds < 100 * size or unit == "h":
            break
    value = seconds / size
    digits = f"{float(f'{value:.2g}'):g}"
    return f"{digits} {unit}"
