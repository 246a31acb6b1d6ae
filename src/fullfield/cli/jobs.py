"""What a command line asks of ``fullfield scan``, checked before anything is read."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fullfield.errors import ImageError

if TYPE_CHECKING:
    from fullfield.model.model import Model
    from fullfield.store.encoding import Encoding

_STREAMED = (".zarr", ".tif", ".tiff", ".npy", ".geojson")
_SCAN = ("step", "mode", "border", "edge", "scale", "budget", "method")
_LOOK = ("region", "mask", "coordinates", "skip_background", "min_coverage")
_KEEP = ("classes", "argmax", "activation", "dtype", "span")


@dataclass(frozen=True)
class Job:
    """A command line.

    Args:
        images: the files.
        output: where scores go: a file, or of several images a folder; ``None`` for a summary only.
        suffix: of the files in a folder.
        overlay: where a picture over the image goes.
        cls: the class in pictures.
        tolerance, agreement: wishes to tune the border by.
        verify: windows to compare.
        rank, world, restart, json_progress, overwrite: of the run.
        settings: ``scan``'s own arguments.
        keep: of the scores.
    """

    images: tuple[str, ...]
    output: str | None
    suffix: str
    overlay: str | None
    cls: str | None
    tolerance: float | None
    agreement: float | None
    verify: int
    rank: int
    world: int
    restart: bool
    json_progress: bool
    overwrite: bool
    settings: dict[str, Any]
    keep: Encoding

    @property
    def tuned(self) -> bool:
        """Whether the border is to be found."""
        return self.tolerance is not None or self.agreement is not None

    @property
    def single(self) -> bool:
        """Whether one image goes to one file."""
        return len(self.images) == 1 and not self.into_folder

    @property
    def into_folder(self) -> bool:
        """Whether the output is a folder of results."""
        if self.output is None:
            return False
        place = Path(self.output)
        store = (place / "zarr.json").exists() or place.suffix.lower() == ".zarr"
        return len(self.images) > 1 or self.output.endswith(("/", "\\")) or (place.is_dir() and not store)

    @property
    def plain(self) -> bool:
        """Whether all scores are kept as they are."""
        from fullfield.store.encoding import Encoding

        return self.keep == Encoding()

    def place(self, image: str) -> Path | None:
        """Where an image's scores go."""
        if self.output is None:
            return None
        return Path(self.output) / (stem(image) + self.suffix) if self.into_folder else Path(self.output)

    def check_classes(self, net: Model) -> None:
        """Passes if the network has the classes that are named.

        Raises:
            ImageError: it does not.
        """
        from fullfield.store.classes import find_class
        from fullfield.store.encoding import score_encoder

        if self.cls is not None:
            find_class(self.cls, net.classes, net.class_names or ())
        score_encoder(self.keep, classes=net.classes, class_names=net.class_names)


def job_of(images: tuple[str, ...], **given: Any) -> Job:
    """The job of a command line's options."""
    from fullfield.store.encoding import Encoding

    settings = {name: given.pop(name) for name in (*_SCAN, *_LOOK)}
    classes, argmax, activation, dtype, span = (given.pop(name) for name in _KEEP)
    kept = None if classes is None else tuple(named(part) for part in classes.split(","))
    return Job(images, settings=settings, keep=Encoding(kept, argmax, activation, dtype, span), **given)


def named(text: str) -> int | str:
    """A class by index or name."""
    return int(text) if text.strip().isdecimal() else text.strip()


def stem(image: str) -> str:
    """The name of an image's results.

    Examples:
        >>> stem("slides/a.ome.tif"), stem("b.zarr/"), stem("https://host/c.svs?x=1")
        ('a', 'b', 'c')
    """
    name = image.split("?")[0].rstrip("/\\").replace("\\", "/").rsplit("/", 1)[-1]
    for ending in (".ome.tif", ".ome.tiff", ".ome.zarr"):
        if name.lower().endswith(ending):
            return name[: -len(ending)]
    return Path(name).stem


def check_job(job: Job) -> None:
    """Passes if results can be written where they are to go.

    Raises:
        UsageError: options that exclude each other.
        ImageError: a place that cannot be written to.
    """
    from fullfield.files import PICTURES, check_writable

    if len(job.images) > 1 and (job.output is None or job.overlay is not None):
        raise click.UsageError("several images need -o FOLDER, and no --overlay")
    if job.tuned and (job.settings["border"] is not None or job.settings["mode"] != "exact"):
        raise click.UsageError(
            "--tolerance and --agreement choose the border themselves: leave out --border and --mode"
        )
    if job.overlay is not None:
        check_writable(job.overlay, job.overwrite, suffixes=PICTURES)
    if job.output is None:
        if not job.plain or job.world > 1 or job.restart:
            raise click.UsageError("--classes, --argmax, --activation, --dtype, --world and --restart go with -o")
        return
    streamed = streams(Path("x" + job.suffix) if job.into_folder else Path(job.output))
    if not streamed and (not job.plain or job.world > 1 or job.restart):
        raise click.UsageError(
            "--classes, --argmax, --activation, --dtype, --world and --restart need a streamed output"
        )
    if job.into_folder:
        _check_folder(job)
    elif not streamed:
        check_writable(job.output, job.overwrite)
    elif Path(job.output).suffix.lower() != ".zarr":
        if job.world > 1:
            raise click.UsageError("--world needs a .zarr; make other files of it with fullfield export")
        check_writable(job.output, job.overwrite, suffixes=_STREAMED)


def _check_folder(job: Job) -> None:
    """Makes the output folder; no two images may have results of one name."""
    assert job.output is not None
    seen: dict[str, str] = {}
    for image in job.images:
        other = seen.setdefault(stem(image), image)
        if other is not image:
            raise ImageError(
                job.output, f"{other} and {image} would both become {stem(image)}{job.suffix}", fix="scan them in turn"
            )
    try:
        Path(job.output).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ImageError(job.output, f"cannot be made ({error.strerror})", fix="write to another folder") from error


def streams(place: Path) -> bool:
    """Whether a result is streamed."""
    return place.suffix.lower() in _STREAMED
