"""Locks between processes: those of the file system, or lock files where a disk has none.

NFS without its lock daemon, SMB, FUSE and some network disks refuse ``flock``. There a lock is a file that names its
process and machine. A process that dies leaves it; others of the same machine see that and take it over, those of other
machines cannot, and say which file to remove.
"""

from __future__ import annotations

import logging
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

SOFT = ".held"  # what the name of a lock file ends in
_TAKE_OVER_S = 0.2  # enough to see that the process of a lock file is dead, and to replace the file
_NOTICE_S = 5.0
_MOST_WAIT_S = 600.0  # for a lock file, whose process may be dead on another machine
_LOG = logging.getLogger("fullfield")
_SAID: set[int] = set()  # disks


class LockedError(Exception):
    """Another process holds the lock.

    Args:
        holder: process and machine, and the file to remove if it is dead; empty for a lock of the file system, which no
            dead process has.
    """

    def __init__(self, holder: str = "") -> None:
        super().__init__(holder)
        self.holder = holder


@contextmanager
def file_lock(path: Path, *, wait: bool = False) -> Iterator[Path]:
    """Holds a lock; yields its file, which disappears when another process removes the folder.

    Args:
        path: of the lock in an existing folder; the file of a soft lock ends in ``.held``.
        wait: for another process that holds it: without end for a lock of the file system, which a dead process loses,
            and at most ten minutes for a lock file.

    Raises:
        LockedError: another process holds it.
        FileNotFoundError: the folder does not exist, or no longer.
        OSError: of the file system.
    """
    from filelock import FileLock, SoftFileLock, Timeout  # not needed to import fullfield

    hard = has_locks(path.parent)
    if not hard:
        _say_once(path.parent)
    lock = FileLock(path) if hard else SoftFileLock(f"{path}{SOFT}")
    file = Path(lock.lock_file)
    try:
        lock.acquire(timeout=_NOTICE_S if wait else 0 if hard else _TAKE_OVER_S)
    except Timeout as error:
        if not wait:
            raise LockedError("" if hard else _holder(file)) from error
        _LOG.warning("%s: waiting for another process%s", path.parent, "" if hard else f", {_holder(file)}")
        try:
            lock.acquire(timeout=-1 if hard else _MOST_WAIT_S)
        except Timeout as late:
            raise LockedError(_holder(file)) from late
    try:
        yield file
    finally:
        lock.release()


def has_locks(folder: Path) -> bool:
    """Whether the disk of a folder has locks: one is taken on a new file, which no other process can have locked.

    Raises:
        FileNotFoundError: there is no such folder.
        OSError: no file can be made in it.
    """
    try:
        import fcntl
    except ModuleNotFoundError:  # Windows, whose disks have them
        return True
    probe = folder / f".{uuid.uuid4().hex}.probe"
    handle = os.open(probe, os.O_RDWR | os.O_CREAT | os.O_EXCL)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:  # EACCES, ENOLCK, EOPNOTSUPP, ENOSYS: no other process can have locked it
        return False
    finally:
        os.close(handle)
        probe.unlink(missing_ok=True)
    return True


def _say_once(folder: Path) -> None:
    disk = folder.stat().st_dev
    if disk not in _SAID:
        _SAID.add(disk)
        place = folder.absolute().parent  # of the results
        _LOG.warning("%s: this disk has no file locks; files named *%s lock results there instead", place, SOFT)


def _holder(file: Path) -> str:
    """The process that a lock file names."""
    facts: list[str] = []
    with suppress(OSError, ValueError):
        if file.is_file():  # reading a pipe would never end
            facts = file.read_text()[:300].split("\n")
    who = f"process {facts[0]} on {facts[1]}" if len(facts) > 1 else "a process"
    return f"{who}; if it no longer runs, remove {file}"
