"""``CheckpointNetwork``: a network with its weights, and what its configuration says of its input and classes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn

from fullfield.model.given_preprocessing import PreprocessingLike


@dataclass(frozen=True)
class CheckpointNetwork:
    """A network with its weights.

    Args:
        module: the network.
        name: for reports.
        window: height and width, px, where they are known.
        preprocessing: how pixels become input, where that is known.
        class_names: one a score, where they are known.
        score: which output holds the scores.
        facts: what else is known of it, as title and text.
    """

    module: nn.Module
    name: str
    window: tuple[int, int] | None = None
    preprocessing: PreprocessingLike | None = None
    class_names: tuple[str, ...] | None = None
    score: str | None = None
    facts: tuple[tuple[str, str], ...] = ()


def listed_names(labels: Any) -> tuple[str, ...] | None:
    """Names of classes from a list, or from a dict by index; ``None`` where they are the numbers of classes."""
    if isinstance(labels, Mapping):
        try:
            labels = [labels[key] for key in sorted(labels, key=int)]
        except (TypeError, ValueError):
            return None
    if not isinstance(labels, (list, tuple)) or not labels:
        return None
    names = tuple(map(str, labels))
    return None if names == tuple(f"LABEL_{index}" for index in range(len(names))) else names


def resize_text(edge: str, size: object, interpolation: object, crop: tuple[int, int] | None) -> str:
    """How images were resized in the network's training or evaluation, in words."""
    middle = "" if crop is None else f", then the middle {crop[0]}x{crop[1]} px"
    return f"{edge} {size} px, {interpolation}{middle}"
