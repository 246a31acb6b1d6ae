"""``fullfield.scan_files``: several images, one after the other; one that fails does not stop the others."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fullfield.api.batch_output import BatchOutput, parse_batch_output
from fullfield.api.batch_summary import COLUMNS, RUN, BatchRun, BatchSummary, of_image, run_of
from fullfield.api.list_images import list_images
from fullfield.api.scan import scan
from fullfield.api.scores import Scores
from fullfield.arguments import checks_keywords, parse_record
from fullfield.drawing.score_pictures import save_overlay
from fullfield.errors import FullfieldError, GeometryError, ImageError
from fullfield.exporters.own_results import is_own_result
from fullfield.files import output_paths
from fullfield.importers.load import load
from fullfield.jobs.request import ScanRequest, check_existing
from fullfield.mask.where import Where
from fullfield.verification.target import Target

if TYPE_CHECKING:
    from collections.abc import Callable

    from fullfield.engine.progress import OnProgress
    from fullfield.exporters.table_file import TableCell
    from fullfield.image.listed import ListedImage
    from fullfield.importers.load import ModelLike
    from fullfield.jobs.request import Existing, StepLike
    from fullfield.planning.compute import Compute
    from fullfield.planning.mode import AnyMode
    from fullfield.store.encoding import Encoding


@dataclass(frozen=True)
class FileResult:
    """The result for one image.

    Args:
        image: as it was given.
        output: the store or file of its scores; ``None`` where they are in memory.
        scores: as ``scan`` returns them; ``None`` after an error, and of an image that was finished before.
        error: what stopped the scan.
        seconds: that the scan took.
        windows: number of those with scores; ``None`` without a summary.
        background: share of the image that was found to be background; ``None`` if that was not searched for.
        thumbnail: the picture of the scores over the image.
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
    skipped: bool = False

    @property
    def good(self) -> bool:
        """Whether the image was scanned, and its scores are what their mode promises."""
        certificate = None if self.scores is None else self.scores.certificate
        return self.error is None and (certificate is None or certificate.holds)


@checks_keywords
def scan_files(
    model: ModelLike,
    images: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
    output: str | os.PathLike[str] | BatchOutput | None = None,
    *,
    step: StepLike | None = None,
    mode: AnyMode | Target = "exact",
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
            a ``BatchOutput``, which names a summary and thumbnails, too. Folders are made. Without it the scores of
            each image are in memory.
        step, mode, scale, where, encoding, compute, existing, verify: as for ``scan``; the mask of a list's image
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
    batch = _Batch(load(model), files, existing, where, settings, progress)
    return batch.results(list(zip(listed, places, pictures, strict=True)))


def _places(images: list[ListedImage], template: str | None) -> list[Path] | list[None]:
    if template is None:
        return [None] * len(images)
    return output_paths([image.path for image in images], template, [image.folder for image in images])


def _check_facts(images: list[ListedImage], files: BatchOutput) -> None:
    """Raises where a list's column has the name of one of the summary's."""
    for name in sorted({name for image in images for name, _ in image.facts} & set(COLUMNS)):
        if files.summary is not None:
            raise ImageError(name, "is a column of the list and of the summary", fix="rename it in the list")


@dataclass(frozen=True, eq=False)
class _Batch:
    """The scans of several images.

    Args:
        settings: the same of all, as ``scan`` takes them.
    """

    model: Any
    files: BatchOutput
    existing: Existing
    where: Where
    settings: dict[str, Any]
    progress: Callable[[str], OnProgress | None] | None

    def results(self, images: list[tuple[ListedImage, Path | None, Path | None]]) -> Iterator[FileResult]:
        """Checks the summary now, and scans each image when its result is asked for."""
        run = summary = None
        if self.files.summary is not None:
            run = self._run()
            summary = BatchSummary.opened(Path(self.files.summary), run, self.existing, COLUMNS)
        return self._results(images, run, summary)

    def _run(self) -> BatchRun:
        mode = self.settings["mode"]
        target = mode if isinstance(mode, Target) else None
        given = {name: self.settings[name] for name in ("step", "scale", "encoding", "compute")}
        where = replace(self.where, mask=None)
        request = ScanRequest.parse(self.model, None, mode="exact" if target else mode, where=where, **given)
        return run_of(request, target, more={"verify": self.settings["verify"]})

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
            scores = scan(
                self.model,
                image.image,
                where=self.where if image.mask is None else replace(self.where, mask=image.mask),
                output=place,
                existing=self.existing,
                progress=None if self.progress is None else self.progress(image.path),
                **self.settings,
            )
            seconds = time.perf_counter() - began
            if scores is not None and picture is not None:
                self._draw(scores, image, picture)
        except FullfieldError as error:
            return FileResult(image.path, place, error=error, seconds=time.perf_counter() - began)
        found = FileResult(image.path, place, scores, seconds=seconds, thumbnail=picture)
        if scores is None:
            return found
        windows = None if self.files.summary is None else count_windows(scores)
        return replace(found, windows=windows, background=scores.provenance.get("background"))

    def _draw(self, scores: Scores, image: ListedImage, picture: Path) -> None:
        """Draws the thumbnail; an earlier one is replaced, another picture is not."""
        replaced = self.existing == "overwrite" or (picture.is_file() and is_own_result(picture))
        compute = self.settings["compute"]
        budget = None if compute is None else compute.budget_bytes
        files = self.files
        save_overlay(scores.map, image.image, files.cls, files.style, picture, overwrite=replaced, budget_bytes=budget)


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
        assert result.scores is not None
        assert result.scores.certificate is not None
        error = f"verified: {result.scores.certificate.verdict}"
    return {
        "image": result.image,
        "output": None if result.output is None or result.error is not None else str(result.output),
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
