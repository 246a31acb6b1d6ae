"""What is asked of a GPU: streams of work, events, memory, graphs; and how CUDA does it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, Protocol

import torch
from torch import Tensor

from fullfield.engine.engines.cuda.memory import memory_of

Replay = Callable[[], None]


class Event(Protocol):
    """A place in a stream."""

    def wait(self) -> None:
        """Returns when all work queued before it is done."""
        ...


class Stream(Protocol):
    """A queue of work: each piece runs after those before it; pieces of different streams run at the same time."""

    def run(self, work: Callable[[], None]) -> None:
        """Queues work."""
        ...

    def record(self) -> Event:
        """An event after all that is queued."""
        ...

    def wait_for(self, event: Event) -> None:
        """Lets work queued from now on run after an event of another stream."""
        ...

    def catch_up(self) -> None:
        """Lets work queued from now on run after what the calling thread queued elsewhere: weights on their way."""
        ...


class Device(Protocol):
    """A GPU as tiles use it.

    Attributes:
        place: as torch names it.
        sending, computing, fetching: its streams.
    """

    place: torch.device
    sending: Stream
    computing: Stream
    fetching: Stream

    def host_memory(self, count: int) -> Tensor:
        """Bytes of the host that the device can copy by itself. Shape: ``(count,)``"""
        ...

    def memory(self, count: int, stream: Stream) -> Tensor:
        """Bytes of the device, first written by a stream. Shape: ``(count,)``"""
        ...

    def free_bytes(self) -> int:
        """Bytes of the device that are free, those that torch keeps for later included."""
        ...

    def in_pool(self) -> AbstractContextManager[None]:
        """Takes memory from the pool that all graphs share; they never run at the same time."""
        ...

    def capture(self, work: Callable[[], Tensor]) -> tuple[Replay, Tensor]:
        """Records work of the computing stream as a graph without running it: what runs it, and its result.

        Raises:
            RuntimeError: something in it cannot be recorded, or there is no memory.
        """
        ...

    def synchronize(self) -> None:
        """Waits for all work."""
        ...


class CudaStream:
    """A stream of CUDA.

    Args:
        place: the GPU.
    """

    def __init__(self, place: torch.device) -> None:
        self.stream: torch.cuda.Stream = torch.cuda.Stream(place)  # type: ignore[no-untyped-call]

    def run(self, work: Callable[[], None]) -> None:
        """Queues work."""
        with torch.cuda.stream(self.stream):
            work()

    def record(self) -> Event:
        """An event after all that is queued."""
        return CudaEvent(self.stream)

    def wait_for(self, event: Event) -> None:
        """Lets work queued from now on run after an event of another stream."""
        assert isinstance(event, CudaEvent)
        self.stream.wait_event(event.event)

    def catch_up(self) -> None:
        """Lets work queued from now on run after what the calling thread queued on its current stream."""
        self.stream.wait_stream(torch.cuda.current_stream(self.stream.device))


class CudaEvent:
    """An event of CUDA, at the end of a stream.

    Args:
        stream: recorded.
    """

    def __init__(self, stream: torch.cuda.Stream) -> None:
        # who waits sleeps, and leaves the core to the readers
        self.event: torch.cuda.Event = torch.cuda.Event(blocking=True)  # type: ignore[no-untyped-call]
        self.event.record(stream)

    def wait(self) -> None:
        """Returns when all work queued before it is done."""
        self.event.synchronize()


class CudaDevice:
    """A GPU that torch reaches through CUDA.

    Args:
        place: as torch names it.
    """

    def __init__(self, place: torch.device) -> None:
        self.place = place
        self.sending: Stream = CudaStream(place)
        self.computing: Stream = CudaStream(place)
        self.fetching: Stream = CudaStream(place)
        with torch.cuda.device(place):
            self.pool = torch.cuda.MemPool()

    def host_memory(self, count: int) -> Tensor:
        """Pinned bytes of the host; plain ones, which are copied more slowly, where the system has no more of them."""
        try:
            return torch.empty(count, dtype=torch.uint8, pin_memory=True)
        except RuntimeError:
            return torch.empty(count, dtype=torch.uint8)

    def memory(self, count: int, stream: Stream) -> Tensor:
        """Bytes of the device. Allocated for the stream that writes them first: torch reuses memory in its order."""
        assert isinstance(stream, CudaStream)
        with torch.cuda.stream(stream.stream):
            return torch.empty(count, dtype=torch.uint8, device=self.place)

    def free_bytes(self) -> int:
        """Bytes of the device that are free, those that torch keeps for later included."""
        return memory_of(self.place)[0]

    def in_pool(self) -> AbstractContextManager[None]:
        """Takes memory from the pool that all graphs share."""
        return torch.cuda.use_mem_pool(self.pool, self.place)

    def capture(self, work: Callable[[], Tensor]) -> tuple[Replay, Tensor]:
        """Records work as a CUDA graph; other threads may use the device meanwhile."""
        assert isinstance(self.computing, CudaStream)
        graph = torch.cuda.CUDAGraph()
        stream = self.computing.stream
        pool: Any = self.pool.id
        with torch.cuda.graph(graph, pool=pool, stream=stream, capture_error_mode="thread_local"):
            result = work()
        return graph.replay, result

    def synchronize(self) -> None:
        """Waits for all work."""
        torch.cuda.synchronize(self.place)
