"""What of an output is done, written down beside it, so that a run that was cut off can go on.

A journal is a folder ``OUTPUT.journal``:

    job.json        what the output is made of: the model, the image, the settings
    0-of-1.jsonl    one line a finished block, by the process that wrote it
    0-of-1.lock     held by that process while it lives
    gate.lock       held for moments: while a process begins, and while one finishes the output

A block's files are forced to disk before its line is, so that a line says no more than what outlives a power loss.
"""

from __future__ import annotations

import json
import os
import shutil
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from filelock import FileLock, Timeout

from fullfield.errors import ResumeError

Job = Mapping[str, Any]
T = TypeVar("T")
_JOB, _GATE = "job.json", "gate.lock"
_RESTART = "pass --restart (restart=True) to begin anew"


@dataclass(eq=False)
class Journal:
    """The record of one output, open for one process of those that write it.

    Args:
        folder: where it lies.
        output: the output's folder.
        name: of the process: ``RANK-of-WORLD``.
        finished: blocks that are done, by whichever process, when this one began.
    """

    folder: Path
    output: Path
    name: str
    finished: frozenset[int]

    def record(self, block: int, files: Iterable[Path], counts: Mapping[str, int] | None = None) -> None:
        """Notes that a block is done; its files outlive a power loss from here on.

        Args:
            block: its index.
            files: what was written, in ``output``.
            counts: what happened in it, for ``counts``.
        """
        paths = list(files)
        for path in paths:
            sync(path)
        for folder in sorted({parent for p in paths for parent in _parents(p, self.output)}):
            sync(folder)
        sizes = {p.relative_to(self.output).as_posix(): p.stat().st_size for p in paths}
        self._append(json.dumps({"block": block, "files": sizes, "counts": dict(counts or {})}))

    def _append(self, text: str) -> None:
        line = f"\n{zlib.crc32(text.encode()):08x} {text}\n".encode()  # what a crash cut short before it ends here
        path = self.folder / f"{self.name}.jsonl"
        handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            os.write(handle, line)
            os.fsync(handle)
        finally:
            os.close(handle)

    def done(self) -> frozenset[int]:
        """Blocks that are done by now; those whose files are gone or cut are left out."""
        return frozenset(b for b, entry in self._entries().items() if _intact(self.output, entry["files"]))

    def counts(self) -> Counter[str]:
        """The sums of what was noted of all blocks."""
        total: Counter[str] = Counter()
        for entry in self._entries().values():
            total.update(entry["counts"])
        return total

    def _entries(self) -> dict[int, dict[str, Any]]:
        """The last entry of every block."""
        found: dict[int, dict[str, Any]] = {}
        for path in sorted(self.folder.glob("*.jsonl")):
            found.update((entry["block"], entry) for entry in _lines(path))
        return found

    @contextmanager
    def gate(self) -> Iterator[None]:
        """Keeps the other processes from beginning or finishing the output meanwhile."""
        with FileLock(self.folder / _GATE):
            yield

    def remove(self) -> None:
        """Takes the journal away: the output is finished."""
        (self.folder / _JOB).unlink(missing_ok=True)  # first: what is left of a journal without a job is no journal
        sync(self.folder)
        shutil.rmtree(self.folder, ignore_errors=True)


def journal_folder(output: Path) -> Path:
    """Where the journal of an output lies."""
    return output.with_name(output.name + ".journal")


@contextmanager
def open_journal(
    output: Path,
    job: Job,
    *,
    create: Callable[[], None],
    rank: int = 0,
    world: int = 1,
    restart: bool = False,
) -> Iterator[Journal]:
    """The journal of an output, made if there is none; while it is open no other process of this rank runs.

    Args:
        output: the output's folder.
        job: what the output is made of, as plain JSON; another one than it was begun with is refused.
        create: makes the output's folder anew, without blocks.
        rank, world: which of how many processes this is.
        restart: begin anew, whatever is there.

    Raises:
        ResumeError: another process writes this output, or it was begun with another job.
    """
    folder = journal_folder(output)
    folder.mkdir(exist_ok=True)
    sync(folder.parent)
    name = f"{rank}-of-{world}"
    with ExitStack() as held:
        with FileLock(folder / _GATE):
            held.enter_context(_alone(folder, output, name, world=world, restart=restart))
            begun = _read_job(folder)
            if restart or begun is None:
                _begin(folder, job, create)
            else:
                _compare(output, begun, _plain(job))
                if not output.exists():
                    create()
        journal = Journal(folder, output, name, frozenset())
        journal.finished = journal.done()
        yield journal


