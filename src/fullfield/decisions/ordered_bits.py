"""The bits of floats as integers in the order of the numbers, which can be counted and divided."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def ordered_bits(numbers: NDArray[np.floating]) -> NDArray[Any]:
    """The bit patterns of floats as unsigned integers in the order of the numbers; 0 and -0 are equal.

    Examples:
        >>> ordered_bits(np.array([-np.inf, -1, 0, 2e-45, np.inf], np.float32)).tolist()
        [8388607, 1082130431, 2147483648, 2147483649, 4286578688]
    """
    bits = (numbers + numbers.dtype.type(0)).view(unsigned(numbers.dtype))
    sign = bits.dtype.type(1 << (8 * bits.dtype.itemsize - 1))
    return np.where(bits & sign, ~bits, bits | sign)


def from_ordered_bits(bits: NDArray[Any], dtype: np.dtype[Any]) -> NDArray[np.floating]:
    """The floats of ``ordered_bits``."""
    sign = bits.dtype.type(1 << (8 * bits.dtype.itemsize - 1))
    found: NDArray[np.floating] = np.where(bits & sign, bits ^ sign, ~bits).view(dtype)
    return found


def unsigned(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """The type of the bits of floats."""
    return np.dtype(f"u{dtype.itemsize}")
