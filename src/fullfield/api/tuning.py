"""What tuning found, and whether a scan keeps what was wished."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fullfield.errors import GeometryError
from fullfield.planning.table import short
from fullfield.verification.certificate import Certificate
from fullfield.verification.metrics import window_errors

Border = int | tuple[int, int] | None

DEFAULT_TOLERANCE = 0.02
_NOISE = 2.0  # standard errors that a sample may be off by chance


@dataclass(frozen=True)
class Target:
    """How near to the crops the scores are to be; where both are given, both count.

    Args:
        tolerance: mean error over the spread of the scores, at most.
        agreement: share of windows whose top class is the crop's, at least.
    """

    tolerance: float | None = None
    agreement: float | None = None

    @classmethod
    def parse(cls, tolerance: float | None, agreement: float | None) -> Target:
        """The target, ``tolerance`` 0.02 where there is none.

        Raises:
            GeometryError: a number that cannot be one.
        """
        if tolerance is None and agreement is None:
            tolerance = DEFAULT_TOLERANCE
        if tolerance is not None and not tolerance >= 0:
            raise GeometryError("tolerance", f"{tolerance} is not 0 or more", fix="use 0.02, say")
        if agreement is not None and not 0 <= agreement <= 1:
            raise GeometryError("agreement", f"{agreement} is not between 0 and 1", fix="use 0.99, say")
        return cls(tolerance, agreement)

    def met(self, error: float, agreement: float) -> bool:
        """Whether so small an error and so large an agreement are what is wished."""
        near = self.tolerance is None or error <= self.tolerance
        return near and (self.agreement is None or agreement >= self.agreement)

    def __str__(self) -> str:
        parts = [] if self.tolerance is None else [f"an error of at most {self.tolerance:g} of the spread"]
        if self.agreement is not None:
            parts.append(f"the crops' top class at {self.agreement:.4g} of the windows or more")
        return " and ".join(parts)


@dataclass(frozen=True)
class Candidate:
    """One setting of the dial.

    Args:
        border: as ``scan`` takes it: cells, or cells and the size of maps that stay whole; ``None`` is exact.
        macs: multiply-adds of the whole scan.
        fewer: how many times fewer these are than crop by crop.
        seconds: that the whole scan should take here.
        error: mean absolute difference from the crops over the spread of the scores, at the sampled windows.
        worst: the largest difference of a score over the range of the crops' scores.
        agreement: share of them whose top class is the crop's.
    """

    border: Border
    macs: int
    fewer: float
    seconds: float
    error: float
    worst: float
    agreement: float

    @property
    def name(self) -> str:
        """The setting in words."""
        if self.border is None:
            return "exact"
        cells, whole = (self.border, 0) if isinstance(self.border, int) else self.border
        text = "context" if cells == 0 else f"border {cells}"
        return f"{text}, maps of {whole} whole" if whole else text


@dataclass(frozen=True)
class Tuning:
    """The settings of the dial on one image: what each costs, and how far it is off.

    ``print(tuning)`` shows a table; ``tuning.best.border`` is what to give to ``scan``.

    Args:
        candidates: from the fastest to exact.
        target: how near to the crops the scores are to be.
        samples: windows compared.
        seed: of their draw.
        windows: windows of the whole map.
        step: px between them (y, x).
        spread: how much a score of the crops varies between the sampled windows: the root of its variance, averaged
            over the classes; 0 where they vary by rounding alone, so that errors are absolute.
        crop_macs: multiply-adds of the whole map crop by crop.
        crop_seconds: that these should take here.
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

    @property
    def best(self) -> Candidate:
        """The fastest setting that meets the target; exact, the last one, where none does."""
        return next((t for t in self.candidates if self.target.met(t.error, t.agreement)), self.candidates[-1])

    def to_dict(self) -> dict[str, Any]:
        """Everything as JSON-able values; ``best`` is the setting chosen."""
        rows = [asdict(t) | {"name": t.name, "meets": self.target.met(t.error, t.agreement)} for t in self.candidates]
        best = rows[self.candidates.index(self.best)]
        return asdict(self) | {"step": list(self.step), "candidates": rows, "best": best}

    def __str__(self) -> str:
        vary = f"scores vary by {self.spread:.3g}" if self.spread else "scores do not vary: errors are absolute"
        head = f"{self.samples} of {self.windows} windows compared with their crops (seed {self.seed}); {vary}"
        return "\n".join([head, "", *self._table(), "", *_legend(), "", self.verdict])

    @property
    def verdict(self) -> str:
        """One line: the setting chosen and what it gives."""
        best = self.best
        gain = self.crop_seconds / best.seconds
        return f"For {self.target}: {best.name}, {best.fewer:.1f}x fewer multiply-adds and about {gain:.1f}x faster."

    def _table(self) -> list[str]:
        cells = [["", *(title for title, _ in _COLUMNS)]]
        cells += [["->" if t is self.best else "", *(show(t) for _, show in _COLUMNS)] for t in self.candidates]
        crops = ["crop by crop", short(self.crop_macs), "1.0x", f"{self.crop_seconds:.3g} s", "0", "0", "100.0 %"]
        cells.append(["", *crops])
        widths = [max(len(line[k]) for line in cells) for k in range(len(cells[0]))]
        lines = [
            "  ".join(
                text.ljust(w) if k < 2 else text.rjust(w) for k, (text, w) in enumerate(zip(c, widths, strict=True))
            )
            for c in cells
        ]
        rule = "-" * len(lines[0])
        return [line.rstrip() for line in (lines[0], rule, *lines[1:-1], rule, lines[-1])]


