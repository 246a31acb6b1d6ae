"""Features: what an inner layer of a network gives for a window, as one vector.

    layer's output for a window      vector
    (k,), (k, 1, 1), ...             as it is
    (c, h, w), a map                 the mean over its cells, (c,)
    (c, t), a map of a signal        the mean over its cells, (c,)
    (h, w, c), a map                 the mean over its cells, (c,): where the first two are nearer to the window's sides
    (tokens, c)                      the mean over all tokens, (c,)

``NAME:first`` takes the first token, which is the class token of most vision transformers, and ``NAME:map`` all numbers
in the order of the layer's output: of a map channel by channel, row by row.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch

from fullfield.errors import CaptureError
from fullfield.text import size_text

aten = torch.ops.aten
Pooling = Literal["mean", "map", "first"]
VectorCall = tuple[Any, tuple[Any, ...]]
_INDEX = re.compile(r"-?\d+")


@dataclass(frozen=True)
class ScoreChoice:
    """Which numbers of a network are the scores.

    Args:
        name: index or name of an output, or name of a layer; ``None`` for the only output.
        pooling: how a map or tokens become a vector; ``None`` for the usual way.
        layer: name of the inner layer that the network ends in, of a network that was cut before.
    """

    name: int | str | None = None
    pooling: Pooling | None = None
    layer: str | None = None

    @property
    def is_given(self) -> bool:
        """Whether the user chose."""
        return self.name is not None or self.layer is not None


@dataclass(frozen=True)
class VectorRule:
    """How what a layer gives becomes one vector a window.

    Args:
        calls: ATen operators with the arguments after the layer's output, one after the other.
        text: in words; empty where it is a vector already.
    """

    calls: tuple[VectorCall, ...] = ()
    text: str = ""

    def __call__(self, values: torch.Tensor) -> torch.Tensor:
        """The vectors. Shape: ``(n, ...)`` -> ``(n, k)``"""
        for operator, arguments in self.calls:
            values = operator(values, *arguments)
        return values


def parse_score(score: int | str | ScoreChoice | None) -> ScoreChoice:
    """What a user's ``score=`` chooses.

    Raises:
        CaptureError: it is no index and no name.

    Examples:
        >>> parse_score("layer4:map")
        ScoreChoice(name='layer4', pooling='map', layer=None)
        >>> parse_score("output:0").name
        'output:0'
    """
    if isinstance(score, ScoreChoice):
        return score
    if isinstance(score, bool) or not isinstance(score, (int, str, type(None))):
        what = f"{score!r:.60} is no index and no name"
        raise CaptureError("score", what, fix='write score=0 or score="layer4", say')
    if isinstance(score, str):
        name, colon, pooling = score.rpartition(":")
        if colon and pooling in get_args(Pooling):
            return ScoreChoice(name, pooling)  # type: ignore[arg-type]  # one of the three
    return ScoreChoice(score)


def index_or_name(choice: int | str, is_name: Callable[[str], bool]) -> int | str:
    """The index that a text is, where that is no name; any other choice as it is.

    Examples:
        >>> index_or_name("-1", {"prob"}.__contains__), index_or_name("1", {"1"}.__contains__)
        (-1, '1')
    """
    return int(choice) if isinstance(choice, str) and _INDEX.fullmatch(choice) and not is_name(choice) else choice


def vector_rule(
    shape: Sequence[int], pooling: Pooling | None, window: tuple[int, int] | None, where: str
) -> VectorRule:
    """How an output of this shape for one window becomes a vector.

    Args:
        shape: without the windows.
        pooling: chosen by the user.
        window: height and width, px; ``None`` of a signal, of which ``(c, t)`` is a map.
        where: name of the output, for errors.

    Raises:
        CaptureError: the shape has no such vector.

    Examples:
        >>> vector_rule((512, 7, 7), None, (224, 224), "layer4").text
        'mean over 7x7 cells'
        >>> vector_rule((197, 768), "first", (224, 224), "blocks.11").text
        'first of 197 tokens'
    """
    if not shape:
        return VectorRule(((aten.unsqueeze.default, (1,)),))
    flat: tuple[VectorCall, ...] = ((aten.flatten.using_ints, (1,)),) if len(shape) > 1 else ()
    sizes = size_text(shape)
    if sum(size != 1 for size in shape) <= 1:
        return VectorRule(flat)
    if pooling == "map":
        return VectorRule(flat, f"all {sizes} numbers")
    if len(shape) == 2 and window is None and pooling != "first":
        return VectorRule(((aten.mean.dim, ([2],)),), f"mean over {shape[1]} cells")
    if len(shape) == 2:
        if pooling == "first":
            return VectorRule(((aten.select.int, (1, 0)),), f"first of {shape[0]} tokens")
        return VectorRule(((aten.mean.dim, ([1],)),), f"mean over {shape[0]} tokens")
    if len(shape) == 3 and pooling != "first":
        first = 1 if window is not None and _channels_last(shape, window) else 2
        cells = f"{shape[first - 1]}x{shape[first]}"
        return VectorRule(((aten.mean.dim, ([first, first + 1],)),), f"mean over {cells} cells")
    raise CaptureError(where, f"gives {sizes} numbers a window, no {_WANTED[pooling]}", fix=f"write {where}:map")


_WANTED = {None: "vector, map or tokens", "mean": "map and no tokens", "first": "tokens"}


def _channels_last(shape: Sequence[int], window: tuple[int, int]) -> bool:
    """Whether the first two sizes are nearer to the window's sides in proportion than the last two are.

    Examples:
        >>> _channels_last((512, 7, 7), (224, 224)), _channels_last((7, 7, 512), (224, 224))
        (False, True)
    """
    rows, middle, last = shape
    height, width = window
    return abs(rows * width - middle * height) < abs(middle * width - last * height)
