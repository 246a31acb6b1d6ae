"""Results of tuning: what each mode costs and how far its scores are off, as a table."""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from fullfield.planning.mode import AnyMode
from fullfield.text import WIDTH, html_text, short_count, table_lines
from fullfield.verification.target import Target


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

    @property
    def best(self) -> Candidate:
        """The fastest mode that meets the target with its noise; exact, the last one, where none does."""
        return next((t for t in self.candidates if t.meets(self.target)), self.candidates[-1])

    @property
    def unsure(self) -> Candidate | None:
        """The fastest mode that meets the target on the sample only, where it is faster than the one chosen."""
        faster = self.candidates[: self.candidates.index(self.best)]
        return next((t for t in faster if self.target.met(t.error, t.agreement)), None)

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
        return "\n".join([head, *fed, "", *self._table(), "", *_legend(), "", *self._remarks(), self.verdict])

    def _remarks(self) -> list[str]:
        """A line on a faster mode that the sample may be too small for."""
        if self.unsure is None:
            return []
        return [f"{self.unsure.name} meets it on these windows, but not with its noise: more samples may show it."]

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
        cells = [["", *(title for title, _ in columns)]]
        cells += [
            ["->" if t is self.best else "", *(show(t) for _, show in columns)] for t in (*self.candidates, *self.lower)
        ]
        crops = ["crop by crop", short_count(self.crop_macs), "1.0x", f"{self.crop_seconds:.3g} s", "0", "0", "100.0 %"]
        cells.append(["", *crops[: len(columns)]])
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


def _legend() -> list[str]:
    text = (
        "MACs, fewer, time: of the whole scan, predicted. Error: mean difference from the crops over the spread of the "
        "scores, + what chance may hide (two standard errors): the target must be met with it. Worst: largest "
        "difference over their range. Same top: windows whose top class is the crop's, - what may be chance. "
        "Border b: the outer b cells of every map as in the crop; maps of n whole: all cells of maps up to n wide."
    )
    return textwrap.wrap(text, WIDTH)
