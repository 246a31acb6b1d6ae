"""Caches the spectra of convolution kernels, so that they are computed once for many maps."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from torch import Tensor

LAYER_BYTES = 2**27
"""The most bytes of a layer's weights and their spectra for which the spectra are cached."""


class SpectrumCache:
    """Spectra of kernels, up to a number of bytes; what does not fit is computed again for every call.

    A spectrum is found by the memory of its weights, which is not looked at: the owner of the cache calls ``clear``
    when their values may have changed.

    Args:
        limit_bytes: of all spectra together.

    Examples:
        >>> import torch
        >>> cache, weight = SpectrumCache(1000), torch.ones(3)
        >>> [cache.get(weight, "a", lambda: weight * n).tolist() for n in (2, 3)]
        [[2.0, 2.0, 2.0], [2.0, 2.0, 2.0]]
        >>> cache.nbytes
        12
    """

    def __init__(self, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        self.nbytes = 0
        self._found: dict[Hashable, tuple[Tensor, Tensor]] = {}

    def get(self, weight: Tensor, part: Hashable, make: Callable[[], Tensor]) -> Tensor:
        """The spectrum of a part of ``weight``, from the cache or from ``make``."""
        key = (weight.data_ptr(), tuple(weight.shape), weight.stride(), weight.dtype, weight.device, part)
        if key in self._found:
            return self._found[key][1]
        made = make()
        if self.nbytes + made.nbytes <= self.limit_bytes:
            self.nbytes += made.nbytes
            self._found[key] = weight, made  # while the weights are referenced, no other tensor gets their memory
        return made

    def clear(self) -> None:
        """Removes all spectra."""
        self._found.clear()
        self.nbytes = 0

    def __deepcopy__(self, memo: object) -> SpectrumCache:
        return SpectrumCache(self.limit_bytes)

    def __reduce__(self) -> tuple[type[SpectrumCache], tuple[int]]:
        return SpectrumCache, (self.limit_bytes,)


_CURRENT: ContextVar[SpectrumCache | None] = ContextVar("spectrum_cache", default=None)


@contextmanager
def use_spectra(cache: SpectrumCache | None) -> Iterator[None]:
    """Programs that run inside the context use this cache."""
    token = _CURRENT.set(cache)
    try:
        yield
    finally:
        _CURRENT.reset(token)


def current() -> SpectrumCache | None:
    """The cache of the innermost ``use_spectra``."""
    return _CURRENT.get()
