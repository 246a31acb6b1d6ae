"""Locks of an output: each process writes its own share of it, and one at a time starts or completes it.

A killed process blocks no other: the system releases its locks. Where a disk has none, see ``file_locks``.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from fullfield.errors import ResumeError
from fullfield.file_locks import SOFT, LockedError, file_lock

_COMMIT = "gate.lock"
_TRIES = 100  # as many processes may complete the output while this one waits
_FIX = "wait for it, stop it, or write to another place"


@contextmanager
def commit_lock(folder: Path, output: Path) -> Iterator[None]:
    """Holds the lock under which an output is started or completed; waits for it.

    Args:
        folder: of the output's journal; created again if the process that completed the output removed it.
        output: named in the error.

    Raises:
        ResumeError: another process has held the lock file for ten minutes, on a disk without locks.
    """
    with ExitStack() as held:
        _wait(folder, output, held)
        yield


def _wait(folder: Path, output: Path, held: ExitStack) -> None:
    """Adds the lock under which an output is started or completed to ``held``."""
    for _ in range(_TRIES):
        folder.mkdir(exist_ok=True)
        with ExitStack() as tried:
            try:
                file = tried.enter_context(file_lock(folder / _COMMIT, wait=True))
            except LockedError as error:
                what = f"another process starts or completes it: {error.holder}"
                raise ResumeError(str(output), what, fix=_FIX) from error
            except FileNotFoundError:
                if folder.exists():
                    raise
                continue
            if file.exists():
                held.push(tried.pop_all())
                return
            # The file was removed with the folder: other processes lock a new one.
    raise ResumeError(str(output), "its journal is removed again and again", fix=_FIX)


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
    own = f"{rank}-of-{world}.lock"
    for name in sorted({path.name.removesuffix(SOFT) for path in folder.glob("*-of-*.lock*")}):
        if name != own and (exclusive or not name.endswith(f"-of-{world}.lock")):
            with _held(folder / name, output, f"process {Path(name).stem} of another run") as file:
                file.unlink(missing_ok=True)
    with _held(folder / own, output, "another process"):
        yield


@contextmanager
def _held(path: Path, output: Path, who: str) -> Iterator[Path]:
    """Holds a lock that no other process may have."""
    with ExitStack() as held:
        try:
            file = held.enter_context(file_lock(path))
        except LockedError as error:
            named = f" ({error.holder})" if error.holder else ""
            raise ResumeError(str(output), f"{who} writes it now{named}", fix=_FIX) from error
        yield file
