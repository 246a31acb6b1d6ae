"""The result of a comparison of a scan with crops, and whether it counts as exact."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fullfield.errors import ImageError
from fullfield.text import html_text
from fullfield.verification.metrics import absolute_differences, score_range, score_spread, top_agreement
from fullfield.verification.target import TargetCheck

TOLERANCE = {"float64": 1e-9, "float32": 1e-4, "bfloat16": 5e-2, "float16": 1e-2}


@dataclass(frozen=True)
class Certificate:
    """Scores of a scan compared with those of sampled windows that the original network computed as crops.

    Args:
        mode: of the scan.
        samples: windows compared.
        windows: windows of the whole map.
        max_difference: largest absolute difference of a score.
        mean_difference: mean absolute difference.
        score_range: greatest minus least score of the crops.
        top1_agreement: share of the sampled windows whose best class is the same; ``None`` of features.
        worst: cell ``(i, j)`` of the largest difference.
        worst_scores: scan's and crop's score there.
        dtype: the model's own type, in which the crops were computed.
        tolerance: largest difference over the range that still counts as exact in this type.
        seed: of the sample.
        batch_difference: largest absolute difference between a crop's scores alone and in a batch of crops.
        check: the target that the scan was tuned to, and whether the sample shows that it is met.
        input: how the pixels became network input, with a warning where that is not known.
        precision: type in which the scan was computed, where it is not the model's own.
        spread: how much a score of the crops varies between the sampled windows: the root of its variance, averaged
            over the classes.
    """

    mode: str
    samples: int
    windows: int
    max_difference: float
    mean_difference: float
    score_range: float
    top1_agreement: float | None
    worst: tuple[int, int]
    worst_scores: tuple[float, float]
    dtype: str
    tolerance: float
    seed: int
    batch_difference: float = 0.0
    check: TargetCheck | None = None
    input: str = ""
    precision: str | None = None
    spread: float = 0.0

    @property
    def relative(self) -> float:
        """Largest difference over the range of the scores."""
        return self._over_range(self.max_difference)

    @property
    def equal(self) -> bool:
        """Whether the scores agree up to the rounding of the arithmetic."""
        return self.relative <= self.tolerance and self.batch_independent

    @property
    def batch_independent(self) -> bool:
        """Whether a crop has the same scores alone and in a batch of crops, up to the rounding of the arithmetic."""
        return self._over_range(self.batch_difference) <= self.tolerance

    @property
    def holds(self) -> bool:
        """Whether the scan is as its mode promises; ``context`` promises no equality."""
        as_promised = self.equal if self.mode == "exact" and self.precision is None else self.batch_independent
        return as_promised and (self.check is None or self.check.holds)

    @property
    def verdict(self) -> str:
        """One line: ``EXACT``, ``NOT EXACT: …``, ``CONTEXT: differs by …`` or ``BFLOAT16: differs by …``.

        With a target ``HOLDS`` or ``MISSED``.
        """
        if not self.batch_independent:
            by = f"{self._over_range(self.batch_difference):.3g} of their range"
            return f"NOT EXACT: a crop's scores differ by {by} alone and in a batch of crops"
        if self.check is not None and (self.mode != "exact" or self.precision or self.equal):
            return self.check.verdict
        if self.equal and self.precision is None:
            return "EXACT" if self.mode == "exact" else "CONTEXT: equal to the crops on this image"
        by = f"differs by {self.relative:.3g} of the {'features' if self.top1_agreement is None else 'scores'}' range"
        if self.top1_agreement is not None:
            by += f", top class agrees at {self.top1_agreement:.1%} of the windows"
        said = self.precision.upper() if self.precision else "NOT EXACT"
        return f"{said if self.mode == 'exact' else self._said_context()}: {by}"

    def _said_context(self) -> str:
        return f"CONTEXT, {self.precision.upper()}" if self.precision else "CONTEXT"

    def _over_spread(self) -> str:
        if not self.spread:
            return ""
        return f"  ({self.mean_difference / self.spread:.3g} of what scores vary by between windows, {self.spread:.4g})"

    def _over_range(self, difference: float) -> float:
        return difference / self.score_range if self.score_range > 0 else difference

    def to_dict(self) -> dict[str, Any]:
        """All figures and the verdict as JSON-able values."""
        figures = asdict(self) | {"relative": self.relative, "holds": self.holds, "verdict": self.verdict}
        del figures["check"]
        figures |= {} if self.check is None else self.check.to_dict()
        return figures | {"worst": list(self.worst), "worst_scores": list(self.worst_scores)}

    @classmethod
    def from_dict(cls, figures: Mapping[str, Any]) -> Certificate:
        """The certificate whose ``to_dict`` is given, also after a pass through JSON; other entries are ignored.

        Raises:
            ImageError: a figure is missing or is no number.
        """
        try:
            row, column = map(int, figures["worst"])
            scan, crop = map(float, figures["worst_scores"])
            agreement, samples = figures["top1_agreement"], int(figures["samples"])
            agreement = None if agreement is None else float(agreement)
            tuned = "target" in figures
            return cls(
                mode=str(figures["mode"]),
                samples=samples,
                windows=int(figures["windows"]),
                max_difference=float(figures["max_difference"]),
                mean_difference=float(figures["mean_difference"]),
                score_range=float(figures["score_range"]),
                top1_agreement=agreement,
                worst=(row, column),
                worst_scores=(scan, crop),
                dtype=str(figures["dtype"]),
                tolerance=float(figures["tolerance"]),
                seed=int(figures["seed"]),
                batch_difference=float(figures.get("batch_difference", 0.0)),  # 0.1.0's first certificates had none
                check=TargetCheck.from_dict(figures, agreement=agreement, samples=samples) if tuned else None,
                input=str(figures.get("input", "")),
                precision=None if figures.get("precision") is None else str(figures["precision"]),
                spread=float(figures.get("spread", 0.0)),
            )
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise ImageError("certificate", f"cannot be read ({error!r})", fix="verify the scores again") from error

    def __repr__(self) -> str:
        return f"<Certificate: {self.samples} of {self.windows} windows run as crops: {self.verdict}>"

    def _repr_html_(self) -> str:
        return html_text(str(self))

    def __str__(self) -> str:
        return "\n".join(
            (
                f"{self.samples} of {self.windows} windows run as crops ({self.dtype}, seed {self.seed})"
                + (f", the scan in {self.precision}" if self.precision else ""),
                *([f"  input                {self.input}"] if self.input else []),
                (
                    f"  largest difference   {self.max_difference:.3g}  "
                    f"({self.relative:.3g} of the range {self.score_range:.4g})"
                ),
                f"  mean difference      {self.mean_difference:.3g}" + self._over_spread(),
                *([] if self.top1_agreement is None else [f"  top-1 agreement      {self.top1_agreement:.1%}"]),
                (
                    f"  worst window         {self.worst}: "
                    f"scan {self.worst_scores[0]:.6g}, crop {self.worst_scores[1]:.6g}"
                ),
                f"  {self.verdict}",
            )
        )


def compare(
    scan: NDArray[np.floating],
    crops: NDArray[np.floating],
    cells: list[tuple[int, int]],
    *,
    mode: str,
    windows: int,
    dtype: str,
    seed: int,
    precision: str | None = None,
    alone: Mapping[int, NDArray[np.floating]] | None = None,
) -> Certificate:
    """The certificate for scores ``(samples, k)`` of the same ``cells`` from both runs.

    Scores that are not finite count as equal if both are the same, otherwise as infinitely different.

    Args:
        scan: scores of the scan.
        crops: scores of the crops, which were run in batches.
        cells: their cells ``(i, j)``.
        mode, windows, dtype, seed, precision: as of ``Certificate``.
        alone: scores ``(k,)`` of some of the crops that were run alone too, by their index. The scan is compared with
            these there.
    """
    alone = alone or {}
    together, crops = crops, crops.copy()
    for sample, scores in alone.items():
        crops[sample] = scores
    difference = absolute_differences(scan, crops)
    sample, score = divmod(int(np.argmax(difference)), difference.shape[1])
    return Certificate(
        mode=mode,
        samples=len(cells),
        windows=windows,
        max_difference=float(difference.max()),
        mean_difference=float(difference.mean()),
        score_range=score_range(crops),
        top1_agreement=top_agreement(scan, crops),
        worst=cells[sample],
        worst_scores=(float(scan[sample, score]), float(crops[sample, score])),
        dtype=dtype,
        tolerance=TOLERANCE[dtype],
        seed=seed,
        batch_difference=float(absolute_differences(together, crops).max()),
        precision=precision,
        spread=score_spread(crops),
    )
