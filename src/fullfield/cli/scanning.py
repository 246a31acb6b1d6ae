"""Scans of one or several images from the command line: what becomes of each, and what is said of it."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fullfield.cli.jobs import Job, named, streams
from fullfield.cli.options import Pick
from fullfield.cli.progress import progress_bar
from fullfield.errors import FullfieldError
from fullfield.files import PICTURES

if TYPE_CHECKING:
    from fullfield.api.scores import Scores
    from fullfield.model.model import Model


@dataclass
class Result:
    """What became of one image.

    Args:
        image: the file.
        facts: the summary, where it was scanned.
        error: what stopped it.
        others: it is for other processes to finish.
    """

    image: str
    facts: dict[str, Any] = field(default_factory=dict)
    error: FullfieldError | None = None
    others: bool = False

    @property
    def good(self) -> bool:
        """Whether it was scanned, and is what its mode promises."""
        certificate = self.facts.get("certificate")
        return self.error is None and (certificate is None or certificate["holds"])

    def say(self, *, alone: bool) -> None:
        """Tells people."""
        from fullfield.cli.summary import text

        if self.error is not None:
            click.echo(f"failed   {self.image}\n{self.error}", err=True)
        elif self.others:
            click.echo(f"{self.image}: this process's share is done; the last process to finish completes the output")
        elif alone:
            click.echo(text(self.facts))
        else:
            click.echo(f"scanned  {self.image} in {self.facts['seconds']:.2f} s: {', '.join(self.facts['written'])}")

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON."""
        error = (
            None if self.error is None else {"where": self.error.where, "what": self.error.what, "fix": self.error.fix}
        )
        return {"image": self.image, "error": error, "finished": not self.others and self.error is None, **self.facts}


def scan_each(job: Job, net: Model, pick: Pick) -> list[Result]:
    """The images one after the other; where there are several, one that fails does not stop the others."""
    results = []
    for image in job.images:
        try:
            results.append(scan_one(job, net, pick, image))
        except FullfieldError as error:
            if job.single:
                raise
            results.append(Result(image, error=error))
            click.echo(f"failed   {image}: {error.what}", err=True)
        except KeyboardInterrupt:
            place = job.place(image)
            if place is not None and streams(place):
                click.echo(f"{image}: the same command goes on from here", err=True)
            raise
    if not job.single:
        good = sum(result.error is None for result in results)
        click.echo(f"{good} of {len(results)} images scanned", err=True)
    return results


def scan_one(job: Job, net: Model, pick: Pick, path: str) -> Result:
    """One image scanned, and everything written that was asked for."""
    place = job.place(path)
    image = pick(path)
    settings = _records(job, image, place)
    if place is not None and streams(place):
        return _to_disk(job, net, image, path, settings)
    return _in_memory(job, net, image, path, settings)


def _content(image: Any, place: Path | None) -> Any:
    """What of an image is not background, said, and drawn beside the result."""
    from fullfield.drawing.pictures import save_picture
    from fullfield.image.open import open
    from fullfield.mask.background import find_foreground

    raster = open(image) if isinstance(image, str) else image
    content = find_foreground(raster)
    click.echo(content.summary, err=True)
    if place is not None:
        drawn = place.with_name(place.name + ".content.png")
        save_picture(content.picture(), drawn, overwrite=True)
        click.echo(f"wrote    {drawn}", err=True)
    return content


def _records(job: Job, image: Any, place: Path | None) -> dict[str, Any]:
    """The arguments of ``scan`` for the options of a command line."""
    from fullfield.mask.where import Where
    from fullfield.planning.compute import Compute
    from fullfield.verification.target import Target

    given = job.settings
    where = {k: given[k] for k in ("region", "mask", "coordinates", "skip_background", "min_coverage", "edge")}
    if where["skip_background"]:
        where["skip_background"] = _content(image, place)
    mode = given["mode"] if given["border"] is None else given["border"]
    return {
        "step": given["step"],
        "mode": Target(job.tolerance, job.agreement) if job.tuned else mode,
        "scale": given["scale"],
        "where": Where(**where),
        "compute": Compute(budget=given["budget"], method=given["method"], rank=job.rank, world=job.world),
        "verify": job.verify,
    }


def _in_memory(job: Job, net: Model, image: Any, path: str, settings: dict[str, Any]) -> Result:
    """A scan whose scores are kept in memory, and written at once or not at all."""
    from fullfield.api.scan import scan
    from fullfield.cli.summary import Digest, summary
    from fullfield.drawing.pictures import save_picture

    started = time.perf_counter()
    with progress_bar(Path(path).name) as progress:
        scores = scan(net, image, progress=progress, **settings)
    seconds = time.perf_counter() - started
    place = job.place(path)
    written = [str(p) for p in (place, job.overlay) if p is not None]
    digest = Digest.of(scores)
    shown = scores.classes[digest.liveliest if job.cls is None else scores.class_index(job.cls)]
    if place is not None:
        one = shown if place.suffix.lower() in PICTURES else None
        scores.save(place, classes=one, overwrite=job.overwrite)
    if job.overlay is not None:
        save_picture(scores.overlay(image, shown), job.overlay, overwrite=job.overwrite)
    return Result(path, summary(scores, digest, shown, seconds, written))


def _to_disk(job: Job, net: Model, image: Any, path: str, settings: dict[str, Any]) -> Result:
    """A streamed scan; other formats than Zarr are made of the store, which then goes."""
    from fullfield.api.scan import scan
    from fullfield.cli.summary import Digest, is_read, summary
    from fullfield.drawing.pictures import save_picture

    place = job.place(path)
    assert place is not None
    final = place.suffix.lower() == ".zarr"
    store = place if final else place.with_name(place.name + ".zarr")
    started = time.perf_counter()
    with progress_bar(Path(path).name, as_json=job.json_progress) as progress:
        existing: Any = "overwrite" if job.overwrite and final else "restart" if job.restart else "resume"
        stored = scan(net, image, output=store, encoding=job.keep, existing=existing, progress=progress, **settings)
    if stored is None:
        return Result(path, others=True)
    cls = None if job.cls is None else named(job.cls)
    seconds = time.perf_counter() - started
    written = [str(place)]
    if job.overlay is not None:
        save_picture(stored.overlay(image, cls), job.overlay, overwrite=job.overwrite)
        written.append(job.overlay)
    digest = Digest.of(stored) if is_read(stored) else None
    facts = summary(stored, digest, cls, seconds, written)
    if not final:
        _export(job, stored, place)
    return Result(path, facts)


def _export(job: Job, stored: Scores, place: Path) -> None:
    """Another format of a store, which then is no longer needed."""
    from fullfield.files import remove

    one = job.cls is not None and place.suffix.lower() == ".geojson"
    stored.save(place, classes=named(job.cls) if one and job.cls is not None else None, overwrite=job.overwrite)
    assert stored.path is not None, "it is on disk"
    remove(stored.path)