def _begin(folder: Path, job: Job, create: Callable[[], None]) -> None:
    """An empty journal, then an empty output, then the job: without it a journal counts as not begun."""
    (folder / _JOB).unlink(missing_ok=True)
    for path in folder.glob("*.jsonl"):
        path.unlink()
    create()
    temporary = folder / (_JOB + ".new")
    temporary.write_text(json.dumps(_plain(job), indent=1))
    sync(temporary)
    temporary.replace(folder / _JOB)
    sync(folder)


@contextmanager
def _alone(folder: Path, output: Path, name: str, *, world: int, restart: bool) -> Iterator[None]:
    """Holds this process's lock, if none holds it and none runs that would write the same blocks."""
    others = [p for p in folder.glob("*-of-*.lock") if p.stem != name]
    rivals = [p for p in others if restart or not p.stem.endswith(f"-of-{world}")]
    for path in rivals:
        _take(path, output, f"process {path.stem} of another run").release()
        path.unlink(missing_ok=True)
    lock = _take(folder / f"{name}.lock", output, "another process")
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


def _read_job(folder: Path) -> dict[str, Any] | None:
    path = folder / _JOB
    try:
        found = json.loads(path.read_text())
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise ResumeError(str(path), f"the journal cannot be read ({error})", fix=_RESTART) from error
    if not isinstance(found, dict):
        raise ResumeError(str(path), "is no journal", fix=_RESTART)
    return found


def _compare(output: Path, begun: dict[str, Any], job: dict[str, Any]) -> None:
    """Raises where a job is not the one that was begun, naming what differs."""
    changes = list(differences(begun, job))
    if not changes:
        return
    more = f" and {len(changes) - 3} more" if len(changes) > 3 else ""
    raise ResumeError(
        str(output),
        f"was begun with {'; '.join(f'{name} {old}, now it is {new}' for name, old, new in changes[:3])}{more}",
        fix=f"run the command that began it, or {_RESTART}",
    )


def differences(old: Any, new: Any, name: str = "") -> Iterator[tuple[str, str, str]]:
    """Where two JSON values differ: name, old and new value.

    Examples:
        >>> list(differences({"step": [4, 4], "model": "a"}, {"step": [8, 4], "model": "a"}))
        [('step', '[4, 4]', '[8, 4]')]
    """
    if isinstance(old, dict) and isinstance(new, dict):
        for key in dict.fromkeys([*old, *new]):
            yield from differences(old.get(key), new.get(key), f"{name}.{key}" if name else key)
    elif old != new:
        yield name, json.dumps(old), json.dumps(new)


def _plain(job: Job) -> dict[str, Any]:
    """The job as it comes back from JSON."""
    plain: dict[str, Any] = json.loads(json.dumps(dict(job)))
    return plain


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    """The entries of one process; a line that a crash cut short, or that is not whole, counts for nothing."""
    for line in path.read_bytes().split(b"\n"):
        check, _, text = line.partition(b" ")
        if len(check) == 8 and check == f"{zlib.crc32(text):08x}".encode():
            yield json.loads(text)


def _intact(output: Path, files: Mapping[str, int]) -> bool:
    """Whether all files of a block are there in their full size."""
    try:
        return all((output / name).stat().st_size == size for name, size in files.items())
    except OSError:
        return False


def _parents(path: Path, top: Path) -> list[Path]:
    """Folders from a file's up to ``top``."""
    folders = [p for p in path.parents if p == top or top in p.parents]
    return folders[::-1]


def sync(path: Path) -> None:
    """Forces a file or a folder's list of names to disk, where the system can."""
    if path.is_dir() and os.name == "nt":
        return
    handle = os.open(path, os.O_RDWR if os.name == "nt" else os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
