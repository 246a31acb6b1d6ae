"""The progress bar: on a terminal, on standard error, nowhere else."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

Progress = Callable[[int, int, int], None]


@contextmanager
def progress_bar(what: str) -> Iterator[Progress | None]:
    """What to hand to ``scan`` as ``progress``: windows done, time left, megapixels a second; ``None`` in a pipe."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TaskProgressColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    console = Console(stderr=True)
    if not console.is_terminal:
        yield None
        return
    columns = (
        *(TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), MofNCompleteColumn()),
        *(TextColumn("windows, {task.fields[rate]}"), TextColumn("left"), TimeRemainingColumn()),
    )
    with Bar(*columns, console=console, transient=True) as bar:
        task = bar.add_task(what, total=None, rate="")

        def report(done: int, total: int, pixels: int) -> None:
            seconds = bar.tasks[0].elapsed or 0.0
            rate = f"{pixels / seconds / 1e6:.3g} megapixels/s" if seconds > 0 else ""
            bar.update(task, completed=done, total=total, rate=rate)

        yield report
