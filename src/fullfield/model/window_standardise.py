"""``Standardise``: how a window's numbers are brought to one scale by themselves. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, get_args

from fullfield.arguments import check_choice
from fullfield.errors import CaptureError

Standardise = Literal["window", "channels", "minmax", "minmax-channels"]
STANDARDISE: tuple[str, ...] = get_args(Standardise)
STANDARDISED: Mapping[str, str] = {
    "window": "each less its mean, over its deviation",
    "channels": "each channel less its mean, over its deviation",
    "minmax": "each from 0, its least number, to 1",
    "minmax-channels": "each channel from 0, its least number, to 1",
}
"""What is done to windows, in words."""


def parse_standardise(name: str | None) -> Standardise | None:
    """How windows are standardised; ``None`` where they are not.

    Raises:
        CaptureError: an unknown name.
    """
    if name is not None:
        check_choice("standardise", name, STANDARDISE, CaptureError)
    return name  # type: ignore[return-value]
