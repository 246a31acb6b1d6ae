"""``fullfield.decide``: one score a class for an image, without a map that is kept."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, overload

from fullfield.api.scores import Scores
from fullfield.arguments import checks_keywords
from fullfield.decisions.decide import decide_map, decide_regions
from fullfield.decisions.rule import DecisionRule
from fullfield.engine.progress import announce
from fullfield.errors import ArgumentError
from fullfield.importers.load import load
from fullfield.jobs.request import ScanRequest, StepLike
from fullfield.jobs.to_decision import check_decidable, scanned_map
from fullfield.jobs.tuning import tuned
from fullfield.store.encoding import Encoding
from fullfield.verification.target import Target

if TYPE_CHECKING:
    from fullfield.decisions.decision import Decision
    from fullfield.decisions.rule import ScoresUsed
    from fullfield.engine.progress import OnProgress
    from fullfield.importers.load import ModelLike
    from fullfield.mask.where import Where
    from fullfield.model.model import Model
    from fullfield.planning.compute import Compute
    from fullfield.planning.mode import AnyMode


@overload
def decide(
    model: ModelLike,
    image: object,
    how: str = "mean",
    *,
    on: ScoresUsed = "scores",
    step: StepLike | None = None,
    mode: AnyMode | Target = "exact",
    scale: float = 1.0,
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
    mode: AnyMode | Target = "exact",
    scale: float = 1.0,
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
    mode: AnyMode | Target = "exact",
    scale: float = 1.0,
    where: Where | None = None,
    compute: Compute | None = None,
    progress: OnProgress | None = None,
) -> Decision | tuple[Decision, ...]:
    """One score a class for an image, from the scores of all its windows.

    It equals ``scan(model, image, ...).decide(how, on=on)`` to the last bit, and keeps no map: a map that does not fit
    the budget besides the scan is written to a temporary folder (``TMPDIR`` names its place), and removed.

    Args:
        model, image, step, mode, scale, where, compute, progress: as for ``scan``.
        how: the function of the scores, as for ``Scores.decide``; or a ``DecisionRule``, which also says classes,
            temperature and regions.
        on: what it is a function of, as for ``Scores.decide``.

    Returns:
        The decision; for a rule with regions one for each of them.

    Raises:
        FullfieldError: as for ``scan`` and ``Scores.decide``; what can be checked is checked before the scan.
    """
    rule = parse_rule(how, on)
    if isinstance(model, (str, os.PathLike)):
        announce(progress, "reading the model")
    net = load(model)
    check_decidable(net, Encoding(), rule)
    with scanned(
        net, image, step=step, mode=mode, scale=scale, where=where, compute=compute, progress=progress
    ) as scores:
        announce(progress, "deciding")
        return decide_map(scores.map, rule) if rule.regions is None else decide_regions(scores.map, rule)


@contextmanager
def scanned(
    model: Model,
    image: object,
    *,
    step: StepLike | None = None,
    mode: AnyMode | Target = "exact",
    scale: float = 1.0,
    where: Where | None = None,
    encoding: Encoding | None = None,
    compute: Compute | None = None,
    verify: int = 0,
    progress: OnProgress | None = None,
) -> Iterator[Scores]:
    """The scores of ``scan`` with the same arguments while they are needed, within the budget; then they are gone."""
    request = ScanRequest.parse(
        model,
        image,
        step=step,
        mode="exact" if isinstance(mode, Target) else mode,
        scale=scale,
        where=where,
        encoding=encoding,
        compute=compute,
        samples=verify,
    )
    if isinstance(mode, Target):
        request = tuned(request, mode, progress)
    with scanned_map(request, progress) as scores:
        yield Scores(scores)


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
