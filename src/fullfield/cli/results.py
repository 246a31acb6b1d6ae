"""What ``fullfield scan`` says of each image: a summary for people and for programs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fullfield.cli.decisions import decided, decision_lines
from fullfield.cli.echo import echo
from fullfield.cli.summary import left_out_text, summary
from fullfield.cli.summary import text as summary_text
from fullfield.errors import FullfieldError

if TYPE_CHECKING:
    from fullfield.api.scan_files import FileResult
    from fullfield.cli.outputs import ScanOutputs


@dataclass(frozen=True)
class ImageResult:
    """The outcome for one image.

    Args:
        facts: as plain JSON.
        good: whether it was scanned, and its scores are what their mode promises.
        failed: whether an error stopped it.
    """

    facts: dict[str, Any]
    good: bool
    failed: bool

    @property
    def remarks(self) -> list[str]:
        """What holds for all images alike, as a rule: how pixels become network input, an activation left out."""
        fed, left_out = self.facts.get("input"), self.facts.get("activation_left_out")
        found = [] if fed is None else [f"input    {fed['text']}"]
        return found if left_out is None else [*found, left_out_text(left_out)]

    def text(self, *, alone: bool) -> str:
        """For people; in one line where there are several images."""
        facts = self.facts
        if self.failed:
            error = facts["error"]
            return f"failed   {facts['image']}\n{error['where']}: {error['what']}\n  fix: {error['fix']}"
        if facts.get("skipped"):
            return f"kept     {facts['image']}: finished before"
        if not facts["finished"]:
            return f"{facts['image']}: this process has done its share; the last process to finish completes the result"
        if alone:
            return summary_text(facts)
        written = f": {', '.join(facts['written'])}" if facts["written"] else ""
        line = f"scanned  {facts['image']} in {facts['seconds']:.2f} s{written}"
        return "\n".join([line, *decision_lines(facts.get("decision"))])


def described(result: FileResult, outputs: ScanOutputs, *, step: bool, budget: int | None) -> ImageResult:
    """The summary of one image's scores, its decision and its overlay if these are wanted.

    Args:
        result: of the scan.
        outputs: what is written.
        step: whether the user chose the step.
        budget: bytes of memory allowed.
    """
    facts: dict[str, Any] = {"image": result.image, "error": None, "finished": result.scores is not None}
    if result.error is not None:
        return _failed(facts, result.error)
    written = [str(path) for path in (result.output, result.thumbnail) if path is not None]
    if result.skipped:
        more = {"finished": True, "skipped": True, "seconds": round(result.seconds, 3), "written": written}
        return ImageResult(facts | more, good=True, failed=False)
    decision = {} if result.decision is None else {"decision": decided(result.decision)}
    if result.scores is None:
        if decision:
            more = {"finished": True, "seconds": round(result.seconds, 3), "input": result.provenance.get("input")}
            facts |= more | {"background": result.background, "written": written} | decision
        return ImageResult(facts, good=result.good, failed=False)
    if outputs.overlay is not None:
        _draw_overlay(result, outputs, budget)
        written.append(outputs.overlay)
    facts |= summary(result.scores, outputs.class_shown, result.seconds, written)
    facts["step_is_stride"] = not step
    if result.background is not None:
        facts["background"] = result.background
    facts |= decision
    return ImageResult(facts, good=result.good, failed=False)


def _failed(facts: dict[str, Any], error: FullfieldError) -> ImageResult:
    """The outcome for an image that an error stopped."""
    said = {name: getattr(error, name) for name in ("where", "what", "fix")}
    return ImageResult(facts | {"error": said}, good=False, failed=True)


def _draw_overlay(result: FileResult, outputs: ScanOutputs, budget: int | None) -> None:
    from fullfield.drawing.score_pictures import PictureStyle, save_overlay

    assert result.scores is not None
    assert outputs.overlay is not None
    scale = save_overlay(
        result.scores.map,
        outputs.images[0].image,
        outputs.class_shown,
        PictureStyle(),
        Path(outputs.overlay),
        overwrite=outputs.overwrite,
        budget_bytes=budget,
    )
    if scale > 1:
        echo(f"{outputs.overlay}: drawn at 1/{round(scale, 1):g} of the image's size", err=True)
