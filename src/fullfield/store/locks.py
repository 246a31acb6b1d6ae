"""Who may write an output: one process for each share of it, and one at a time that begins or finishes it.

The system lets go of a process's locks when it dies, so that what a killed one leaves blocks nobody.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from fullfield.errors import ResumeError

_GATE = "gate.lock"


@contextmanager
def gate(folder: Path) -> Iterator[None]:
    """Keeps other processes from beginning or finishing an output meanwhile.

    Args:
        folder: of the output's journal; made anew if who finished the output took it away.
    """
    lock = FileLock(folder / _GATE)
    while True:
        folder.mkdir(exist_ok=True)
        try:
            lock.acquire()
        except FileNotFoundError:  # it was taken away since
            continue
        if (folder / _GATE).exists():
            break
        lock.release()  # the file that was waited for is no longer the one that others see
    try:
        yield
    finally:
        lock.release()


@contextmanager
def alone(folder: Path, output: Path, *, rank: int, world: int, every: bool) -> Iterator[None]:
    """Holds the lock of one of ``world`` processes, if no other process writes the same blocks; within the gate.

    Args:
        folder: of the output's journal.
        output: for the error.
        every: whether no other process at all may run.

    Raises:
        ResumeError: one does.
    """
    name = f"{rank}-of-{world}.lock"
    for path in folder.glob("*-of-*.lock"):
        if path.name != name and (every or not path.stem.endswith(f"-of-{world}")):
            _take(path, output, f"process {path.stem} of another run").release()
            path.unlink(missing_ok=True)
    lock = _take(folder / name, output, "another process")
    try:
        yield
    finally:
        lock.release()


def _take(path: Path, output: Path, who: str) -> FileLock:
    lock = FileLock(path, timeout=0)
    try:
        lock.acquire()
    except Timeout as error:
        raise ResumeError(
            str(output), f"{who} writes it now", fix="wait for it, stop it, or write to another place"
        ) from error
    return lock
