"""What of an output is done, written down beside it, so that a run that was cut off can go on.

A journal is a folder ``OUTPUT.journal``:

    job.json        what the output is made of: the model, the image, the settings
    0-of-1.jsonl    one line a finished block, by the process that wrote it
    0-of-1.lock     held by that process while it lives
    gate.lock       held for moments: while a process begins, and while one finishes the output

A block's files are forced to disk before its line is, so that a line says no more than what outlives a power loss.
Without ``job.json`` nothing has begun, whatever else lies there.
"""

from __future__ import annotations

import json
import os
import shutil
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fullfield.errors import ResumeError
from fullfield.files import sync
from fullfield.store.locks import alone, gate

Job = Mapping[str, Any]
_JOB = "job.json"
_RESTART = "pass --restart (restart=True) to begin anew"


@dataclass(frozen=True)
class Begin:
    """How an output is begun.

    Args:
        job: what it is made of, as plain JSON; another one than it was begun with is refused.
        create: puts a new output without blocks at its place, whole or not at all, forced to disk.
        finished: whether the output is there and complete, so that there is nothing to begin.
        rank, world: which of how many processes this is.
        restart: begin anew, whatever is there.
    """

    job: Job
    create: Callable[[], None]
    finished: Callable[[], bool] = lambda: False
    rank: int = 0
    world: int = 1
    restart: bool = False


@dataclass(frozen=True, eq=False)
class Journal:
    """The record of one output, open for one process of those that write it.

    Args:
        folder: where it lies.
        output: the output's folder.
        name: of the process: ``RANK-of-WORLD``.
        finished: blocks that were done, by whichever process, when this one began.
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
        for folder in sorted({parent for p in paths for parent in _parents(p, self.output)}, reverse=True):
            sync(folder)
        sizes = {p.relative_to(self.output).as_posix(): p.stat().st_size for p in paths}
        self._append(json.dumps({"block": block, "files": sizes, "counts": dict(counts or {})}))

    def _append(self, text: str) -> None:
        line = f"\n{zlib.crc32(text.encode()):08x} {text}\n".encode()  # what a crash cut short before it ends here
        handle = os.open(self.folder / f"{self.name}.jsonl", os.O_WRONLY | os.O_APPEND)
        try:
            while line:
                line = line[os.write(handle, line) :]
            os.fsync(handle)
        finally:
            os.close(handle)

    def done(self) -> frozenset[int]:
        """Blocks that are done by now; those whose files are gone or cut are left out."""
        return _done(self.folder, self.output)

    def counts(self) -> Counter[str]:
        """The sums of what was noted of all blocks."""
        total: Counter[str] = Counter()
        for entry in _entries(self.folder).values():
            total.update(entry["counts"])
        return total

    def gate(self) -> AbstractContextManager[None]:
        """Keeps the other processes from beginning or finishing the output meanwhile."""
        return gate(self.folder)

    def lives(self) -> bool:
        """Whether no process has finished the output yet; within the gate, where what it left is taken away."""
        if (self.folder / _JOB).exists():
            return True
        shutil.rmtree(self.folder, ignore_errors=True)
        return False

    def remove(self) -> None:
        """Takes the journal away: the output is finished."""
        _take_away(self.folder)


def journal_folder(output: Path) -> Path:
    """Where the journal of an output lies."""
    return output.with_name(output.name + ".journal")


def has_begun(output: Path) -> bool:
    """Whether an output was begun, and not finished."""
    return (journal_folder(output) / _JOB).exists()


@contextmanager
def open_journal(output: Path, begin: Begin) -> Iterator[Journal | None]:
    """The journal of an output, made if there is none; while it is open no other process of this rank runs.

    Yields ``None`` where the output is finished.

    Raises:
        ResumeError: another process writes this output, or it was begun with another job.
        OSError: no space, no right.
    """
    folder = journal_folder(output)
    fresh = not folder.exists()
    with ExitStack() as held:
        with gate(folder):
            try:
                journal = _opened(folder, output, begin, held)
            except BaseException:
                if (fresh or not output.exists()) and not has_begun(output):
                    _take_away(folder)
                raise
        yield journal


def _opened(folder: Path, output: Path, begin: Begin, held: ExitStack) -> Journal | None:
    """The journal, begun or gone on with; its lock is ``held``. Within the gate."""
    sync(folder.parent)
    if not begin.restart and begin.finished():
        _take_away(folder)
        return None
    held.enter_context(alone(folder, output, rank=begin.rank, world=begin.world, every=begin.restart))
    begun = None if begin.restart else _read_job(folder)
    if begun is None:
        _begin(folder, begin)
    else:
        _compare(output, begun, _plain(begin.job))
        if not output.exists():
            begin.create()
    name = f"{begin.rank}-of-{begin.world}"
    (folder / f"{name}.jsonl").touch()
    sync(folder)
    return Journal(folder, output, name, _done(folder, output))


def _begin(folder: Path, begin: Begin) -> None:
    """An empty journal, then an empty output, then the job."""
    (folder / _JOB).unlink(missing_ok=True)
    sync(folder)
    for path in folder.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        elif path.suffix != ".lock":
            path.unlink()
    begin.create()
    temporary = folder / (_JOB + ".new")
    temporary.write_text(json.dumps(_plain(begin.job), indent=1))
    sync(temporary)
    temporary.replace(folder / _JOB)
    sync(folder)


def _take_away(folder: Path) -> None:
    """Removes a journal; what a crash leaves of it has no job, and counts for nothing."""
    (folder / _JOB).unlink(missing_ok=True)
    sync(folder)
    shutil.rmtree(folder, ignore_errors=True)


def _read_job(folder: Path) -> dict[str, Any] | None:
    path = folder / _JOB
    try:
        found = json.loads(path.read_text())
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise ResumeError(str(path), f"the journal cannot be read ({error})", fix=_RESTART) from error
    if not isinstance(found, dict):
        raise ResumeError(str(path), f"is no journal: it holds a {type(found).__name__}, not a job", fix=_RESTART)
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


def _done(folder: Path, output: Path) -> frozenset[int]:
    return frozenset(b for b, entry in _entries(folder).items() if _intact(output, entry["files"]))


def _entries(folder: Path) -> dict[int, dict[str, Any]]:
    """The last entry of every block."""
    found: dict[int, dict[str, Any]] = {}
    for path in sorted(folder.glob("*.jsonl")):
        found.update((entry["block"], entry) for entry in _lines(path))
    return found


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
    return [p for p in path.parents if p == top or top in p.parents]
