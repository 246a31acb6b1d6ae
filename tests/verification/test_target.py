"""How near to the crops scores should be, and what a sample shows of it."""

import json

import numpy as np
import pytest

from fullfield import ArgumentError, GeometryError
from fullfield.verification.target import Target, TargetCheck


def test_a_target_without_figures_is_a_tolerance_of_two_hundredths() -> None:
    assert Target() == Target(tolerance=0.02)
    assert Target(agreement=0.9).tolerance is None


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"tolerance": -0.1}, "tolerance: -0.1 is not 0 or more"),
        ({"tolerance": float("nan")}, "tolerance: nan is not 0 or more"),
        ({"agreement": 1.5}, "agreement: 1.5 is not between 0 and 1"),
        ({"tolerence": 0.1}, "did you mean tolerance"),
    ],
)
def test_what_cannot_be_a_target_is_refused(given: dict[str, float], text: str) -> None:
    with pytest.raises((GeometryError, ArgumentError), match=text):
        Target(**given)


def test_both_figures_must_be_met() -> None:
    both = Target(0.02, 0.9)
    assert both.met(0.02, 0.9)
    assert not both.met(0.03, 0.95)
    assert not both.met(0.01, 0.89)
    assert str(both) == "an error of at most 0.02 of the spread and the crops' top class at 0.9 of the windows or more"


def test_a_check_allows_for_the_noise_of_its_sample_and_no_more() -> None:
    rng = np.random.default_rng(0)
    crops = rng.normal(size=(400, 5))
    near, far = (crops + size * rng.normal(size=crops.shape) for size in (0.02, 0.2))
    assert TargetCheck.of(Target(0.02), near, crops).holds
    missed = TargetCheck.of(Target(0.02), far, crops)
    assert not missed.holds
    assert missed.verdict.startswith("MISSED: wanted an error of at most 0.02")
    edge = TargetCheck(Target(0.02), error=0.024, noise=0.005, agreement=1.0, samples=64)
    assert edge.holds
    assert not TargetCheck(Target(0.02), error=0.026, noise=0.005, agreement=1.0, samples=64).holds


def test_agreement_is_held_to_two_standard_errors() -> None:
    assert TargetCheck(Target(agreement=0.9), 0.0, 0.0, agreement=0.83, samples=64).holds  # 0.9 - 2 * 0.0375
    assert not TargetCheck(Target(agreement=0.9), 0.0, 0.0, agreement=0.82, samples=64).holds


def test_a_check_survives_json() -> None:
    check = TargetCheck(Target(0.02, 0.9), 0.01, 0.002, agreement=0.95, samples=64)
    again = TargetCheck.from_dict(json.loads(json.dumps(check.to_dict())), agreement=0.95, samples=64)
    assert again == check
