"""Sets how torch computes on a GPU for as long as something is computed there, and gives the user's settings back."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

_LOCK = threading.RLock()


@contextmanager
def cuda_arithmetic(device: torch.device, *, tf32: bool = False) -> Iterator[None]:
    """Computes in float32 as IEEE 754 defines it unless ``tf32`` is asked for, by kernels that repeat their bits.

    By default torch computes convolutions of float32 in TF32, whose numbers have 10 bits after the point instead of 23.
    cuDNN does not choose among its kernels by timing them, nor takes any that add in the order in which threads finish.

    torch keeps these settings for the whole process, so one thread at a time is inside; others that compute on a GPU
    without this function meanwhile compute with the same settings. Other devices than GPUs need nothing.

    Args:
        device: to compute on.
        tf32: compute convolutions and matrix products of float32 in TF32.
    """
    if device.type != "cuda":
        yield
        return
    kind = "tf32" if tf32 else "ieee"
    with _LOCK:
        given = [(holder, name, getattr(holder, name)) for holder, name, _ in _settings(kind)]
        try:
            for holder, name, value in _settings(kind):
                setattr(holder, name, value)
            yield
        finally:
            for holder, name, value in given:
                setattr(holder, name, value)


def _settings(kind: str) -> list[tuple[Any, str, object]]:
    """Where each setting is held, its name, and its value for a kind of float32."""
    cudnn: Any = torch.backends.cudnn
    products = [(holder, "fp32_precision", kind) for holder in (torch.backends.cuda.matmul, cudnn.conv, cudnn.rnn)]
    return [*products, (cudnn, "benchmark", False), (cudnn, "deterministic", True)]
