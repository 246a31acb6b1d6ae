"""The operator ``coupled_probabilities``: probabilities of classes from those between each two of them."""

from __future__ import annotations

import torch
from torch import Tensor

from fullfield.layers.registry import register

_LEAST = 1e-7  # of a probability between two classes


def _coupled(first: Tensor, classes: int) -> Tensor:
    """The ``p`` that minimises the sum over classes ``i, j`` of ``(r[j, i] * p[i] - r[i, j] * p[j]) ** 2``, nearly.

    It is found as LIBSVM finds it, one class after the other, until no window changes by more than 0.005 of its mean.

    Shape: first ``(n, classes * (classes - 1) / 2)``, the probability of the first of each two -> ``(n, classes)``
    Source: Wu, Lin & Weng 2004, algorithm 2, https://www.jmlr.org/papers/v5/wu04a.html
    """
    low, high = torch.triu_indices(classes, classes, 1)
    first = first.double().clamp(_LEAST, 1 - _LEAST)
    r = first.new_zeros(len(first), classes, classes)
    r[:, low, high], r[:, high, low] = first, 1 - first
    q = -r * r.mT
    q.diagonal(dim1=1, dim2=2).copy_(r.square().sum(1))
    p = first.new_full((len(first), classes), 1 / classes)
    for _ in range(max(100, classes)):
        qp = (q @ p[..., None])[..., 0]
        pqp = (p * qp).sum(1)
        moves = (qp - pqp[:, None]).abs().amax(1) >= 0.005 / classes
        if not moves.any():
            break
        p = torch.where(moves[:, None], _round(p, q, qp, pqp), p)
    return p


def _round(p: Tensor, q: Tensor, qp: Tensor, pqp: Tensor) -> Tensor:
    """Probabilities after each was changed once, with ``qp = q @ p`` and ``pqp = p @ q @ p``."""
    p = p.clone()
    for at in range(p.shape[1]):
        own = q[:, at, at]
        change = (pqp - qp[:, at]) / own
        p[:, at] += change
        rest = 1 / (1 + change)
        pqp = (pqp + change * (change * own + 2 * qp[:, at])) * rest * rest
        qp = (qp + change[:, None] * q[:, at]) * rest[:, None]
        p = p * rest[:, None]
    return p


coupled_probabilities = register(
    "coupled_probabilities",
    "(Tensor first, int classes) -> Tensor",
    lambda first, classes: _coupled(first, classes).to(first.dtype),
    fake=lambda first, classes: first.new_empty(first.shape[0], classes),
)
