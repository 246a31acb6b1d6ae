"""File locks of an output: each process writes its own share of it, and one at a time starts or completes it.

The system releases the locks of a process that dies, so that a killed process blocks no other.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from fullfield.errors import ResumeError

_COMMIT = "gate.lock"


@contextmanager
def commit_lock(folder: Path) -> Iterator[None]:
    """Holds the lock under which an output is started or completed; waits for it.

    Args:
        folder: of the output's journal; created again if the process that completed the output removed it.
    """
    lock = FileLock(folder / _COMMIT)
    while True:
        folder.mkdir(exist_ok=True)
        try:
            lock.acquire()
        except FileNotFoundError:  # the folder was removed after mkdir
            continue
        if (folder / _COMMIT).exists():
            break
        lock.release()  # the locked file was removed: other processes lock a new one
    try:
        yield
    finally:
        lock.release()


@contextmanager
def rank_lock(folder: Path, output: Path, *, rank: int, world: int, exclusive: bool) -> Iterator[None]:
    """Holds the lock of process ``rank`` of ``world``, unless another process writes the same blocks.

    To be called under the commit lock.

    Args:
        folder: of the output's journal.
        output: named in the error.
        exclusive: also refuse if any other process of the same ``world`` is running.

    Raises:
        ResumeError: another process is running.
    """
    name = f"{rank}-of-{world}.lock"
    for path in folder.glob("*-of-*.lock"):
        if path.name != name and (exclusive or not path.stem.endswith(f"-of-{world}")):
            _acquire(path, output, f"process {path.stem} of another run").release()
            path.unlink(missing_ok=True)
    lock = _acquire(folder / name, output, "another process")
    try:
        yield
    finally:
        lock.release()


def _acquire(path: Path, output: Path, holder: str) -> FileLock:
    lock = FileLock(path, timeout=0)
    try:
        lock.acquire()
    except Timeout as error:
        raise ResumeError(
            str(output), f"{holder} writes it now", fix="wait for it, stop it, or write to another place"
        ) from error
    return lock
