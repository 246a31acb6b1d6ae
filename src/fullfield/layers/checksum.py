"""Checksums of tensors, which show whether weights have changed."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import google_crc32c
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


def raw_bytes(tensor: Tensor) -> NDArray[np.uint8]:
    """The bytes of a tensor, in the order of its elements."""
    return _numbers(tensor).reshape(-1).view(np.uint8)


def _numbers(tensor: Tensor) -> NDArray[Any]:
    """The numbers of a tensor, in memory in the order of its elements; its bytes where NumPy lacks the type."""
    try:
        return np.ascontiguousarray(tensor.numpy(force=True))
    except TypeError:  # bfloat16, say
        flat: NDArray[np.uint8] = tensor.detach().cpu().reshape(-1).contiguous().view(torch.uint8).numpy()
        return flat


def checksum(tensors: Iterable[Tensor]) -> int:
    """The CRC-32C over the bytes of all tensors; taken at gigabytes a second.

    Version counters are not enough: they miss what is written to ``tensor.data``.
    """
    crc = 0
    for tensor in tensors:
        crc = google_crc32c.extend(crc, _numbers(tensor))
    return crc
