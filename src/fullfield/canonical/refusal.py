"""Refusals of rewrites: values with a reason, not exceptions."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Refusal:
    """A rewrite's reason for leaving an operator as it is.

    Args:
        reason: completes the sentence "this operator …", in plain words.
        in_order: whether the operator's inputs must lie in memory in the order of their dimensions, since the order
            changes the rounding of its result.
    """

    reason: str
    in_order: bool = False
