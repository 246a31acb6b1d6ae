"""Damaged copies of a file: bytes changed, cut out, doubled, numbers made extreme."""

from __future__ import annotations

import random
import struct
from collections.abc import Iterator

EXTREMES = [0, 1, 2, 127, 128, 255, 2**15, 2**16 - 1, 2**31 - 1, -1, -(2**31)]


def mutations(whole: bytes, count: int, seed: int) -> Iterator[bytes]:
    """``count`` damaged copies, always the same."""
    chance = random.Random(seed)
    for _ in range(count):
        data = bytearray(whole)
        for _ in range(chance.choice((1, 1, 1, 2, 4))):
            at = chance.randrange(len(data))
            match chance.randrange(6):
                case 0:
                    data[at] ^= 1 << chance.randrange(8)
                case 1:
                    data[at] = chance.randrange(256)
                case 2:
                    del data[at : at + chance.randrange(1, 9)]
                case 3:
                    data[at:at] = data[at : at + chance.randrange(1, 33)]
                case 4:
                    data[at : at + 4] = struct.pack("<i", chance.choice(EXTREMES))
                case _:
                    data[at : at + 1] = str(chance.choice(EXTREMES)).encode()
            if not data:
                data.append(0)
        yield bytes(data)
