"""How near to the crops the scores of a scan should be, and whether sampled windows show that they are."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fullfield.arguments import checks_fields
from fullfield.errors import GeometryError
from fullfield.verification.metrics import STANDARD_ERRORS, top_agreement, window_errors

DEFAULT_TOLERANCE = 0.02


@checks_fields
@dataclass(frozen=True)
class Target:
    """How near to the crops the scores should be; where both are given, both must be met.

    Args:
        tolerance: mean error over the spread of the scores, at most; 0.02 where nothing is given.
        agreement: share of windows whose top class is the crop's, at least.

    Raises:
        GeometryError: a tolerance below 0, or an agreement outside 0 to 1.

    Examples:
        >>> print(Target(agreement=0.99))
        the crops' top class at 0.99 of the windows or more
    """

    tolerance: float | None = None
    agreement: float | None = None

    def __post_init__(self) -> None:
        if self.tolerance is None and self.agreement is None:
            object.__setattr__(self, "tolerance", DEFAULT_TOLERANCE)
        if self.tolerance is not None and not self.tolerance >= 0:
            raise GeometryError("tolerance", f"{self.tolerance} is not 0 or more", fix="use 0.02, say")
        if self.agreement is not None and not 0 <= self.agreement <= 1:
            raise GeometryError("agreement", f"{self.agreement} is not between 0 and 1", fix="use 0.99, say")

    def met(self, error: float, agreement: float | None) -> bool:
        """Whether an error and an agreement, which features do not have, meet the target."""
        near = self.tolerance is None or error <= self.tolerance
        return near and (self.agreement is None or (agreement is not None and agreement >= self.agreement))

    def check_features(self, features: str | None) -> None:
        """Passes unless the top class of features is wanted, which have none.

        Raises:
            GeometryError: it is.
        """
        if features is not None and self.agreement is not None:
            what = f"{self.agreement} of top classes: features ({features}) have none"
            raise GeometryError("agreement", what, fix="give a tolerance")

    def __str__(self) -> str:
        parts = [] if self.tolerance is None else [f"an error of at most {self.tolerance:g} of the spread"]
        if self.agreement is not None:
            parts.append(f"the crops' top class at {self.agreement:.4g} of the windows or more")
        return " and ".join(parts)


@dataclass(frozen=True)
class TargetCheck:
    """A scan compared with a target, on windows that had no part in choosing its mode.

    Args:
        target: how near to the crops the scores should be.
        error: mean error over the spread.
        noise: by how much the error may be off by chance: two standard errors.
        agreement: share of the sampled windows whose top class is the crop's; ``None`` of features.
        samples: windows compared.
    """

    target: Target
    error: float
    noise: float
    agreement: float | None
    samples: int

    @classmethod
    def of(
        cls, target: Target, found: NDArray[np.floating], crops: NDArray[np.floating], *, features: bool = False
    ) -> TargetCheck:
        """The check from scores ``(windows, k)``, or features, of the scan and of the crops."""
        each = window_errors(found, crops)
        noise = STANDARD_ERRORS * float(each.std(ddof=1)) / math.sqrt(len(each)) if len(each) > 1 else 0.0
        agreement = None if features else top_agreement(found, crops)
        return cls(target, float(each.mean()), noise, agreement, len(each))

    @classmethod
    def from_dict(cls, figures: Mapping[str, Any], *, agreement: float | None, samples: int) -> TargetCheck:
        """The check that ``to_dict`` wrote next to a certificate's figures."""
        target = Target(figures["target"]["tolerance"], figures["target"]["agreement"])
        return cls(target, float(figures["error"]), float(figures["noise"]), agreement, samples)

    @property
    def holds(self) -> bool:
        """Whether the target is met, or missed by no more than the noise of the sample.

        error - 2 s / sqrt(n) <= tolerance,   agreement + 2 sqrt(a (1 - a) / n) >= a, the agreement wanted
        """
        wanted = self.target.agreement or 0.0
        chance = STANDARD_ERRORS * math.sqrt(wanted * (1 - wanted) / self.samples)
        agreement = None if self.agreement is None else self.agreement + chance
        return self.target.met(self.error - self.noise, agreement)

    @property
    def verdict(self) -> str:
        """One line: what was wanted, whether it holds, and the figures."""
        said = f"{'HOLDS' if self.holds else 'MISSED'}: wanted {self.target}; error {self.error:.2g} ± {self.noise:.1g}"
        return said if self.agreement is None else f"{said}, same top class at {self.agreement:.1%}"

    def to_dict(self) -> dict[str, Any]:
        """What a certificate's figures do not say already, as JSON-able values."""
        return {"error": self.error, "noise": self.noise, "target": asdict(self.target)}
