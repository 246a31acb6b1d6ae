"""Records the finished blocks of an output, so that an interrupted run can be resumed.

A journal is a folder ``OUTPUT.journal``:

    job.json        what determines the output: the model, the image, the settings
    0-of-1.jsonl    one line for each finished block, appended by the process that wrote the block
    0-of-1.lock     locked while that process runs
    gate.lock       locked while a process starts or completes the output
    result.zarr     the output, while a finished one that it will replace is at its path

A block's files are synced to disk before its line is appended, so that what a line says survives a power loss.
An output without ``job.json`` was not started, whatever else the folder contains.
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
from fullfield.store.locks import commit_lock, rank_lock
from fullfield.store.regular_files import read_regular
from fullfield.text import list_text

Job = Mapping[str, Any]
_JOB = "job.json"
RESTART = 'pass --restart (existing="restart") to start again'


@dataclass(frozen=True)
class Begin:
    """How to start or resume an output.

    Args:
        job: what determines the output, as plain JSON; an output that was started with another job is refused, unless
            it has no finished block.
        create: creates an output without blocks, atomically and synced to disk.
        finished: whether the output exists and is complete, so that nothing is left to do.
        rank, world: this is process ``rank`` of ``world``.
        restart: discard what exists and start again.
        overwrite: the same, unless the same job has begun to replace a finished output.
        finish: completes the replacement of an output by an earlier run; whether there was one to complete.
        intact: whether a file of a block that an earlier run recorded is as it was written; one that is not is lost.
    """

    job: Job
    create: Callable[[], None]
    finished: Callable[[], bool] = lambda: False
    rank: int = 0
    world: int = 1
    restart: bool = False
    overwrite: bool = False
    finish: Callable[[], bool] = lambda: False
    intact: Callable[[int, Path], bool] = lambda block, file: True


@dataclass(frozen=True, eq=False)
class Journal:
    """The journal of one output, open in one of the processes that write it.

    Args:
        folder: of the journal.
        output: the folder that is written; ``staged_store`` while a finished output is replaced.
        name: of this process, ``RANK-of-WORLD``.
        finished: blocks that any process had finished when this one started.
    """

    folder: Path
    output: Path
    name: str
    finished: frozenset[int]

    def record(self, block: int, files: Iterable[Path], counts: Mapping[str, int] | None = None) -> None:
        """Records a finished block, after syncing its files to disk.

        Args:
            block: its number.
            files: that were written for it, below ``output``.
            counts: of the block, summed up by ``counts``.
        """
        paths = list(files)
        for path in paths:
            sync(path)
        for folder in sorted({parent for p in paths for parent in _parents(p, self.output)}, reverse=True):
            sync(folder)
        sizes = {p.relative_to(self.output).as_posix(): p.stat().st_size for p in paths}
        self._append(json.dumps({"block": block, "files": sizes, "counts": dict(counts or {})}))

    def _append(self, text: str) -> None:
        line = f"\n{zlib.crc32(text.encode()):08x} {text}\n".encode()  # begins by ending a line that a crash cut
        handle = os.open(self.folder / f"{self.name}.jsonl", os.O_WRONLY | os.O_APPEND)
        try:
            while line:
                line = line[os.write(handle, line) :]
            os.fsync(handle)
        finally:
            os.close(handle)

    def done(self) -> frozenset[int]:
        """Blocks that any process has finished by now, without those whose files are missing or truncated."""
        return _done(self.folder, self.output, lambda block, file: True)

    def counts(self) -> dict[str, int] | None:
        """The counts of all recorded blocks, summed up; ``None`` if a block was recorded without counts."""
        total: Counter[str] = Counter()
        for entry in _entries(self.folder).values():
            if "counts" not in entry:
                return None
            total.update(entry["counts"])
        return dict(sorted(total.items()))

    def commit_lock(self) -> AbstractContextManager[None]:
        """Holds the lock under which the output is started or completed."""
        return commit_lock(self.folder, self.output)

    def is_open(self) -> bool:
        """Whether the output is not completed yet; if it is, removes the folder that taking the commit lock created.

        To be called under the commit lock.
        """
        if (self.folder / _JOB).exists():
            return True
        shutil.rmtree(self.folder, ignore_errors=True)
        return False

    def remove(self) -> None:
        """Removes the journal of a completed output."""
        _remove(self.folder)


def journal_folder(output: Path) -> Path:
    """The folder of an output's journal."""
    return output.with_name(output.name + ".journal")


def staged_store(output: Path) -> Path:
    """The folder that is written while a finished output stays at its path."""
    return journal_folder(output) / "result.zarr"


def is_replacing(output: Path) -> bool:
    """Whether an output was begun that will replace a finished one."""
    return has_begun(output) and staged_store(output).exists()


def begun_with(output: Path) -> dict[str, Any]:
    """What an unfinished output's journal says of its job; nothing if there is none, or none that can be read."""
    try:
        return _read_job(journal_folder(output)) or {}
    except (OSError, ResumeError):
        return {}


def has_begun(output: Path) -> bool:
    """Whether an output was started and not completed."""
    return (journal_folder(output) / _JOB).exists()


@contextmanager
def open_journal(output: Path, begin: Begin) -> Iterator[Journal | None]:
    """Opens the journal of an output, creating it if there is none, and locks this process's rank.

    Yields ``None`` if the output is complete.

    Raises:
        ResumeError: another process writes this output, or it has blocks of another job.
        OSError: the disk is full, or permission is missing.
    """
    folder = journal_folder(output)
    fresh = not folder.exists()
    with ExitStack() as held:
        with commit_lock(folder, output):
            try:
                journal = _opened(folder, output, begin, held)
            except BaseException:
                if (fresh or not output.exists()) and not has_begun(output):
                    _remove(folder)
                raise
        yield journal


