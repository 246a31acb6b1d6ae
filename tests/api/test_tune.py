"""Tuning: the sampled windows are the scan's, the figures are of these, the cheapest setting that will do is named."""

import json
import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import fullfield
from fullfield import Compute, Where
from fullfield.api.tune import tune
from fullfield.engine.progress import Progress
from fullfield.errors import FullfieldError, GeometryError
from fullfield.jobs.candidates import Candidate, Tuning
from fullfield.jobs.prepare import prepare
from fullfield.jobs.request import ScanRequest
from fullfield.jobs.tuning import coarse_step, tune_modes, useful_borders
from fullfield.planning import Borders
from fullfield.verification.certificate import Certificate
from fullfield.verification.metrics import relative_difference, window_errors
from fullfield.verification.target import Target, TargetCheck
from tests.oracle import captured


def padded() -> nn.Sequential:
    """Padding on maps of 32, 16 and 8 cells, where the windows' share runs out only at the head."""
    layers: list[nn.Module] = []
    channels = 1
    for _ in range(2):
        layers += [nn.Conv2d(channels, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 4, 3, padding=1), nn.MaxPool2d(2)]
        channels = 4
    return nn.Sequential(*layers, nn.Conv2d(4, 4, 3, padding=1), nn.Flatten(), nn.Linear(4 * 64, 3))


def photo(height: int = 90, width: int = 110) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, (height, width), dtype=np.uint8)


@pytest.fixture(scope="module")
def net() -> fullfield.Model:
    return captured(padded(), 32, channels=1).with_preprocessing("unit-grey")


def until_met(
    net: fullfield.Model, image: np.ndarray, target: Target, where: Where | None = None, **settings: Any
) -> Tuning:
    """The modes up to the first that meets the target, as a scan to a target tries them."""
    request = ScanRequest.parse(net, image, step=2, where=where)
    return tune_modes(request, target, until_met=True, **({"samples": 12} | settings))


@pytest.fixture(scope="module")
def tuning(net: fullfield.Model) -> Tuning:
    return tune(net, photo(), step=2, samples=12, tolerance=0.1)


def test_every_setting_is_cheaper_than_the_next_and_exact_is_last(tuning: Tuning) -> None:
    assert tuning.candidates[0].mode == "context"
    assert tuning.candidates[-1].mode == "exact"
    assert len(tuning.candidates) >= 4
    assert [t.seconds for t in tuning.candidates] == sorted(t.seconds for t in tuning.candidates)
    assert any(isinstance(t.mode, tuple) for t in tuning.candidates)
    assert tuning.candidates[-1].error < 1e-9 < 1e-3 < tuning.candidates[0].error
    assert tuning.candidates[-1].agreement == 1


