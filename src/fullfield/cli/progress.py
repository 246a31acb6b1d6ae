"""Shows ``Progress`` on standard error: a bar on a terminal, and one of all images; lines of JSON for programs."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from fullfield.cli.batch_clock import BatchClock, end_text
from fullfield.cli.echo import echo, echo_json
from fullfield.errors import printable

if TYPE_CHECKING:
    from fullfield.engine.progress import OnProgress, Progress
    from fullfield.model.model import Model

_EVERY_S = 0.5  # between two lines of JSON
_WAITS = {"reader": "waits for the image", "writer": "waits for the disk", "compute": "computing"}


@dataclass(frozen=True)
class Shown:
    """The progress of one piece of work, and of all of them.

    Args:
        name: of the file.
        now: its progress.
        number, total: which piece it is of how many; the number is 0 before the first.
        fraction: share of all that is done, 0 to 1.
        left_s: estimated time that all the rest takes; ``None`` where it is one piece, or before anything is done.
    """

    name: str
    now: Progress
    number: int
    total: int
    fraction: float = 0.0
    left_s: float | None = None


@dataclass
class Display:
    """Shows the progress of one piece of work after another.

    Args:
        show: called with all progress.
        clock: of the images.
    """

    show: Callable[[Shown], None]
    clock: BatchClock
    _remarks: set[str] = field(default_factory=set)

    @property
    def total(self) -> int:
        """Number of images."""
        return len(self.clock.paths)

    def of(self, path: str) -> OnProgress:
        """What is to be called with the progress of the work on the next file."""
        number = self.clock.start(path, time.monotonic())
        name = PurePath(path.rstrip("/")).name or path
        self._remarks.clear()
        part = 0.0

        def report(now: Progress) -> None:
            nonlocal part
            if now.remark and now.remark not in self._remarks:
                self._remarks.add(now.remark)
                echo(now.remark, err=True)
            part = max(part, now.fraction if now.stage == "scanning" else 0.0)
            left_s = self.clock.left_s(part, time.monotonic()) if self.total > 1 else None
            self.show(Shown(name, now, number, self.total, self.clock.fraction(part), left_s))

        return report

    def reading(self, load: Callable[[], Model]) -> Model:
        """What ``load`` returns; shows that the model is being read."""
        from fullfield.engine.progress import Progress

        self.show(Shown("", Progress("reading the model"), self.clock.number, self.total))
        return load()


@contextmanager
def show_progress(images: Sequence[str] = ("",), *, as_json: bool = False) -> Iterator[Display]:
    """Shows progress until the block ends: on a terminal, and with ``as_json`` anywhere. Remarks are always shown.

    Args:
        images: their paths.
        as_json: write a line of JSON at every new stage, every half second and at the end, instead of a bar.
    """
    with _json_lines() if as_json else _bar(len(images)) as show:
        yield Display(show, BatchClock.of(images))


@contextmanager
def _json_lines() -> Iterator[Callable[[Shown], None]]:
    last: list[dict[str, Any]] = []
    written = [("", 0.0)]

    def show(shown: Shown) -> None:
        place = {"image": shown.name, "number": shown.number, "of": shown.total}
        last[:] = [place | facts(shown.now) | _batch_facts(shown)]
        stage = f"{shown.number} {shown.now.stage}"
        if stage != written[0][0] or time.monotonic() - written[0][1] >= _EVERY_S:
            written[0] = stage, time.monotonic()
            echo_json(last.pop(), err=True)

    yield show
    for line in last:
        echo_json(line, err=True)


def _batch_facts(shown: Shown) -> dict[str, Any]:
    """How far several images are; nothing of a single one."""
    if shown.total == 1:
        return {}
    left = None if shown.left_s is None else round(shown.left_s, 1)
    return {"batch_fraction": round(shown.fraction, 4), "batch_seconds_left": left}


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
def _bar(total: int) -> Iterator[Callable[[Shown], None]]:
    """A bar on a terminal, and one of all images where there are several; nothing in a pipe."""
    if not sys.stderr.isatty():
        yield lambda shown: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, TextColumn
    from rich.progress import Progress as Bar

    title, texts = (TextColumn(text, markup=False) for text in ("{task.description}", "{task.fields[facts]}"))
    columns = title, BarColumn(bar_width=20), texts
    with Bar(*columns, console=Console(stderr=True), transient=True) as bar:
        every = bar.add_task(f"{total} images", total=1.0, facts="") if total > 1 else None
        task = bar.add_task("", total=None, facts="")
        last = ""

        def show(shown: Shown) -> None:
            nonlocal last
            now = shown.now
            heading, text = printable(f"{_title(shown)}{now.stage}"), ", ".join(_texts(now))
            new, last = heading != last, heading  # a new stage is drawn at once, however short it is
            if every is not None:
                bar.update(every, completed=shown.fraction, facts=_end(shown))
            bar.update(task, description=heading, completed=now.done, total=now.total or None, facts=text, refresh=new)

        yield show


def _title(shown: Shown) -> str:
    """Which image it is, for the stage to follow."""
    if shown.number and shown.total > 1:
        return f"{shown.number}/{shown.total} {shown.name}: "
    return f"{shown.name}: " if shown.name else ""


def _end(shown: Shown) -> str:
    """When all images are finished."""
    if shown.left_s is None:
        return f"{shown.fraction:.0%}"
    return f"{shown.fraction:.0%}, {duration(shown.left_s)} left, ends at {end_text(shown.left_s)}"


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
