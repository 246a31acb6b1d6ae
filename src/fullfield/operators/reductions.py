"""Means, sums, extremes, variances and norms of vectors."""

from __future__ import annotations

import torch

from fullfield.operators.pools import mean_of_all
from fullfield.operators.record import Args, Operator
from fullfield.operators.work import Work

aten = torch.ops.aten


def _sum(args: Args, read: int, written: int) -> Work:
    return Work(adds=-(-read // max(1, written)) - 1) * written


def _extreme(args: Args, read: int, written: int) -> Work:
    return Work(comparisons=-(-read // max(1, written)) - 1) * written


RECORDS = (
    Operator((aten.mean,), counts=mean_of_all, independent="anywhere"),
    Operator((aten.sum,), counts=_sum, independent="anywhere"),
    Operator((aten.amax, aten.amin), counts=_extreme, independent="anywhere"),
    Operator((aten.max, aten.min), counts=_extreme, independent="first"),
    Operator(
        (aten.var, aten.std, aten.var_mean, aten.norm, aten.linalg_vector_norm, aten.logsumexp),
        independent="first",
    ),
)
