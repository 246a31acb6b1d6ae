"""Threads beside the computation: order, errors, interruptions, and what runs in the calling thread."""

from __future__ import annotations

import itertools
import sys
import threading
from collections.abc import Callable
from functools import partial
from types import SimpleNamespace

import pytest

from fullfield.engine import threads
from fullfield.engine.threads import ReadAhead, Worker, short_switch_interval
from tests.processes import PATIENCE_S


@pytest.fixture(params=["short", "long"])
def length(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Whether all tasks are taken to be short, or all of them long."""
    monkeypatch.setattr(threads, "_SHORT_S", 1e9 if request.param == "short" else -1.0)
    return str(request.param)


def numbered(seen: list[tuple[int, str]], count: int) -> list[Callable[[], int]]:
    """Tasks that return their number and note the thread that ran them."""

    def task(number: int) -> int:
        seen.append((number, threading.current_thread().name))
        return number

    return [partial(task, number) for number in range(count)]


@pytest.mark.parametrize("ahead", [0, 1, 2, 50])
def test_results_come_in_the_order_of_their_tasks(length: str, ahead: int) -> None:
    seen: list[tuple[int, str]] = []
    with ReadAhead(numbered(seen, 40), ahead) as results:
        assert list(results) == list(range(40))
    assert sorted(number for number, _ in seen) == list(range(40))
    inline = [number for number, thread in seen if not thread.startswith("fullfield-read")]
    assert inline == (list(range(40)) if length == "short" or not ahead else [0, 1])


def test_no_more_is_read_ahead_than_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "_SHORT_S", -1.0)
    taken = 0

    def tasks() -> object:
        nonlocal taken
        for number in range(30):
            taken += 1
            yield partial(int, number)

    with ReadAhead(tasks(), 3) as results:  # type: ignore[arg-type]
        for number in results:
            assert taken <= number + 1 + 3


def test_tasks_go_to_threads_after_two_long_ones_in_a_row(monkeypatch: pytest.MonkeyPatch) -> None:
    ends = [(10.0 * n, 10.0 * n + seconds) for n, seconds in enumerate([5, 0, 5, 0, 5, 5])]
    clock = itertools.chain(*ends, itertools.repeat(1e6))
    monkeypatch.setattr(threads, "time", SimpleNamespace(perf_counter=lambda: next(clock)))
    seen: list[tuple[int, str]] = []
    with ReadAhead(numbered(seen, 9)) as results:
        assert list(results) == list(range(9))
    assert [number for number, thread in seen if not thread.startswith("fullfield-read")] == [0, 1, 2, 3, 4, 5]


@pytest.mark.usefixtures("length")
def test_what_a_read_raises_is_raised_in_its_place() -> None:
    def fail() -> int:
        raise OSError("unreadable")

    with ReadAhead([*(lambda: 1, lambda: 2, lambda: 3), fail, lambda: 5]) as results:
        assert [next(results) for _ in range(3)] == [1, 2, 3]
        with pytest.raises(OSError, match="unreadable"):
            next(results)


def test_reads_that_did_not_begin_are_cancelled_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "_SHORT_S", -1.0)
    gate, began = threading.Event(), threading.Semaphore(0)
    ran: list[int] = []

    def wait(number: int) -> int:
        ran.append(number)
        began.release()
        assert gate.wait(PATIENCE_S)
        return number

    tasks = [lambda: 0, lambda: 0, lambda: 0, *(partial(wait, number) for number in range(20))]
    with ReadAhead(tasks, 10) as results:
        for _ in range(3):
            next(results)
        assert all(began.acquire(timeout=PATIENCE_S) for _ in range(threads.READERS))
        threading.Timer(0.05, gate.set).start()
    assert len(ran) == threads.READERS


def test_a_worker_runs_tasks_in_order_in_one_thread() -> None:
    seen: list[tuple[int, str]] = []
    with Worker("behind") as worker:
        for task in numbered(seen, 20):
            worker.submit(task)  # type: ignore[arg-type]
        worker.wait()
        assert [number for number, _ in seen] == list(range(20))
    assert {thread for _, thread in seen} == {"behind_0"}


def test_short_tasks_of_an_inline_worker_run_in_the_calling_thread(length: str) -> None:
    seen: list[tuple[int, str]] = []
    with Worker("behind", inline=True) as worker:
        for task in numbered(seen, 8):
            worker.submit(task)  # type: ignore[arg-type]
    inline = [number for number, thread in seen if not thread.startswith("behind")]
    assert inline == (list(range(8)) if length == "short" else [0, 1])
    assert [number for number, _ in seen] == list(range(8))


@pytest.mark.parametrize("call", ["submit", "wait"])
def test_what_a_task_raises_is_raised_by_the_next_call(call: str) -> None:
    def fail() -> None:
        raise OSError("no room")

    with Worker("behind") as worker:
        worker.submit(fail)
        with pytest.raises(OSError, match="no room"):
            worker.wait() if call == "wait" else worker.submit(lambda: None)


def test_a_task_is_run_even_if_waiting_for_the_one_before_is_interrupted() -> None:
    """As when Ctrl-C is pressed while a computed block waits for the writer."""

    class Interrupted:
        def result(self) -> None:
            raise KeyboardInterrupt

    ran: list[int] = []
    with pytest.raises(KeyboardInterrupt), Worker("behind") as worker:  # noqa: PT012
        worker.last = Interrupted()  # type: ignore[assignment]
        worker.submit(lambda: ran.append(1))
    assert ran == [1]


def test_the_switch_interval_is_restored_when_the_last_scan_ends() -> None:
    before = sys.getswitchinterval()
    first, second = short_switch_interval(), short_switch_interval()
    first.__enter__()
    second.__enter__()
    assert sys.getswitchinterval() == pytest.approx(0.0005)
    first.__exit__(None, None, None)
    assert sys.getswitchinterval() == pytest.approx(0.0005)
    second.__exit__(None, None, None)
    assert sys.getswitchinterval() == before
