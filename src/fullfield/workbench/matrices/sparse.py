"""Builds SciPy sparse arrays from tables of taps and weights. The only module that imports SciPy."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import sparse

from fullfield.workbench.matrices.index_tables import Array, Bools, Ints


def windows(y: Ints, x: Ints, inputs: tuple[int, int, int], weights: Array, *, groups: int = 1) -> Any:
    """The matrix of a layer with windows, in CSR form; inputs and outputs are in the order c, y, x.

    All kernels of a group read the same cells, so the columns are computed once, and every kernel takes its weights by
    one index table, the only memory needed besides the result.

    Args:
        y, x: tables of taps.
        inputs: channels, rows and columns of the input.
        weights: ``(k, c / groups, kH, kW)``, shared; or ``(k, oH, oW, c / groups, kH, kW)``, one per position.
        groups: of channels.
    """
    kernels, each, cells = weights.shape[0], inputs[0] // groups, inputs[1] * inputs[2]
    rows, place, column = _spread(y, x, inputs[2])
    taps = np.bincount(rows, minlength=len(y) * len(x))
    index = np.int32 if max(kernels * each * len(rows), inputs[0] * cells) < 2**31 else np.int64
    channel = np.arange(each)[:, None]
    order = _order(rows, taps, each)
    base = rows * each if weights.ndim == 6 else np.zeros_like(rows)
    source = np.empty(len(order), np.intp)
    source[order] = ((base + channel) * (y.shape[1] * x.shape[1]) + place).ravel()
    read = np.empty(len(order), index)
    read[order] = (channel * cells + column).ravel()
    data = weights.reshape(kernels, -1)[:, source].ravel()
    offset = (np.arange(kernels) // (kernels // groups) * each * cells).astype(index)
    pointer = np.concatenate([[0], np.cumsum(np.tile(taps * each, kernels))]).astype(index)
    shape = (kernels * len(y) * len(x), inputs[0] * cells)
    matrix = sparse.csr_array((data, (read + offset[:, None]).ravel(), pointer), shape=shape)
    matrix.sum_duplicates()  # other padding than zeros reads some cells twice
    return matrix


def _order(rows: Ints, taps: Ints, channels: int) -> Ints:
    """The index of entries ``(channel, tap)`` in a kernel's order: by position, then channel, then tap."""
    starts = (np.cumsum(taps) - taps)[rows]
    within = np.arange(len(rows)) - starts
    found: Ints = (channels * starts + np.arange(channels)[:, None] * taps[rows] + within).ravel()
    return found


def _spread(y: Ints, x: Ints, width: int) -> tuple[Ints, Ints, Ints]:
    """Output position, index in the kernel and cell of every tap that reads a cell, sorted by position."""
    cells = y[:, None, :, None] * width + x[None, :, None, :]
    good = (y >= 0)[:, None, :, None] & (x >= 0)[None, :, None, :]
    i, j, u, v = np.nonzero(good)
    return i * len(x) + j, u * x.shape[1] + v, cells[i, j, u, v]


def diagonal(values: Array) -> Any:
    """The diagonal matrix of these values; zeros are not stored."""
    rows = np.flatnonzero(values)
    return sparse.csr_array((values[rows], (rows, rows)), shape=(len(values), len(values)))


def ones(channels: Bools, y: Bools, x: Bools, dtype: Any) -> Any:
    """The matrix of ones where an output reads an input: the product of tables over channels, y and x."""
    over_map = sparse.kron(sparse.csr_array(y, dtype=dtype), sparse.csr_array(x, dtype=dtype), format="csr")
    return sparse.csr_array(sparse.kron(sparse.csr_array(channels, dtype=dtype), over_map, format="csr"))


def scaled(matrix: Any, rows: Array, columns: Array) -> Any:
    """``diag(rows) @ matrix @ diag(columns)``; changes ``matrix`` and returns it."""
    matrix.data *= np.repeat(rows, np.diff(matrix.indptr)) * columns[matrix.indices]
    return matrix


def router(chosen: Ints, inputs: int, dtype: Any) -> Any:
    """The matrix that copies one chosen input to every output."""
    rows = np.arange(len(chosen))
    return sparse.csr_array((np.ones(len(chosen), dtype), (rows, chosen)), shape=(len(chosen), inputs))


def dense(values: Array) -> Any:
    """A full matrix in CSR form, zeros included."""
    rows, columns = values.shape
    index = np.int32 if values.size < 2**31 else np.int64
    pointer = (np.arange(rows + 1) * columns).astype(index)
    return sparse.csr_array(
        (values.flatten(), np.tile(np.arange(columns, dtype=index), rows), pointer), shape=values.shape
    )


def blocked(matrix: Any, size: tuple[int, int]) -> Any:
    """The matrix in BSR form, in blocks of ``size``."""
    return sparse.csr_array(matrix).tobsr(blocksize=size)
