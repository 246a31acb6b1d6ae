"""Spectra of kernels, kept while the weights are the same numbers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

LAYER_BYTES = 2**27
"""What is kept of one layer's kernels at most."""


@dataclass
class _Slot:
    """The weights as they were, and what was made of them."""

    weight: Tensor
    made: dict[Any, Tensor] = field(default_factory=dict)


class KernelSpectra:
    """What was transformed once and need not be again; first come, first kept.

    Weights are compared with a copy, number by number, before anything made of them is used: they can change in place
    behind every version counter (``weight.data``). That takes a small part of the time of their transforms.

    Args:
        limit_bytes: of spectra and copies together.

    Examples:
        >>> kept, weight = KernelSpectra(1000), torch.ones(3)
        >>> use = kept.of(weight, 12)
        >>> use("a", lambda: weight * 2).tolist(), use("a", lambda: weight * 3).tolist()
        ([2.0, 2.0, 2.0], [2.0, 2.0, 2.0])
        >>> weight.data[0] = 5
        >>> kept.of(weight, 12)("a", lambda: weight * 3).tolist()
        [15.0, 3.0, 3.0]
    """

    def __init__(self, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        self._slots: dict[Any, _Slot] = {}

    @property
    def nbytes(self) -> int:
        """Bytes kept now."""
        tensors = (t for slot in self._slots.values() for t in (slot.weight, *slot.made.values()))
        return sum(t.nbytes for t in tensors)

    def of(self, weight: Tensor, more_bytes: int) -> Callable[[Any, Callable[[], Tensor]], Tensor]:
        """What gives a spectrum of ``weight`` by a key: one that is kept, else one newly made, kept if there is room.

        Args:
            more_bytes: of all that is to be made of the weights at once; none of it is kept if not all can be.
        """
        key = (weight.data_ptr(), tuple(weight.shape), weight.stride(), weight.dtype, weight.device)
        slot = self._slots.get(key)
        if slot is not None and not torch.equal(slot.weight, weight):
            del self._slots[key]
            slot = None

        def use(name: Any, make: Callable[[], Tensor]) -> Tensor:
            nonlocal slot
            if slot is not None and name in slot.made:
                return slot.made[name]
            made = make()
            if slot is None and self.nbytes + weight.nbytes + more_bytes <= self.limit_bytes:
                slot = self._slots.setdefault(key, _Slot(weight.detach().clone()))
            if slot is not None and self.nbytes + made.nbytes <= self.limit_bytes:
                slot.made[name] = made
            return made

        return use

    def clear(self) -> None:
        """Keeps nothing any more."""
        self._slots.clear()

    def __deepcopy__(self, memo: object) -> KernelSpectra:
        return KernelSpectra(self.limit_bytes)

    def __reduce__(self) -> tuple[Any, ...]:
        return KernelSpectra, (self.limit_bytes,)


_CURRENT: ContextVar[KernelSpectra | None] = ContextVar("kernel_spectra", default=None)


@contextmanager
def use_spectra(kept: KernelSpectra | None) -> Iterator[None]:
    """While it is open, programs take and leave spectra there."""
    token = _CURRENT.set(kept)
    try:
        yield
    finally:
        _CURRENT.reset(token)


def current() -> KernelSpectra | None:
    """Where programs keep spectra now, if anywhere."""
    return _CURRENT.get()
