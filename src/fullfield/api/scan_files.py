"""``fullfield.scan_files``: several images, one after the other; one that fails does not stop the others."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fullfield.api.batch_output import BatchOutput, parse_batch_output
from fullfield.api.batch_summary import (
    COLUMNS,
    DECISION,
    RUN,
    BatchRun,
    BatchSummary,
    decision_columns,
    of_image,
    run_of,
)
from fullfield.api.decide import decided_scans
from fullfield.api.list_images import list_images
from fullfield.api.scan import scan
from fullfield.api.scores import Scores
from fullfield.arguments import checks_keywords, parse_record
from fullfield.decisions.decide import decide_scores
from fullfield.drawing.score_pictures import save_overlay
from fullfield.errors import ArgumentError, FullfieldError, GeometryError, ImageError
from fullfield.exporters.own_results import is_own_result
from fullfield.files import output_paths
from fullfield.importers.load import load
from fullfield.jobs.parse_passes import parse_passes
from fullfield.jobs.request import ScanRequest, check_existing
from fullfield.jobs.to_decision import check_decidable
from fullfield.mask.where import Where
from fullfield.planning.mode import mode_of
from fullfield.store.encoding import Encoding
from fullfield.verification.target import Target

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from fullfield.decisions.decision import Decision
    from fullfield.decisions.rule import DecisionRule
    from fullfield.engine.progress import OnProgress
    from fullfield.exporters.table_file import TableCell
    from fullfield.image.listed import ListedImage
    from fullfield.importers.load import ModelLike
    from fullfield.jobs.parse_passes import Modes, Passes
    from fullfield.jobs.request import Existing, StepLike
    from fullfield.model.model import Model
    from fullfield.planning.compute import Compute
    from fullfield.verification.certificate import Certificate

    Decided = tuple[Scores | None, Decision | tuple[Decision, ...] | None]


@dataclass(frozen=True)
class FileResult:
    """The result for one image.

    Args:
        image: as it was given.
        output: the store or file of its scores; ``None`` where they are in memory.
        scores: as ``scan`` returns them; ``None`` after an error, of an image that was finished before, and of one that
            was decided without an output.
        error: what stopped the scan.
        seconds: that the scan took.
        windows: number of those with scores, of all sizes that are decided; ``None`` without decision and summary.
        background: share of the image that was found to be background; ``None`` if that was not searched for.
        thumbnail: the picture of the scores over the image.
        certificate: of its verification, where one is asked for.
        provenance: how the scores were made, as theirs says, also where they are not kept.
        decision: of the image, where one is asked for; with regions one for each of them.
        skipped: whether the summary has the image as finished, so that nothing was done.
    """

    image: str
    output: Path | None
    scores: Scores | None = None
    error: FullfieldError | None = None
    seconds: float = 0.0
    windows: int | None = None
    background: float | None = None
    thumbnail: Path | None = None
    certificate: Certificate | None = None
    provenance: Mapping[str, Any] = field(default_factory=dict)
    decision: Decision | tuple[Decision, ...] | None = None
    skipped: bool = False

    @property
    def good(self) -> bool:
        """Whether the image was scanned, and its scores are what their mode promises."""
        return self.error is None and (self.certificate is None or self.certificate.holds)


@checks_keywords
def scan_files(
    model: ModelLike,
    images: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
    output: str | os.PathLike[str] | BatchOutput | None = None,
    *,
    step: StepLike | None = None,
    mode: Modes | Target = "exact",
    scale: float = 1.0,
    where: Where | None = None,
    encoding: Encoding | None = None,
    compute: Compute | None = None,
    existing: Existing = "resume",
    verify: int = 0,
    progress: Callable[[str], OnProgress | None] | None = None,
) -> Iterator[FileResult]:
    """The scores of several image files, one after the other.

    An image that fails does not stop the others: its ``error`` says why. The same call after an interruption resumes;
    images that a summary has as finished are skipped, unless they, the model or a setting were changed.

    Args:
        model: as for ``scan``.
        images: paths of images, folders, patterns and lists, or one of them; what ``list_images`` returns; or
            ``ImageFile``, which names a level, resolution or bands of a file.
        output: where the scores go, with ``{name}`` for the image's name without its suffix: ``"maps/{name}.zarr"``; or
            a ``BatchOutput``, which names a summary, thumbnails and a decision, too. Folders are made. Without it the
            scores of each image are in memory.
        mode: as for ``scan``; or several for a decision: ``("exact", "context")``; scores are those of the first.
        step, scale, where, encoding, compute, existing, verify: as for ``scan``; the mask of a list's image
            replaces that of ``where``.
        progress: called with each path before its scan; returns what is then called with a ``Progress``.

    Returns:
        One result for each image, in their order, each when its scan ends.

    Raises:
        GeometryError: an ``output`` without ``{name}``, or two images of one output.
        ResumeError: the summary is of another model or of other settings, or is being written.
        FullfieldError: a model or list that cannot be read, or a folder without images.
    """
    check_existing(existing)
    files = parse_batch_output(output)
    listed = list_images(images)
    places = _places(listed, files.scores)
    pictures = _places(listed, files.thumbnails)
    _check_facts(listed, files)
    where = parse_record("where", where, Where)
    if files.summary is not None and compute is not None and compute.world > 1:
        raise GeometryError("world", "a summary is written by one process", fix="leave out the summary, or world")
    settings = {
        "step": step,
        "mode": mode,
        "scale": scale,
        "encoding": encoding,
        "compute": compute,
        "verify": verify,
    }
    passes, rule = parse_passes(files.scales, files.views, mode), files.rule
    if rule is None and len(passes.modes) > 1:
        raise ArgumentError("mode", f"{mode!r} are several, for a decision", fix='add BatchOutput(decide="mean")')
    if verify and files.scores is None and not (rule is None or passes.single):
        raise ArgumentError("verify", "compares one scan with crops, several are decided", fix="leave verify out")
    net = load(model)
    if rule is not None:
        check_decidable(net, Encoding() if encoding is None else encoding, rule)
    batch = _Batch(net, files, passes, existing, where, settings, progress)
    return batch.results(list(zip(listed, places, pictures, strict=True)))


def _places(images: list[ListedImage], template: str | None) -> list[Path] | list[None]:
    if template is None:
        return [None] * len(images)
    return output_paths([image.path for image in images], template, [image.folder for image in images])


def _check_facts(images: list[ListedImage], files: BatchOutput) -> None:
    """Raises where a list's column has the name of one of the summary's."""
    for name in sorted({name for image in images for name, _ in image.facts}):
        if files.summary is not None and (name in COLUMNS or name.startswith(DECISION)):
            raise ImageError(name, "is a column of the list and of the summary", fix="rename it in the list")


@dataclass(frozen=True, eq=False)
class _Batch:
    """The scans of several images.

    Args:
        passes: of each decision.
        settings: the same of all, as ``scan`` takes them.
    """

    model: Any
    files: BatchOutput
    passes: Passes
    existing: Existing
    where: Where
    settings: dict[str, Any]
    progress: Callable[[str], OnProgress | None] | None

    def results(self, images: list[tuple[ListedImage, Path | None, Path | None]]) -> Iterator[FileResult]:
        """Checks the summary now, and scans each image when its result is asked for."""
        run = summary = None
        if self.files.summary is not None:
            run = self._run()
            summary = BatchSummary.opened(Path(self.files.summary), run, self.existing)
        return self._results(images, run, summary)

    def _run(self) -> BatchRun:
        target = self.settings["mode"] if isinstance(self.settings["mode"], Target) else None
        given = {name: self.settings[name] for name in ("step", "scale", "encoding", "compute")}
        where = replace(self.where, mask=None)
        request = ScanRequest.parse(self.model, None, mode=mode_of(self.passes.modes[0]), where=where, **given)
        clip = {"clip": True} if where.clip else {}
        more = clip | {"verify": self.settings["verify"], "decide": repr(self.files.rule), **self.passes.texts}
        return run_of(request, target, more=more)

    def _results(
        self,
        images: list[tuple[ListedImage, Path | None, Path | None]],
        run: BatchRun | None,
        summary: BatchSummary | None,
    ) -> Iterator[FileResult]:
        with nullcontext() if summary is None else summary.locked():
            for image, place, picture in images:
                if summary is None or run is None:
                    yield self._scanned(image, place, picture)
                    continue
                now = self._run_of_image(run, image)
                row = summary.finished(image.path, now, (place, picture))
                if row is None:
                    result = self._scanned(image, place, picture)
                    summary.add(_row(result, image, now))
                else:
                    result = _skipped(row, place, picture)
                yield result

    def _run_of_image(self, run: BatchRun, image: ListedImage) -> BatchRun:
        """What the image's row depends on; ``run`` where its mask cannot be read, which its scan will report."""
        mask = self.where.mask if image.mask is None else image.mask
        try:
            return of_image(run, image, Where(mask=mask).to_json()["mask"])
        except OSError:
            return run

    def _scanned(self, image: ListedImage, place: Path | None, picture: Path | None) -> FileResult:
        began = time.perf_counter()
        try:
            for path in (place, picture):
                _make_folder(path)
            settings = self.settings | {
                "where": self.where if image.mask is None else replace(self.where, mask=image.mask),
                "existing": self.existing,
                "progress": None if self.progress is None else self.progress(image.path),
            }
            with scores_and_decision(self.model, image, place, self.files.rule, self.passes, **settings) as both:
                scores, decision = both
                seconds = time.perf_counter() - began
                if scores is not None and picture is not None:
                    self._draw(scores, image, picture)
                found = FileResult(image.path, place, scores, seconds=seconds, thumbnail=picture, decision=decision)
                if scores is None:
                    return found
                kept = scores if place is not None or self.files.rule is None else None
                made = scores.provenance
                found = replace(found, scores=kept, certificate=scores.certificate, provenance=made)
                windows = self._windows(scores, decision)
                return replace(found, windows=windows, background=made.get("background"))
        except FullfieldError as error:
            return FileResult(image.path, place, error=error, seconds=time.perf_counter() - began)

    def _windows(self, scores: Scores, decision: Decision | tuple[Decision, ...] | None) -> int | None:
        """Number of windows with scores, where it is known or asked for: of a decision those of all sizes."""
        if decision is not None and not isinstance(decision, tuple):
            return decision.windows
        return None if self.files.summary is None else count_windows(scores)

    def _draw(self, scores: Scores, image: ListedImage, picture: Path) -> None:
        """Draws the thumbnail; an earlier one is replaced, another picture is not."""
        replaced = self.existing == "overwrite" or (picture.is_file() and is_own_result(picture))
        compute = self.settings["compute"]
        budget = None if compute is None else compute.budget_bytes
        files = self.files
        save_overlay(scores.map, image.image, files.cls, files.style, picture, overwrite=replaced, budget_bytes=budget)


