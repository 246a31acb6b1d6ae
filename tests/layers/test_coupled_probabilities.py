"""Probabilities of classes from those between each two: LIBSVM's numbers, window by window."""

from __future__ import annotations

import torch

from fullfield.layers import custom_operators as operators


def as_written(first: list[float], classes: int) -> list[float]:
    """LIBSVM's ``multiclass_probability``, of one window, in Python's numbers."""
    pairs = iter(first)
    r = [[0.0] * classes for _ in range(classes)]
    for i in range(classes):
        for j in range(i + 1, classes):
            r[i][j] = min(max(next(pairs), 1e-7), 1 - 1e-7)
            r[j][i] = 1 - r[i][j]
    every = range(classes)
    q = [[sum(r[k][i] ** 2 for k in every if k != i) if i == j else -r[j][i] * r[i][j] for j in every] for i in every]
    p = [1 / classes] * classes
    for _ in range(max(100, classes)):
        qp = [sum(q[i][j] * p[j] for j in every) for i in every]
        pqp = sum(p[i] * qp[i] for i in every)
        if max(abs(each - pqp) for each in qp) < 0.005 / classes:
            break
        for i in every:
            change = (pqp - qp[i]) / q[i][i]
            p[i] += change
            pqp = (pqp + change * (change * q[i][i] + 2 * qp[i])) / (1 + change) / (1 + change)
            for j in every:
                qp[j] = (qp[j] + change * q[i][j]) / (1 + change)
                p[j] /= 1 + change
    return p


def test_the_numbers_are_those_of_libsvm_in_every_window_of_a_batch() -> None:
    for classes in (2, 3, 6):
        pairs = torch.rand(7, classes * (classes - 1) // 2, dtype=torch.float64) ** 3
        found = operators.coupled_probabilities(pairs, classes)
        wanted = torch.tensor([as_written(row.tolist(), classes) for row in pairs], dtype=torch.float64)
        assert float((found - wanted).abs().max()) < 1e-12
        assert torch.equal(operators.coupled_probabilities(pairs[:1], classes), found[:1])
        assert operators.coupled_probabilities(pairs.float(), classes).dtype == torch.float32


def test_the_shape_is_known_without_numbers() -> None:
    assert operators.coupled_probabilities(torch.empty(5, 3, device="meta"), 3).shape == (5, 3)
