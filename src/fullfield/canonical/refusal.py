"""Why a rewrite does not apply: a value, not an exception."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Refusal:
    """A rewrite's reason for leaving an operator as it is.

    Args:
        reason: completes the sentence "this operator …", in plain words.
        in_order: its bits hang on the order of its inputs in memory, which must be that of their dimensions.
    """

    reason: str
    in_order: bool = False
