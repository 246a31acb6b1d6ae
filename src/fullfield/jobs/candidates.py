"""Results of tuning: what each mode costs and how far its scores are off, as a table."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from fullfield.planning.mode import AnyMode
from fullfield.text import WIDTH, html_text, short_count, table_lines
from fullfield.verification.target import Target


@dataclass(frozen=True)
class LabelFigures:
    """How well a mode's predictions agree with the user's labels, at sampled labelled windows.

    Args:
        accuracy: share of right predictions among the labelled windows of the map.
        between: where it may lie by chance, at two standard errors of the sample.
        change: accuracy less that of the crops, window by window.
        change_between: where that may lie.
        balanced: mean share of right predictions of the labels.
        auc: mean area under the ROC curve of the labelled classes; NaN where there is one.
    """

    accuracy: float
    between: tuple[float, float]
    change: float
    change_between: tuple[float, float]
    balanced: float
    auc: float

    @property
    def like_crops(self) -> bool:
        """Whether chance alone may explain the difference from the crops' accuracy."""
        return self.change_between[0] <= 0 <= self.change_between[1]


@dataclass(frozen=True)
class Candidate:
    """One mode, and what it costs and gives.

    Args:
        mode: as ``scan`` takes it: ``"exact"``, ``"context"``, ``b`` or ``(b, n)``.
        macs: multiply-adds of the whole scan.
        mac_ratio: how many times fewer these are than those of all windows crop by crop.
        seconds: predicted time of the whole scan on this machine.
        error: mean absolute difference from the crops over the spread of the scores, at the sampled windows.
        worst: the largest difference of a score over the range of the crops' scores.
        agreement: share of them whose top class is the crop's; ``None`` of features.
        noise: by how much the error may be too low by chance, at two standard errors.
        agreement_noise: by how much the agreement may be too high.
        precision: type to compute in, where it is lower than the model's own.
        labels: agreement with the user's labels, where these are given.
    """

    mode: AnyMode
    macs: int
    mac_ratio: float
    seconds: float
    error: float
    worst: float
    agreement: float | None
    noise: float = 0.0
    agreement_noise: float = 0.0
    precision: str | None = None
    labels: LabelFigures | None = None

    def meets(self, target: Target) -> bool:
        """Whether it meets a target even if the sample is off by its noise."""
        agreement = None if self.agreement is None else self.agreement - self.agreement_noise
        return target.met(self.error + self.noise, agreement)

    @property
    def name(self) -> str:
        """The mode in words, and the precision where it is lower."""
        return self._mode + (f", {self.precision}" if self.precision else "")

    @property
    def _mode(self) -> str:
        if isinstance(self.mode, str):
            return self.mode
        cells, whole = (self.mode, 0) if isinstance(self.mode, int) else self.mode
        text = f"border {cells}" if cells else "context"
        return f"{text}, maps of {whole} whole" if whole else text


