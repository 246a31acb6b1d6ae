"""Checksums of tensors."""

from __future__ import annotations

from typing import Any

import google_crc32c
import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from fullfield.layers.checksum import checksum, raw_bytes

PAIR = torch.tensor([[1.0, -2.0], [0.5, 4.0]])
LITTLE = b"\x00\x00\x80\x3f\x00\x00\x00\xc0\x00\x00\x00\x3f\x00\x00\x80\x40"


@pytest.mark.parametrize(
    ("tensor", "found"),
    [
        (PAIR, LITTLE),
        (torch.nn.Parameter(PAIR), LITTLE),
        (PAIR.t().contiguous().t(), LITTLE),
        (PAIR.bfloat16(), b"\x80\x3f\x00\xc0\x00\x3f\x80\x40"),
        (PAIR.t().contiguous().t().bfloat16(), b"\x80\x3f\x00\xc0\x00\x3f\x80\x40"),
        (torch.tensor(7), b"\x07" + bytes(7)),
        (torch.tensor(1.0, dtype=torch.bfloat16), b"\x80\x3f"),
        (torch.empty(0, 3), b""),
        (torch.empty(0, 3, dtype=torch.bfloat16), b""),
    ],
)
def test_the_bytes_of_a_tensor_are_in_the_order_of_its_elements(tensor: Tensor, found: bytes) -> None:
    assert raw_bytes(tensor).tobytes() == found


def test_the_checksum_of_tensors_is_that_of_all_their_bytes() -> None:
    assert checksum([PAIR, torch.tensor(7)]) == google_crc32c.value(LITTLE + b"\x07" + bytes(7))


class Calls(TorchDispatchMode):
    """Counts calls of operators."""

    count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += 1
        return func(*args, **(kwargs or {}))


def test_a_checksum_calls_one_operator_a_tensor() -> None:
    with Calls() as calls:
        checksum([torch.nn.Parameter(PAIR)] * 10)
    assert calls.count == 10
