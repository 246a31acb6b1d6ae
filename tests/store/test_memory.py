"""The sink that keeps scores in memory."""

from __future__ import annotations

import numpy as np
import pytest

from fullfield.engine.protocols import Sink
from fullfield.store.memory import ArraySink


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_blocks_come_to_lie_where_they_belong(dtype: str) -> None:
    whole = np.random.default_rng(0).standard_normal((3, 7, 5)).astype(dtype)
    sink = ArraySink(3, (7, 5), dtype)
    taker: Sink = sink
    for row in range(0, 7, 3):
        for column in range(0, 5, 2):
            taker.write(row, column, whole[:, row : row + 3, column : column + 2])
    np.testing.assert_array_equal(sink.array, whole)
    assert sink.array.dtype == dtype


def test_a_part_is_every_so_many_rows_and_columns() -> None:
    whole = np.random.default_rng(0).standard_normal((2, 7, 5))
    sink = ArraySink(2, (7, 5), "float64")
    for first in np.ndindex(3, 2):
        block = whole[:, first[0] :: 3, first[1] :: 2]
        part = sink.part((first[0], first[1]), (3, 2))
        part.write(0, 0, block[:, :, :1])
        part.write(0, 1, block[:, :, 1:])
    np.testing.assert_array_equal(sink.array, whole)


def test_what_does_not_fit_is_an_error() -> None:
    with pytest.raises(ValueError, match="broadcast"):
        ArraySink(2, (4, 4), "float32").write(3, 0, np.zeros((2, 2, 4), "float32"))
