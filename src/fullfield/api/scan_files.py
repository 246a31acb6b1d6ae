"""``fullfield.scan_files``: several images, one after the other; one that fails does not stop the others."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from fullfield.api.scan import scan
from fullfield.api.scores import Scores
from fullfield.arguments import checks_keywords
from fullfield.errors import FullfieldError, GeometryError
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
        output: the store or file of its scores.
        scores: the scores on disk; ``None`` after an error, or where other processes have yet to finish their blocks.
        error: what stopped the scan.
    """

    image: str
    output: Path
    scores: Scores | None = None
    error: FullfieldError | None = None

    @property
    def good(self) -> bool:
        """Whether the image was scanned, and its scores are what their mode promises."""
        certificate = None if self.scores is None else self.scores.certificate
        return self.error is None and (certificate is None or certificate.holds)


@checks_keywords
def scan_files(
    model: ModelLike,
    images: Iterable[str | os.PathLike[str]],
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
) -> list[FileResult]:
    """The scores of several image files, each in a file of its own.

    An image that fails does not stop the others: its ``error`` says why. The same call after an interruption resumes.

    Args:
        model: as for ``scan``.
        images: paths.
        output: where the scores go, with ``{name}`` for the image's name without its suffix: ``"maps/{name}.zarr"``.
        step, mode, scale, where, encoding, compute, existing, verify: as for ``scan``.
        progress: called with each path before its scan; returns what is then called with a ``Progress``.

    Returns:
        One result for each image, in their order.

    Raises:
        GeometryError: an ``output`` without ``{name}``, or two images of one name.
        FullfieldError: a model that cannot be read.
    """
    paths = [os.fspath(image) for image in images]
    places = output_paths(paths, output)
    net = load(model)
    results = []
    for path, place in zip(paths, places, strict=True):
        told = None if progress is None else progress(path)
        try:
            scores = scan(
                net,
                path,
                step=step,
                mode=mode,
                scale=scale,
                where=where,
                output=place,
                encoding=encoding,
                compute=compute,
                existing=existing,
                verify=verify,
                progress=told,
            )
            results.append(FileResult(path, place, scores))
        except FullfieldError as error:
            results.append(FileResult(path, place, error=error))
    return results


def output_paths(images: list[str], output: str) -> list[Path]:
    """The output of every image.

    Raises:
        GeometryError: an ``output`` without ``{name}``, or two images of one name.

    Examples:
        >>> [path.as_posix() for path in output_paths(["slides/a.ome.tif", "b.zarr/"], "maps/{name}.zarr")]
        ['maps/a.zarr', 'maps/b.zarr']
    """
    if "{name}" not in output:
        raise GeometryError("output", f"{output!r} has no {{name}}", fix='write "maps/{name}.zarr", say')
    places: dict[Path, str] = {}
    for image in images:
        place = Path(output.replace("{name}", image_name(image)))
        if place in places:
            both = f"{places[place]} and {image} would both go to {place}"
            raise GeometryError("output", both, fix="rename one of them, or scan them one by one")
        places[place] = image
    return list(places)


def image_name(image: str) -> str:
    """The name of an image's results.

    Examples:
        >>> image_name("slides/a.ome.tif"), image_name("b.zarr/"), image_name("https://host/c.svs?x=1")
        ('a', 'b', 'c')
    """
    name = image.split("?")[0].rstrip("/\\").replace("\\", "/").rsplit("/", 1)[-1]
    for ending in (".ome.tif", ".ome.tiff", ".ome.zarr"):
        if name.lower().endswith(ending):
            return name[: -len(ending)]
    return Path(name).stem
