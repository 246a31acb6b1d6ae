"""Why a rewrite does not apply: a value, not an exception."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Refusal:
    """A rewrite's reason for leaving an operator as it is.

    Args:
        reason: completes the sentence "this operator …", in plain words.
    """

    reason: str
