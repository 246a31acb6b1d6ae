"""``fullfield.decide``: one score a class for an image, without a map that is kept."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, overload

from fullfield.api.scores import Scores
from fullfield.arguments import checks_keywords
from fullfield.decisions.decide import decide_scores
from fullfield.decisions.joint import decide_maps, decide_maps_regions
from fullfield.decisions.rule import DecisionRule
from fullfield.engine.progress import announce
from fullfield.errors import ArgumentError
from fullfield.importers.load import load
from fullfield.jobs.parse_passes import Passes, parse_passes
from fullfield.jobs.passes import prepare_passes, scanned_passes
from fullfield.jobs.request import ScanRequest, StepLike
from fullfield.jobs.to_decision import check_decidable, scanned_map
from fullfield.store.encoding import Encoding
from fullfield.verification.target import Target

if TYPE_CHECKING:
    from fullfield.decisions.decision import Decision
    from fullfield.decisions.rule import ScoresUsed
    from fullfield.engine.progress import OnProgress
    from fullfield.image.views import ViewsLike
    from fullfield.importers.load import ModelLike
    from fullfield.jobs.parse_passes import Modes, ScalesLike
    from fullfield.mask.where import Where
    from fullfield.model.model import Model
    from fullfield.planning.compute import Compute
    from fullfield.store.maps import ScoreMap


@overload
def decide(
    model: ModelLike,
    image: object,
    how: str = "mean",
    *,
    on: ScoresUsed = "scores",
    step: StepLike | None = None,
    mode: Modes | Target = "exact",
    scale: float = 1.0,
    scales: ScalesLike = None,
    views: ViewsLike = None,
    where: Where | None = None,
    compute: Compute | None = None,
    progress: OnProgress | None = None,
) -> Decision: ...
@overload
def decide(
    model: ModelLike,
    image: object,
    how: DecisionRule,
    *,
    on: ScoresUsed = "scores",
    step: StepLike | None = None,
    mode: Modes | Target = "exact",
    scale: float = 1.0,
    scales: ScalesLike = None,
    views: ViewsLike = None,
    where: Where | None = None,
    compute: Compute | None = None,
    progress: OnProgress | None = None,
) -> Decision | tuple[Decision, ...]: ...
@checks_keywords
def decide(
    model: ModelLike,
    image: object,
    how: str | DecisionRule = "mean",
    *,
    on: ScoresUsed = "scores",
    step: StepLike | None = None,
    mode: Modes | Target = "exact",
    scale: float = 1.0,
    scales: ScalesLike = None,
    views: ViewsLike = None,
    where: Where | None = None,
    compute: Compute | None = None,
    progress: OnProgress | None = None,
) -> Decision | tuple[Decision, ...]:
    """One score a class for an image, from the scores of all its windows.

    It equals ``scan(model, image, ...).decide(how, on=on)`` to the last bit, and keeps no map: a map that does not fit
    the budget besides the scan is written to a temporary folder (``TMPDIR`` names its place), and removed.

    Several sizes, views and modes are decided as one. Views and modes of a size have the same windows: what is decided
    on is averaged over them, window by window. The windows of all sizes are then decided as those of one map, in which
    each size counts every pixel of the image that it covers once.

    Args:
        model, image, step, scale, where, compute, progress: as for ``scan``.
        how: the function of the scores, as for ``Scores.decide``; or a ``DecisionRule``, which also says classes,
            temperature and regions.
        on: what it is a function of, as for ``Scores.decide``.
        mode: as for ``scan``; or several: ``("exact", "context")``.
        scales: factors on the image's size, besides ``scale``: ``[0.75, 1, 1.5]``.
        views: ``"flips"``, ``"turns"`` (four each, the image as it is among them), ``"all"`` eight; or a list of
            ``original``, ``flip-x``, ``flip-y``, ``turn-90``, ``turn-180``, ``turn-270`` (counterclockwise),
            ``transpose`` and ``transpose-180``.

    Returns:
        The decision; for a rule with regions one for each of them.

    Raises:
        FullfieldError: as for ``scan`` and ``Scores.decide``; what can be checked is checked before the scan.
    """
    rule, passes = parse_rule(how, on), parse_passes(scales, views, mode)
    if isinstance(model, (str, os.PathLike)):
        announce(progress, "reading the model")
    net = load(model)
    check_decidable(net, Encoding(), rule)
    settings: dict[str, Any] = {"step": step, "scale": scale, "where": where, "compute": compute, "progress": progress}
    with decided_scans(net, image, rule, passes, mode=mode, **settings) as (_, decision):
        return decision


@contextmanager
def decided_scans(
    model: Model,
    image: object,
    rule: DecisionRule,
    passes: Passes,
    *,
    mode: Modes | Target = "exact",
    verify: int = 0,
    progress: OnProgress | None = None,
    finished: ScoreMap | None = None,
    **settings: Any,
) -> Iterator[tuple[Scores, Decision | tuple[Decision, ...]]]:
    """The decision of an image, and the scores of its first scan while they are needed.

    Args:
        passes: the scans.
        mode, progress: as for ``decide``.
        verify: windows to run as crops, of a single scan.
        finished: the map of the image in the first mode, if it was scanned with these settings already.
        settings: the others of ``ScanRequest.parse``.
    """
    if verify and not passes.single:
        raise ArgumentError("verify", "compares one scan with crops, several are decided", fix="leave verify out")
    request = replace(ScanRequest.parse(model, image, samples=verify, **settings), borders=passes.modes[0])
    if passes.single:
        request = _tuned(request, mode, progress)
        with scanned_map(request, progress) as scores:
            announce(progress, "deciding")
            yield Scores(scores), decide_scores(scores, rule)
        return
    if isinstance(mode, Target):
        passes, finished = replace(passes, modes=(_tuned(request, mode, progress).borders,)), None
    with scanned_passes(prepare_passes(request, passes, progress, finished=finished), progress) as sizes:
        announce(progress, "deciding")
        every = (decide_maps(sizes, rule),) if rule.regions is None else decide_maps_regions(sizes, rule)
        combined = tuple(replace(each, combined=passes.texts) for each in every)
        yield Scores(sizes[0][0]), combined[0] if rule.regions is None else combined


def _tuned(request: ScanRequest, mode: Modes | Target, progress: OnProgress | None) -> ScanRequest:
    """The request in the mode that meets a target; as it is where none is given."""
    if not isinstance(mode, Target):
        return request
    from fullfield.jobs.tuning import tuned

    return tuned(request, mode, progress)


def parse_rule(how: str | DecisionRule, on: ScoresUsed) -> DecisionRule:
    """The rule for the arguments of a verb.

    Raises:
        ArgumentError: two say what is decided on.
    """
    if not isinstance(how, DecisionRule):
        return DecisionRule(how, on)
    if on != "scores":
        what = f"is {on}, and the rule says {how.on}"
        raise ArgumentError("on", what, fix="write DecisionRule(..., on=...) alone")
    return how
