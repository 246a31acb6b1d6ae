"""A device whose streams run late, early or in any order that their events allow: what a race spoils, it spoils."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor

from fullfield.engine.engines.cuda.device import Event, Replay, Stream

FREE = 1 << 40


class FakeStream:
    """Work that waits until it is needed, unless ``order`` lets it run before."""

    def __init__(self, order: random.Random | None, *, eager: bool = False) -> None:
        self.order, self.eager = order, eager
        self.queue: deque[Callable[[], None]] = deque()
        self.queued = self.done = 0
        self.caught_up = 0

    def run(self, work: Callable[[], None]) -> None:
        if self.eager:
            work()
            return
        self.queue.append(work)
        self.queued += 1
        if self.order is not None:
            self.run_until(self.order.randint(self.done, self.queued))

    def record(self) -> Event:
        return FakeEvent(self, self.queued)

    def wait_for(self, event: Event) -> None:
        self.run(event.wait)

    def catch_up(self) -> None:
        self.caught_up += 1

    def run_until(self, number: int) -> None:
        with torch.inference_mode():
            while self.done < number:
                work = self.queue.popleft()
                work()
                self.done += 1


@dataclass(frozen=True)
class FakeEvent:
    """A place in a stream."""

    stream: FakeStream
    number: int

    def wait(self) -> None:
        self.stream.run_until(self.number)


class FakeDevice:
    """A device on the CPU.

    Args:
        order: by which streams run ahead; ``None`` for work that runs only when it is waited for.
        eager: run all work at once.
        free: bytes of memory.
        fails: what recording a graph raises.
    """

    def __init__(
        self,
        order: random.Random | None = None,
        *,
        eager: bool = False,
        free: int = FREE,
        fails: Exception | None = None,
    ) -> None:
        self.place = torch.device("cpu")
        self.sending: Stream = FakeStream(order, eager=eager)
        self.computing: Stream = FakeStream(order, eager=eager)
        self.fetching: Stream = FakeStream(order, eager=eager)
        self.free, self.fails = free, fails
        self.captured = self.replayed = 0

    def host_memory(self, count: int) -> Tensor:
        return torch.full((count,), 255, dtype=torch.uint8)

    def memory(self, count: int, stream: Stream) -> Tensor:
        return torch.full((count,), 255, dtype=torch.uint8)

    def free_bytes(self) -> int:
        return self.free

    def in_pool(self) -> AbstractContextManager[None]:
        return nullcontext()

    def capture(self, work: Callable[[], Tensor]) -> tuple[Replay, Tensor]:
        if self.fails is not None:
            raise self.fails
        result = work().clone().fill_(float("nan"))
        self.captured += 1

        def replay() -> None:
            self.replayed += 1
            result.copy_(work())

        return replay, result

    def synchronize(self) -> None:
        for stream in (self.sending, self.computing, self.fetching):
            stream.record().wait()