@dataclass(frozen=True)
class Tuning:
    """The modes between context and exact on one image: what each costs, and how far its scores are off.

    ``print(tuning)`` shows a table; ``tuning.best.mode`` is the mode to scan with.

    Args:
        candidates: from the fastest to exact.
        target: how near to the crops the scores should be.
        samples: windows compared.
        seed: of their draw.
        windows: windows of the whole map.
        step: px between them (y, x).
        spread: how much a score of the crops varies between the sampled windows: the root of its variance, averaged
            over the classes; 0 where they vary by rounding alone, so that errors are absolute.
        crop_macs: multiply-adds of the whole map crop by crop.
        crop_seconds: predicted time of the whole map crop by crop on this machine.
        input: how the pixels became network input, with a warning where that is not known.
        lower: the chosen mode and exact in a lower precision, which is never chosen for you.
        labelled: sampled windows that have a label, and how many of the map have one; ``None`` without labels.
        crop_labels: agreement of the crops with the labels.
    """

    candidates: tuple[Candidate, ...]
    target: Target
    samples: int
    seed: int
    windows: int
    step: tuple[int, int]
    spread: float
    crop_macs: int
    crop_seconds: float
    input: str = ""
    lower: tuple[Candidate, ...] = ()
    labelled: tuple[int, int] | None = None
    crop_labels: LabelFigures | None = None

    @property
    def best(self) -> Candidate:
        """The fastest mode that meets the target with its noise; exact, the last one, where none does."""
        return next((t for t in self.candidates if t.meets(self.target)), self.candidates[-1])

    @property
    def unsure(self) -> Candidate | None:
        """The fastest mode that meets the target on the sample only, where it is faster than the one chosen."""
        faster = self.candidates[: self.candidates.index(self.best)]
        return next((t for t in faster if self.target.met(t.error, t.agreement)), None)

    @property
    def as_accurate(self) -> Candidate | None:
        """The fastest mode whose accuracy on the labels differs from the crops' by no more than chance may."""
        return next((t for t in self.candidates if t.labels is not None and t.labels.like_crops), None)

    def to_dict(self) -> dict[str, Any]:
        """Everything as JSON-able values; ``best`` is the mode chosen."""
        rows = [asdict(t) | {"name": t.name, "meets": t.meets(self.target)} for t in self.candidates]
        best = rows[self.candidates.index(self.best)]
        lower = [asdict(t) | {"name": t.name, "meets": t.meets(self.target)} for t in self.lower]
        return asdict(self) | {"step": list(self.step), "candidates": rows, "lower": lower, "best": best}

    def __repr__(self) -> str:
        return f"<Tuning: {len(self.candidates)} modes; {self.verdict}>"

    def _repr_html_(self) -> str:
        return html_text(str(self))

    def __str__(self) -> str:
        vary = f"scores vary by {self.spread:.3g}" if self.spread else "scores do not vary: errors are absolute"
        head = f"{self.samples} of {self.windows} windows compared with their crops (seed {self.seed}); {vary}"
        fed = [f"input: {self.input}"] if self.input else []
        legend = _legend(labels=self.labelled is not None)
        parts = [head, *self._label_lines(), *fed, "", *self._table(), "", *legend, "", *self._remarks()]
        return "\n".join([*parts, self.verdict])

    def _label_lines(self) -> list[str]:
        """A line on the labelled windows."""
        return (
            [] if self.labelled is None else [f"{self.labelled[0]} of {self.labelled[1]} labelled windows sampled too"]
        )

    def _remarks(self) -> list[str]:
        """A line on accuracy, and one on a faster mode that the sample may be too small for."""
        said = []
        if (fast := self.as_accurate) is not None and fast.labels is not None:
            change = _interval(fast.labels.change, fast.labels.change_between, sign="+")
            said.append(
                f"On the labels {fast.name} is the fastest mode that cannot be told from the crops: {change}; "
                "more samples tell more apart."
            )
        if self.unsure is not None:
            said.append(
                f"{self.unsure.name} meets it on these windows, but not with its noise: more samples may show it."
            )
        return said

    @property
    def verdict(self) -> str:
        """One line: the mode chosen and what it gives."""
        best = self.best
        gain = self.crop_seconds / best.seconds
        return (
            f"For {self.target}: {best.name}, {best.mac_ratio:.1f}x fewer multiply-adds and about {gain:.1f}x faster."
        )

    def _table(self) -> list[str]:
        columns = _COLUMNS[: -1 if self.best.agreement is None else None]
        cells = [["", *(title for title, _ in columns), *(() if self.labelled is None else _LABEL_COLUMNS)]]
        cells += [
            ["->" if t is self.best else "", *(show(t) for _, show in columns), *_label_cells(t.labels)]
            for t in (*self.candidates, *self.lower)
        ]
        crops = ["crop by crop", short_count(self.crop_macs), "1.0x", f"{self.crop_seconds:.3g} s", "0", "0", "100.0 %"]
        accuracy, _, auc = _label_cells(self.crop_labels) or ["", "", ""]
        cells.append(["", *crops[: len(columns)], *([] if self.labelled is None else [accuracy, "", auc])])
        return table_lines(cells, left=2, totals=True)


_COLUMNS: tuple[tuple[str, Callable[[Candidate], str]], ...] = (
    ("mode", lambda t: t.name),
    ("MACs", lambda t: short_count(t.macs)),
    ("fewer", lambda t: f"{t.mac_ratio:.1f}x"),
    ("time", lambda t: f"{t.seconds:.3g} s"),
    ("error", lambda t: f"{t.error:.2g}" + (f" + {t.noise:.1g}" if t.noise else "")),
    ("worst", lambda t: f"{t.worst:.2g}"),
    ("same top", lambda t: _agreement(t)),
)


def _agreement(candidate: Candidate) -> str:
    noise = f" - {100 * candidate.agreement_noise:.1f}" if candidate.agreement_noise else ""
    return "" if candidate.agreement is None else f"{100 * candidate.agreement:.1f} %{noise}"


_LABEL_COLUMNS = ("accuracy", "less the crops'", "AUC")


def _label_cells(labels: LabelFigures | None) -> list[str]:
    if labels is None:
        return []
    auc = "-" if math.isnan(labels.auc) else f"{labels.auc:.3f}"
    change = _interval(labels.change, labels.change_between, sign="+")
    return [_interval(labels.accuracy, labels.between), change, auc]


def _interval(share: float, between: tuple[float, float], *, sign: str = "") -> str:
    """A share in percent, and where it may lie unless that is known."""
    found = f"{100 * share:{sign}.1f} %"
    low, high = between
    return found if low == high else f"{found} ({100 * low:{sign}.1f}..{100 * high:{sign}.1f})"


def _legend(*, labels: bool) -> list[str]:
    text = (
        "MACs, fewer, time: of the whole scan, predicted. Error: mean difference from the crops over the spread of the "
        "scores, + what chance may hide (two standard errors): the target must be met with it. Worst: largest "
        "difference over their range. Same top: windows whose top class is the crop's, - what may be chance. "
        "Border b: the outer b cells of every map as in the crop; maps of n whole: all cells of maps up to n wide."
    )
    if labels:
        text += (
            " Accuracy: labelled windows whose prediction is their label, and where it may lie by chance; less the "
            "crops': window by window. AUC: of each class against the others, on average."
        )
    return textwrap.wrap(text, WIDTH)