@contextmanager
def scores_and_decision(
    model: Model, image: ListedImage, place: Path | None, rule: DecisionRule | None, passes: Passes, **settings: Any
) -> Iterator[Decided]:
    """The scores of an image while they are needed, and its decision if one is asked for.

    Args:
        place: of the scores; without it those of an image that is decided are not kept.
        rule: of the decision.
        passes: of the decision; the scores are those of the image itself, in the first mode.
        settings: of ``scan``.
    """
    if place is None and rule is not None:
        del settings["existing"]
        with decided_scans(model, image.image, rule, passes, **settings) as found:
            yield found
        return
    mode = settings["mode"]
    first = mode if isinstance(mode, Target) else mode_of(passes.modes[0])
    scores = scan(model, image.image, output=place, **settings | {"mode": first})
    if scores is None or rule is None:
        yield scores, None
    elif passes.single:
        yield scores, decide_scores(scores.map, rule)
    else:
        del settings["existing"]
        more = {"verify": 0, "finished": scores.map}
        with decided_scans(model, image.image, rule, passes, **settings | more) as (_, decision):
            yield scores, decision


def count_windows(scores: Scores) -> int:
    """Number of windows that have scores; some rows are in memory at a time."""
    rows, height = scores.shape[1], max(1, (1 << 24) // max(1, scores.shape[2]))
    return sum(int(scores.valid(slice(top, top + height)).sum()) for top in range(0, rows, height))


def _make_folder(path: Path | None) -> None:
    if path is None:
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        what = f"cannot be made ({error.strerror})"
        raise ImageError(str(path.parent), what, fix="write to another folder") from error


def _row(result: FileResult, image: ListedImage, run: BatchRun) -> dict[str, TableCell]:
    """The summary's row of an image."""
    error = None if result.error is None else f"{result.error.where}: {result.error.what}"
    if error is None and not result.good:
        assert result.certificate is not None
        error = f"verified: {result.certificate.verdict}"
    return {
        "image": result.image,
        "output": None if result.output is None or result.error is not None else str(result.output),
        **decision_columns(None if isinstance(result.decision, tuple) else result.decision),
        "windows": result.windows,
        "background": result.background,
        "seconds": round(result.seconds, 3),
        "error": error,
        **dict(image.facts),
        RUN: str(run),
    }


def _skipped(row: dict[str, TableCell], place: Path | None, picture: Path | None) -> FileResult:
    """The result of an image that is finished."""
    known = {name: None if row.get(name) is None else float(str(row[name])) for name in ("windows", "background")}
    return FileResult(
        str(row["image"]),
        place,
        seconds=float(str(row["seconds"])),
        windows=None if known["windows"] is None else int(known["windows"]),
        background=known["background"],
        thumbnail=picture,
        skipped=True,
    )
