"""The record of how a map is decided: the function of its scores, and of which scores."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Real
from typing import TYPE_CHECKING, Literal, NamedTuple, get_args

from fullfield.arguments import checks_fields
from fullfield.decisions.temperature import Temperature
from fullfield.errors import ArgumentError
from fullfield.text import closest

if TYPE_CHECKING:
    from fullfield.decisions.regions import RegionsLike

Function = Literal["mean", "max", "log-sum-exp", "top-k", "quantile", "noisy-or"]
ScoresUsed = Literal["scores", "logits", "probabilities", "softmax", "sigmoid"]
TemperatureLike = float | Temperature | None
ClassesLike = int | str | Sequence[int | str] | None

_ELSEWHERE = {
    "average": "mean", "avg": "mean", "maximum": "max", "lse": "log-sum-exp", "logsumexp": "log-sum-exp",
    "topk": "top-k:10", "top": "top-k:10", "median": "quantile:0.5", "percentile": "quantile:0.9",
    "noisyor": "noisy-or", "min": "quantile:0", "minimum": "quantile:0",
}  # fmt: skip
_EXAMPLES = "write mean, max, log-sum-exp, log-sum-exp:5, top-k:10, top-k:5%, quantile:0.9 or noisy-or"


class Statistic(NamedTuple):
    """A function of the scores of a class, parsed.

    Args:
        function: its name.
        number: of ``log-sum-exp`` beta, or ``None`` for log N; of ``top-k`` k; of ``quantile`` the part, 0 to 1.
        share: whether k is in percent of the windows.
    """

    function: Function
    number: float | None = None
    share: bool = False


@checks_fields
@dataclass(frozen=True)
class DecisionRule:
    """How the scores of all windows become one score a class; ``Scores.decide`` describes the arguments.

    Args:
        how: the function: ``"mean"``, ``"max"``, ``"log-sum-exp"``, ``"top-k:10"``, ``"quantile:0.9"``, …
        on: what it is a function of: ``scores`` as they are in the map, ``logits``, ``probabilities``, ``softmax`` or
            ``sigmoid``.
        temperature: that logits are divided by before softmax or sigmoid.
        classes: by index or name; all of the map by default.
        regions: polygons, each of which gets a decision of its own.

    Raises:
        ArgumentError: an unknown function or ``on``, a number that it cannot have.

    Examples:
        >>> DecisionRule("top-k:10", on="softmax").statistic
        Statistic(function='top-k', number=10.0, share=False)
    """

    how: str
    on: ScoresUsed = "scores"
    temperature: TemperatureLike = None
    classes: ClassesLike = None
    regions: RegionsLike | None = None

    def __post_init__(self) -> None:
        statistic = parse_statistic(self.how)
        if self.on not in get_args(ScoresUsed):
            names = ", ".join(get_args(ScoresUsed))
            raise ArgumentError("on", f"{self.on!r} is not known", fix=f"use one of {names}")
        if statistic.function == "noisy-or" and self.on == "logits":
            raise ArgumentError("noisy-or", "needs probabilities, on is logits", fix="use softmax or sigmoid")
        if self.temperature is not None:
            self._check_temperature()

    @property
    def statistic(self) -> Statistic:
        """The function, parsed."""
        return parse_statistic(self.how)

    @property
    def divisor(self) -> float:
        """The temperature as a number; 1 where none is given."""
        return 1.0 if self.temperature is None else float(self.temperature)

    def _check_temperature(self) -> None:
        given = self.temperature
        number = given.value if isinstance(given, Temperature) else given
        if isinstance(number, bool) or not isinstance(number, Real) or not 0 < number < math.inf:
            raise ArgumentError("temperature", f"{given!r:.60} is no positive number", fix="use fit_temperature")
        if self.on not in ("softmax", "sigmoid"):
            what = f"divides logits before softmax or sigmoid, on is {self.on}"
            raise ArgumentError("temperature", what, fix='write on="softmax" or on="sigmoid"')


def parse_statistic(how: object) -> Statistic:
    """A function of scores, as users write it.

    Raises:
        ArgumentError: an unknown one, or a number that it cannot have.

    Examples:
        >>> parse_statistic("quantile:0.9"), parse_statistic("top-k:5%")
        (Statistic(function='quantile', number=0.9, share=False), Statistic(function='top-k', number=5.0, share=True))
    """
    if not isinstance(how, str):
        raise ArgumentError("how", f"{how!r:.60} is no text", fix=_EXAMPLES)
    name, _, text = how.strip().lower().replace("_", "-").partition(":")
    if name not in get_args(Function):
        raise ArgumentError("how", f"{how!r:.60} is not known", fix=_suggestion(name))
    if name in ("mean", "max", "noisy-or") and text:
        raise ArgumentError("how", f"{name} takes no number, {text!r:.60} is given", fix=f"write {name}")
    share = text.endswith("%") and name == "top-k"
    try:
        number = float(text.removesuffix("%") if share else text) if text else None
    except ValueError:
        raise ArgumentError("how", f"{text!r:.60} of {how!r:.60} is no number", fix=_EXAMPLES) from None
    return _checked(Statistic(name, number, share))  # type: ignore[arg-type]  # one of the names


def _checked(found: Statistic) -> Statistic:
    """The function, with a number that it can have."""
    name, number, share = found
    if name == "top-k":
        if number is None or (share and not 0 < number <= 100) or (not share and not (number >= 1 and number % 1 == 0)):
            what = f"{'nothing' if number is None else f'{number:g}' + '%' * share} is no number of windows"
            raise ArgumentError("top-k", what, fix="write top-k:10, or a share of the windows: top-k:5%")
        return found
    if name == "quantile" and (number is None or not 0 <= number <= 1):
        what = f"{'nothing' if number is None else f'{number:g}'} is not from 0 to 1"
        raise ArgumentError("quantile", what, fix="write quantile:0.9, say; 0.5 is the median")
    if name == "log-sum-exp" and number is not None and not 0 < number < math.inf:
        raise ArgumentError("log-sum-exp", f"beta {number:g} is not positive", fix="write log-sum-exp:5, say")
    return found


def _suggestion(name: str) -> str:
    """What to write instead of an unknown function."""
    if name in _ELSEWHERE:
        return f"write {_ELSEWHERE[name]}"
    near = closest(name, [*get_args(Function), *_ELSEWHERE])
    return f"did you mean {_ELSEWHERE.get(near, near)}?" if near is not None else _EXAMPLES
