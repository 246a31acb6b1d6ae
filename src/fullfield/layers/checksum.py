"""Checksums of tensors, which show whether weights have changed."""

from __future__ import annotations

from collections.abc import Iterable

import google_crc32c
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


def raw_bytes(tensor: Tensor) -> NDArray[np.uint8]:
    """The bytes of a tensor, in the order of its elements."""
    flat = tensor.detach().cpu().contiguous().reshape(-1)
    return flat.view(torch.uint8).numpy() if flat.numel() else np.empty(0, np.uint8)


def checksum(tensors: Iterable[Tensor]) -> int:
    """The CRC-32C over the bytes of all tensors; taken at gigabytes a second.

    Version counters are not enough: they miss what is written to ``tensor.data``.
    """
    crc = 0
    for tensor in tensors:
        crc = google_crc32c.extend(crc, raw_bytes(tensor))
    return crc