def _opened(folder: Path, output: Path, begin: Begin, held: ExitStack) -> Journal | None:
    """Starts or resumes an output under the commit lock; adds the lock of its rank to ``held``."""
    sync(folder.parent)
    if begin.finish():
        if _same_job(folder, begin):
            _remove(folder)
            return None
        _clear(folder)
    restart = begin.restart or (begin.overwrite and not (is_replacing(output) and _same_job(folder, begin)))
    if not restart and begin.finished():
        _remove(folder)
        return None
    begun = None if restart else _read_job(folder)
    if begun not in (None, _plain(begin.job)) and not is_replacing(output) and not _entries(folder):
        begun, restart = None, True  # of another job, but without a block: there is nothing to lose
    held.enter_context(rank_lock(folder, output, rank=begin.rank, world=begin.world, exclusive=restart))
    if begun is None:
        _begin(folder, begin)
    else:
        _compare(output, begun, _plain(begin.job))
        if not _written(output).exists():
            begin.create()
    name = f"{begin.rank}-of-{begin.world}"
    (folder / f"{name}.jsonl").touch()
    sync(folder)
    written = _written(output)
    return Journal(folder, written, name, _done(folder, written, begin.intact))


def _written(output: Path) -> Path:
    """The folder that is written."""
    staged = staged_store(output)
    return staged if staged.exists() else output


def _same_job(folder: Path, begin: Begin) -> bool:
    """Whether an output was begun by the same job."""
    try:
        return _read_job(folder) == _plain(begin.job)
    except ResumeError:
        return False


def _begin(folder: Path, begin: Begin) -> None:
    """Creates an empty journal, then the empty output, then the job file."""
    _clear(folder)
    begin.create()
    temporary = folder / (_JOB + ".new")
    temporary.write_text(json.dumps(_plain(begin.job), indent=1))
    sync(temporary)
    temporary.replace(folder / _JOB)
    sync(folder)


def _clear(folder: Path) -> None:
    """Empties a journal but for its locks, the job file first."""
    (folder / _JOB).unlink(missing_ok=True)
    sync(folder)
    for path in folder.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        elif ".lock" not in path.suffixes:
            path.unlink(missing_ok=True)


def _remove(folder: Path) -> None:
    """Removes a journal, the job file first: what remains after a crash no longer counts as started."""
    (folder / _JOB).unlink(missing_ok=True)
    sync(folder)
    shutil.rmtree(folder, ignore_errors=True)


def _read_job(folder: Path) -> dict[str, Any] | None:
    path = folder / _JOB
    try:
        found = json.loads(read_regular(path))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise ResumeError(str(path), f"the journal cannot be read ({error})", fix=RESTART) from error
    if not isinstance(found, dict):
        raise ResumeError(str(path), f"is no journal: it holds a {type(found).__name__}, not a job", fix=RESTART)
    return found


def _compare(output: Path, begun: dict[str, Any], job: dict[str, Any]) -> None:
    """Raises if an output was started with another job; the error names the differences."""
    changes = list(differences(begun, job))
    if not changes:
        return
    if begun.get("format") != job.get("format"):
        raise ResumeError(str(output), "was begun by another version of fullfield", fix=RESTART)
    texts = [f"{name} {old}, now it is {new}" for name, old, new in changes]
    raise ResumeError(
        str(output),
        f"was begun with {list_text(texts, 3, '; ')}",
        fix=f"run the command that began it, or {RESTART}",
    )


def differences(old: Any, new: Any, name: str = "") -> Iterator[tuple[str, str, str]]:
    """The differences of two JSON values: name, old and new value.

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
    """The job after a round trip through JSON."""
    plain: dict[str, Any] = json.loads(json.dumps(dict(job)))
    return plain


def _done(folder: Path, output: Path, intact: Callable[[int, Path], bool]) -> frozenset[int]:
    """The blocks that were recorded and whose files exist, have the recorded size and are intact."""
    return frozenset(
        block
        for block, entry in _entries(folder).items()
        if _complete(output, entry["files"]) and all(intact(block, output / name) for name in entry["files"])
    )


def _entries(folder: Path) -> dict[int, dict[str, Any]]:
    """The last entry recorded for each block."""
    found: dict[int, dict[str, Any]] = {}
    for path in sorted(folder.glob("*.jsonl")):
        found.update((entry["block"], entry) for entry in _lines(path))
    return found


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    """The entries of one process; lines that do not match their checksum, such as truncated ones, are skipped."""
    try:
        lines = read_regular(path).split(b"\n")
    except OSError as error:
        raise ResumeError(str(path), f"the journal cannot be read ({error})", fix=RESTART) from error
    for line in lines:
        check, _, text = line.partition(b" ")
        if len(check) == 8 and check == f"{zlib.crc32(text):08x}".encode():
            yield json.loads(text)


def _complete(output: Path, files: Mapping[str, int]) -> bool:
    """Whether all files of a block exist and have the recorded size."""
    try:
        return all((output / name).stat().st_size == size for name, size in files.items())
    except OSError:
        return False


def _parents(path: Path, top: Path) -> list[Path]:
    """The folders that contain a file, up to ``top``."""
    return [p for p in path.parents if p == top or top in p.parents]