@pytest.mark.parametrize(("step", "coarse"), [(1, 4), (3, 12), (8, 8)])
def test_errors_are_those_of_the_whole_scan(
    net: fullfield.Model, step: int, coarse: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fullfield.jobs.tuning.coarse_step", lambda *_: (coarse, coarse))
    image = photo(52, 58)
    found = tune(net, image, step=step, samples=10**6)
    places = [Placed(scan=fullfield.scan(net, image, step=step, mode=t.mode)) for t in found.candidates]
    every = coarse // step
    crops = places[-1].pick(every)
    assert found.samples == len(crops)
    for trial, place in zip(found.candidates, places, strict=True):
        assert trial.error == pytest.approx(window_errors(place.pick(every), crops).mean(), rel=1e-9, abs=1e-12)
        assert trial.worst == pytest.approx(relative_difference(place.pick(every), crops), rel=1e-9, abs=1e-12)
    assert found.candidates[0].error > 1e-3


@dataclass(frozen=True)
class Placed:
    """A scan, of which a coarser one is a part."""

    scan: fullfield.Scores

    def pick(self, every: int) -> np.ndarray:
        """Scores ``(windows, k)``."""
        array = self.scan.array[:, ::every, ::every]
        return array.reshape(len(array), -1).T


def test_costs_are_those_of_the_plan(net: fullfield.Model, tuning: Tuning) -> None:
    for trial in tuning.candidates:
        table = fullfield.plan(net, photo(), step=2, mode=trial.mode).table
        assert (trial.macs, trial.mac_ratio) == (table.scan.total, table.mac_ratio)


def test_the_best_is_the_cheapest_that_meets_the_target(tuning: Tuning) -> None:
    best = tuning.best
    assert best.error + best.noise <= 0.1
    assert all(t.error + t.noise > 0.1 for t in tuning.candidates[: tuning.candidates.index(best)])
    assert replace(tuning, target=Target(tolerance=0)).best.mode == "exact"
    assert replace(tuning, target=Target(tolerance=math.inf)).best.mode == "context"
    assert replace(tuning, target=Target(agreement=0)).best.mode == "context"


def test_a_mode_that_meets_the_target_by_chance_only_is_not_chosen_but_named(tuning: Tuning) -> None:
    fastest = tuning.candidates[0]
    assert fastest.noise > 1e-3
    assert 0 < fastest.agreement_noise < 1
    sure = replace(tuning, target=Target(tolerance=fastest.error + fastest.noise))
    assert (sure.best, sure.unsure) == (fastest, None)
    unsure = replace(tuning, target=Target(tolerance=fastest.error))
    assert unsure.best.seconds > fastest.seconds
    assert unsure.unsure == fastest
    assert "context meets it on these windows, but not with its noise: more samples may show it." in str(unsure)
    assert f"{fastest.error:.2g} + {fastest.noise:.1g}" in str(unsure)
    assert unsure.to_dict()["candidates"][0]["meets"] is False


def test_a_sample_of_all_windows_has_no_noise(net: fullfield.Model) -> None:
    found = tune(net, photo(40, 44), step=4, samples=10**6)
    assert found.samples == found.windows
    assert {(t.noise, t.agreement_noise) for t in found.candidates} == {(0.0, 0.0)}


def test_an_agreement_draws_the_windows_that_can_show_it(net: fullfield.Model) -> None:
    found = until_met(net, photo(120, 120), Target(agreement=0.95), samples=4)
    assert 76 <= found.samples <= 80


def test_tuning_can_stop_at_the_first_setting_that_will_do(net: fullfield.Model, tuning: Tuning) -> None:
    seen: list[Progress] = []
    first = until_met(net, photo(), Target(1e9), progress=seen.append)
    assert [t.mode for t in first.candidates] == ["context"]
    assert first.candidates[0].error == tuning.candidates[0].error
    assert [now.stage for now in seen[:-1]] == ["preparing the model", "running sampled windows as crops", "planning"]
    assert (seen[-1].stage, seen[-1].done, seen[-1].unit) == ("tuning", 1, "modes")
    assert seen[-1].total > 1


def test_the_draw_is_repeatable_and_of_the_size_asked_for(net: fullfield.Model, tuning: Tuning) -> None:
    again = tune(net, photo(), step=2, samples=12, tolerance=0.1)
    assert [t.error for t in again.candidates] == [t.error for t in tuning.candidates]
    other = until_met(net, photo(), Target(), seed=1)
    assert other.candidates[0].error != tuning.candidates[0].error
    assert 12 <= tuning.samples <= 15
    assert tuning.windows == 30 * 40


def test_a_budget_too_small_for_four_windows_is_kept_with_one(net: fullfield.Model) -> None:
    def least(tile: tuple[int, int]) -> int:
        modes = (0, 1, 2, 3, 4, 6, 8, "exact")
        return max(
            fullfield.plan(net, photo(), step=8, mode=mode, compute=Compute(tile=tile)).cost.peak_bytes
            for mode in modes
        )

    assert least((1, 1)) < least((2, 2))
    found = tune(net, photo(), step=8, samples=4, compute=Compute(budget=least((1, 1)) + 100_000))
    assert found.samples >= 4
    with pytest.raises(FullfieldError, match="allow at least"):
        tune(net, photo(), step=8, compute=Compute(budget=1000))


def test_a_network_that_cannot_slide_is_tuned_without_context() -> None:
    class Attention(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Sequential(*(nn.Conv2d(1 if k == 0 else 4, 4, 3, padding=1) for k in range(3)))
            self.attention = nn.MultiheadAttention(4, 2, batch_first=True)
            self.head = nn.Linear(4, 2)

        def forward(self, x):  # type: ignore[no-untyped-def]
            x = self.conv(x)[:, :, ::4, ::4].flatten(2).transpose(1, 2)
            return self.head(self.attention(x, x, x, need_weights=False)[0].mean(1))

    found = tune(
        captured(Attention(), 16, channels=1).with_preprocessing("unit-grey"), photo(40, 40), step=4, samples=4
    )
    assert all(t.mode != "context" for t in found.candidates)
    assert found.candidates[-1].error < 1e-9


def test_an_unpadded_network_has_one_setting() -> None:
    net = captured(nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(72, 2)), 8, channels=1)
    found = tune(net, photo(30, 30).astype(float), step=3, samples=4)
    assert [t.name for t in found.candidates] == ["exact"]


def test_settings_differ_from_each_other_and_from_exact(net: fullfield.Model) -> None:
    network = prepare(net, sliding=True).network
    found = useful_borders(network)
    places = [b.places(network) for b in found]
    assert Borders(0) in found
    assert Borders(1, 8) in found
    assert all(places[i] not in places[:i] for i in range(len(places)))
    assert network.places() not in places
    assert all(b.cells for b in useful_borders(network, sliding=False))


@pytest.mark.parametrize(
    ("step", "stride", "pixels", "coarse"),
    [
        (8, 32, 4000, 32),  # the stride
        (1, 32, 4000, 32),
        (7, 32, 40_000, 224),  # their common multiple
        (1, 8, 4000, 56),  # up to a fourth of the window, in multiples of the stride
        (1, 32, 300, 4),  # enough windows
        (8, 32, 224, 8),  # a single one
        (64, 32, 4000, 64),
    ],
)
def test_the_coarse_step_is_a_multiple_of_both(step: int, stride: int, pixels: int, coarse: int) -> None:
    assert coarse_step((step, 5), (stride, 1), (224, 8), (pixels, 999), 64)[0] == coarse


@pytest.mark.parametrize(
    ("target", "text"),
    [
        ({"tolerance": -0.1}, "-0.1 is not 0 or more"),
        ({"tolerance": math.nan}, "nan is not 0 or more"),
        ({"agreement": 1.1}, "1.1 is not between 0 and 1"),
        ({"samples": 0}, "0 is not a positive integer"),
    ],
)
def test_a_target_that_cannot_be_one_is_refused(net: fullfield.Model, target: dict[str, float], text: str) -> None:
    with pytest.raises(GeometryError, match=text):
        tune(net, photo(), **target)  # type: ignore[arg-type]


def test_both_figures_of_a_target_count() -> None:
    target = Target(0.1, 0.9)
    assert target.met(0.1, 0.9)
    assert not target.met(0.11, 1.0)
    assert not target.met(0.0, 0.89)
    assert Target() == Target(0.02)
    assert str(target) == "an error of at most 0.1 of the spread and the crops' top class at 0.9 of the windows or more"


def trial(mode: object, seconds: float, error: float, agreement: float) -> Candidate:
    return Candidate(mode, 10**9, 5.0, seconds, error, 2 * error, agreement)  # type: ignore[arg-type]


def example(target: Target) -> Tuning:
    candidates = (trial("context", 1, 0.5, 0.6), trial((2, 14), 4, 0.015, 0.98), trial("exact", 8, 0, 1))
    return Tuning(candidates, target, 64, 0, 1000, (8, 8), 1.5, 5 * 10**9, 16.0)


def test_the_table_marks_the_setting_chosen() -> None:
    lines = str(example(Target(0.02))).splitlines()
    assert lines[0] == "64 of 1000 windows compared with their crops (seed 0); scores vary by 1.5"
    assert lines[2].split() == ["mode", "MACs", "fewer", "time", "error", "worst", "same", "top"]
    assert lines[5].startswith("->  border 2, maps of 14 whole  1.00 G   5.0x   4 s  0.015")
    assert lines[-1].endswith("border 2, maps of 14 whole, 5.0x fewer multiply-adds and about 4.0x faster.")
    assert [t.name for t in example(Target(0.02)).candidates] == ["context", "border 2, maps of 14 whole", "exact"]
    assert trial(3, 1, 0, 1).name == "border 3"


def test_json_has_every_setting_and_the_best() -> None:
    facts = json.loads(json.dumps(example(Target(None, 0.99)).to_dict()))
    assert [t["meets"] for t in facts["candidates"]] == [False, False, True]
    assert (facts["best"]["mode"], facts["candidates"][1]["mode"]) == ("exact", [2, 14])


@pytest.mark.parametrize(
    ("target", "error", "noise", "agreement", "holds"),
    [
        (Target(0.02), 0.019, 0.0, 0.5, True),
        (Target(0.02), 0.025, 0.006, 0.5, True),  # missed by less than the noise
        (Target(0.02), 0.025, 0.004, 0.5, False),
        (Target(None, 0.9), 1.0, 0.0, 0.85, True),  # 2 sqrt(0.9 * 0.1 / 100) = 0.06
        (Target(None, 0.9), 1.0, 0.0, 0.83, False),
        (Target(None, 1.0), 1.0, 0.0, 0.99, False),
        (Target(0.02, 0.9), 0.5, 0.0, 0.95, False),
    ],
)
def test_a_target_is_missed_beyond_the_noise(
    target: Target, error: float, noise: float, agreement: float, holds: bool
) -> None:
    check = TargetCheck(target, error, noise, agreement, samples=100)
    found = Certificate(
        "context", 100, 1000, 0.1, 0.01, 1.0, agreement, (0, 0), (0, 0), "float64", 1e-9, 0, check=check
    )
    assert found.holds is holds
    assert found.verdict.startswith("HOLDS" if holds else "MISSED")
    assert found.to_dict()["holds"] is holds
    assert Certificate.from_dict(json.loads(json.dumps(found.to_dict()))) == found


def test_an_exact_scan_must_be_exact_too() -> None:
    check = TargetCheck(Target(0.5), 0.0, 0.0, 1.0, samples=100)
    found = Certificate("exact", 100, 1000, 0.1, 0.01, 1.0, 1.0, (0, 0), (0, 0), "float64", 1e-9, 0, check=check)
    assert not found.holds
    assert found.verdict.startswith("NOT EXACT")


def test_where_scores_do_not_vary_errors_are_absolute_and_the_cheapest_setting_without_is_found() -> None:
    module = padded()
    with torch.no_grad():
        module[8].weight.zero_()
    tuning = tune(captured(module, 32, channels=1).with_preprocessing("unit-grey"), photo(), step=2, samples=12)
    assert tuning.spread == 0
    assert tuning.best is tuning.candidates[0]
    assert all(trial.error < 1e-12 for trial in tuning.candidates)
    assert "scores do not vary: errors are absolute\n" in str(tuning)


def test_a_scan_tuned_to_a_target_is_compared_with_it_on_other_windows(net: fullfield.Model) -> None:
    said: list[str] = []
    scores = fullfield.scan(
        net, photo(), step=4, mode=Target(1e9), verify=20, progress=lambda now: said.append(now.remark)
    )
    found = scores.certificate
    assert found is not None
    assert found.check is not None
    assert (scores.mode, found.holds, found.samples, found.seed) == ("context", True, 20, 1)
    assert found.check.noise > 0
    assert found.verdict.startswith("HOLDS: wanted an error of at most 1e+09")
    assert any("context" in remark and "fewer multiply-adds" in remark for remark in said)


def test_a_target_that_only_exact_scores_meet_gives_exact_scores(net: fullfield.Model, tmp_path: Path) -> None:
    output = tmp_path / "map.zarr"
    scores = fullfield.scan(net, photo(), step=8, mode=Target(tolerance=0), output=output)
    assert scores is not None
    assert scores.mode == "exact"
    assert scores.certificate is not None
    assert scores.certificate.check is not None
    assert fullfield.open_scores(output).certificate == scores.certificate


def test_a_mask_draws_the_sample_from_the_windows_it_wants(net: fullfield.Model) -> None:
    mask = np.zeros((90, 110), np.uint8)
    mask[:40, :40] = 1
    found = until_met(net, photo(), Target(1e9), where=Where(mask=mask))
    assert found.samples >= 12


def test_one_window_has_no_noise() -> None:
    one = np.array([[1.0, 2.0]])
    assert TargetCheck.of(Target(), one, one).noise == 0
