"""Threads that read ahead of the computation, and write behind it."""

from __future__ import annotations

import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Generic, TypeVar

READERS = 2  # threads that read
AHEAD = 2  # tiles that are read and wait while another one is computed
_SHORT_S = 0.001  # a task shorter than this takes less time than handing it to another thread costs the computation
_LONG = 2  # tasks in a row that are not short before others go to threads
_SWITCH_S = 0.0005  # of sys.setswitchinterval; with Python's 0.005 the computation would wait longer than operators run
T = TypeVar("T")


class ReadAhead(Generic[T]):
    """Results of tasks in their order, computed by threads a little before they are used.

    Begins in the calling thread, and leaves tasks to threads once two in a row were not short.

    Args:
        tasks: one a result.
        ahead: results that may wait; 0 to compute all of them in the calling thread.

    Attributes:
        waited_s: time for which the caller waited for results.
    """

    def __init__(self, tasks: Iterable[Callable[[], T]], ahead: int = AHEAD) -> None:
        self.tasks, self.ahead = iter(tasks), ahead
        self.pool = ThreadPoolExecutor(READERS, "fullfield-read")  # starts no thread before its first task
        self.waiting: deque[Future[T]] = deque()
        self.waited_s = 0.0
        self._long = 0  # tasks in a row that were not short

    def __enter__(self) -> ReadAhead[T]:
        return self

    def __exit__(self, *error: object) -> None:
        self.pool.shutdown(cancel_futures=True)

    def __iter__(self) -> Iterator[T]:
        return self

    def __next__(self) -> T:
        began = time.perf_counter()
        if self._long < _LONG or not self.ahead:
            result = next(self.tasks)()
            seconds = time.perf_counter() - began
            self._long = self._long + 1 if seconds > _SHORT_S else 0
        else:
            self._fill()
            if not self.waiting:
                raise StopIteration
            result = self.waiting.popleft().result()
            self._fill()
            seconds = time.perf_counter() - began
        self.waited_s += seconds
        return result

    def _fill(self) -> None:
        while len(self.waiting) < self.ahead:
            task = next(self.tasks, None)
            if task is None:
                return
            self.waiting.append(self.pool.submit(task))


class Worker:
    """A thread that runs one task after another; at most one waits for its turn.

    What a task raises is raised by the next ``submit`` or ``wait``.

    Args:
        name: of the thread.
        inline: begin in the calling thread, and leave tasks to the thread once two in a row were not short.

    Attributes:
        waited_s: time for which ``take`` waited.
    """

    def __init__(self, name: str, *, inline: bool = False) -> None:
        self.pool = ThreadPoolExecutor(1, name)
        self.last: Future[None] | None = None
        self.waited_s = 0.0
        self._long = 0 if inline else _LONG  # tasks in a row that were not short

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *error: object) -> None:
        self.pool.shutdown()

    def submit(self, task: Callable[[], None]) -> None:
        """Accepts a task, which is run even if waiting for the one before is interrupted; returns when it begins."""
        began = time.perf_counter()
        if self._long < _LONG:
            task()
            seconds = time.perf_counter() - began
            self._long = self._long + 1 if seconds > _SHORT_S else 0
        else:
            before, self.last = self.last, self.pool.submit(task)
            if before is not None:
                before.result()
            seconds = time.perf_counter() - began
        self.waited_s += seconds

    def wait(self) -> None:
        """Waits for the last task."""
        last, self.last = self.last, None
        if last is not None:
            last.result()


class _Switching:
    """How many scans of this process want a short switch interval, and the interval before the first of them."""

    lock = threading.Lock()
    users = 0
    before = 0.0


@contextmanager
def short_switch_interval() -> Iterator[None]:
    """Lets threads switch more often: the computation asks for the interpreter every few hundred microseconds."""
    with _Switching.lock:
        if not _Switching.users:
            _Switching.before = sys.getswitchinterval()
            sys.setswitchinterval(min(_Switching.before, _SWITCH_S))
        _Switching.users += 1
    try:
        yield
    finally:
        with _Switching.lock:
            _Switching.users -= 1
            if not _Switching.users:
                sys.setswitchinterval(_Switching.before)
