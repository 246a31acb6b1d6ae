"""``fullfield.scan_files``: several images, one after the other; one that fails does not stop the others."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from fullfield.api.scan import scan
from fullfield.api.scores import Scores
from fullfield.arguments import checks_keywords
from fullfield.errors import FullfieldError
from fullfield.files import output_paths
from fullfield.importers.load import load

if TYPE_CHECKING:
    from collections.abc import Callable

    from fullfield.engine.progress import OnProgress
    from fullfield.importers.load import ModelLike
    from fullfield.jobs.request import Existing, StepLike
    from fullfield.mask.where import Where
    from fullfield.planning.compute import Compute
    from fullfield.planning.mode import AnyMode
    from fullfield.store.encoding import Encoding
    from fullfield.verification.target import Target


@dataclass(frozen=True)
class FileResult:
    """The result for one image.

    Args:
        image: as it was given.
        output: the store or file of its scores; ``None`` where they are in memory.
        scores: as ``scan`` returns them; ``None`` after an error.
        error: what stopped the scan.
        seconds: that the scan took.
    """

    image: str
    output: Path | None
    scores: Scores | None = None
    error: FullfieldError | None = None
    seconds: float = 0.0

    @property
    def good(self) -> bool:
        """Whether the image was scanned, and its scores are what their mode promises."""
        certificate = None if self.scores is None else self.scores.certificate
        return self.error is None and (certificate is None or certificate.holds)


@checks_keywords
def scan_files(
    model: ModelLike,
    images: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
    output: str,
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
    """The scores of several image files, each in a file of its own, one after the other.

    An image that fails does not stop the others: its ``error`` says why. The same call after an interruption resumes.

    Args:
        model: as for ``scan``.
        images: paths, or a single one; or ``ImageFile``, which names a level, resolution or bands of a file.
        output: where the scores go, with ``{name}`` for the image's name without its suffix: ``"maps/{name}.zarr"``.
        step, mode, scale, where, encoding, compute, existing, verify: as for ``scan``.
        progress: called with each path before its scan; returns what is then called with a ``Progress``.

    Returns:
        One result for each image, in their order, each when its scan ends.

    Raises:
        GeometryError: an ``output`` without ``{name}``, or two images of one name.
        FullfieldError: a model that cannot be read.
    """
    files = [images] if isinstance(images, (str, os.PathLike)) else list(images)
    places = output_paths([os.fspath(each) for each in files], output)
    net = load(model)

    def scanned(image: str | os.PathLike[str], place: Path) -> FileResult:
        path, began = os.fspath(image), time.perf_counter()
        try:
            scores = scan(
                net,
                image,
                step=step,
                mode=mode,
                scale=scale,
                where=where,
                output=place,
                encoding=encoding,
                compute=compute,
                existing=existing,
                verify=verify,
                progress=None if progress is None else progress(path),
            )
        except FullfieldError as error:
            return FileResult(path, place, error=error, seconds=time.perf_counter() - began)
        return FileResult(path, place, scores, seconds=time.perf_counter() - began)

    return (scanned(image, place) for image, place in zip(files, places, strict=True))