_COLUMNS: tuple[tuple[str, Callable[[Candidate], str]], ...] = (
    ("setting", lambda t: t.name),
    ("MACs", lambda t: short(t.macs)),
    ("fewer", lambda t: f"{t.fewer:.1f}x"),
    ("time", lambda t: f"{t.seconds:.3g} s"),
    ("error", lambda t: f"{t.error:.2g}"),
    ("worst", lambda t: f"{t.worst:.2g}"),
    ("same top", lambda t: f"{100 * t.agreement:.1f} %"),
)


def _legend() -> list[str]:
    text = (
        "MACs, fewer, time: of the whole scan, predicted. Error: mean difference from the crops over the spread of the "
        "scores. Worst: largest difference over their range. Same top: windows whose top class is the crop's. "
        "Border b: the outer b cells of every map as in the crop; maps of n whole: all cells of maps up to n wide."
    )
    return textwrap.wrap(text, 120)


@dataclass(frozen=True)
class Check:
    """A scan against a target, on windows that had no part in choosing its setting.

    Args:
        certificate: of these windows.
        target: how near to the crops the scores were to be.
        error: mean error over the spread.
        noise: what the error may be off by chance: two standard errors.
    """

    certificate: Certificate
    target: Target
    error: float
    noise: float

    @classmethod
    def of(
        cls, certificate: Certificate, target: Target, found: NDArray[np.floating], crops: NDArray[np.floating]
    ) -> Check:
        """The check from scores ``(windows, k)`` of the scan and of the crops."""
        each = window_errors(found, crops)
        noise = _NOISE * float(each.std(ddof=1)) / math.sqrt(len(each)) if len(each) > 1 else 0.0
        return cls(certificate, target, float(each.mean()), noise)

    @property
    def holds(self) -> bool:
        """Whether the target is met, or missed by no more than the noise of the sample.

        error - 2 s / sqrt(n) <= tolerance,   agreement + 2 sqrt(a (1 - a) / n) >= a, the agreement wished
        """
        wished = self.target.agreement or 0.0
        chance = _NOISE * math.sqrt(wished * (1 - wished) / self.certificate.samples)
        near = self.target.met(self.error - self.noise, self.certificate.top1_agreement + chance)
        return near and self.certificate.holds

    @property
    def verdict(self) -> str:
        """One line: what was wished, whether it holds, and the figures."""
        return (
            f"{'HOLDS' if self.holds else 'MISSED'}: wished {self.target}; "
            f"error {self.error:.2g} ± {self.noise:.1g}, same top class at {self.certificate.top1_agreement:.1%}"
        )

    def to_dict(self) -> dict[str, Any]:
        """The certificate with the target and its verdict in place of the mode's."""
        figures = {"error": self.error, "noise": self.noise, "target": asdict(self.target)}
        return self.certificate.to_dict() | figures | {"holds": self.holds, "verdict": self.verdict}
