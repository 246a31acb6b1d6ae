"""Where the results of ``fullfield scan`` go, checked before the model is read."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from fullfield.cli.files import check_file, check_picture, check_scores
from fullfield.cli.values import class_key
from fullfield.errors import ImageError
from fullfield.files import LAYERS, PICTURES, output_paths
from fullfield.text import list_text

if TYPE_CHECKING:
    from fullfield.api.batch_output import BatchOutput
    from fullfield.decisions.rule import DecisionRule
    from fullfield.image.listed import ListedImage
    from fullfield.model.model import Model
    from fullfield.store.encoding import Encoding

_RESTRICTED = (*LAYERS, *PICTURES)  # formats of which --class names the class


@dataclass(frozen=True)
class ScanOutputs:
    """What ``fullfield scan`` writes.

    Args:
        images: the files to scan.
        several: whether they are named as several images, a folder, a pattern or a list, even if one is found.
        output: a file or a store; of several images, or with a slash at its end, a folder, or a path with ``{name}``;
            ``None`` for a summary only.
        suffix: of the files in a folder.
        overlay: a picture of one class over the image.
        cls: that class.
        restart: begin an unfinished result anew.
        overwrite: replace an earlier result.
        summary: a table with a row for each image.
        thumbnails: a folder of small overlays, or a path with ``{name}``.
        rule: how each image is decided.
        scales, views: that are decided as one.
    """

    images: tuple[ListedImage, ...]
    several: bool
    output: str | None
    suffix: str = ".zarr"
    overlay: str | None = None
    cls: str | None = None
    restart: bool = False
    overwrite: bool = False
    summary: str | None = None
    thumbnails: str | None = None
    rule: DecisionRule | None = None
    scales: tuple[float, ...] | None = None
    views: str | tuple[str, ...] | None = None

    @property
    def is_batch(self) -> bool:
        """Whether every image has files of its own."""
        if self.several or self.summary is not None or self.thumbnails is not None:
            return True
        return self.output is not None and _is_folder(self.output)

    @property
    def batch(self) -> BatchOutput:
        """What ``fullfield.scan_files`` writes."""
        from fullfield.api.batch_output import BatchOutput

        scores = None if self.output is None else _template(self.output, self.suffix)
        thumbnails = None if self.thumbnails is None else _template(self.thumbnails, ".png")
        return BatchOutput(
            scores,
            self.summary,
            thumbnails,
            self.class_shown,
            decide=self.rule,
            scales=self.scales,
            views=self.views,
        )

    @property
    def class_shown(self) -> int | str | None:
        """The class in pictures; ``None`` for the one whose scores span the widest range."""
        return None if self.cls is None else class_key(self.cls)

    def check(self, encoding: Encoding, *, world: int) -> None:
        """Passes if all that is asked for can be written.

        Raises:
            UsageError: options that exclude each other.
            ImageError: a place that cannot be written to, or an image that is missing.
        """
        nothing = (self.output or self.summary or self.thumbnails or self.rule) is None
        if self.is_batch and (self.overlay is not None or nothing):
            names = list_text([Path(image.path).name for image in self.images], 3)
            what = "several images need -o FOLDER, --summary, --thumbnails or --decide, and no --overlay"
            stack = "" if len(self.images) == 1 else "; if they are bands of one image, add --stack"
            raise click.UsageError(f"{what} (images: {names}){stack}")
        if self.is_batch and self.output is not None and _is_one_file(self.output):
            fix = f"give a folder, or a path with {{name}} in it, such as {{name}}{Path(self.output).suffix}"
            raise click.UsageError(f"-o {self.output} is one file: {fix}")
        if self.output is None and self.summary is None and self.restart:
            raise click.UsageError("--restart needs -o, the result to begin anew")
        if world > 1 and self._output_suffix != ".zarr":
            raise click.UsageError("--world needs -o FILE.zarr; fullfield export makes other files of it")
        for name, value in (("scales", self.scales), ("views", self.views)):
            if value is not None and self.rule is None:
                raise click.UsageError(f"--{name} needs --decide")
        if self.cls is not None and encoding.labels:
            raise click.UsageError("--class has no meaning with --labels: pictures show all classes")
        check_picture(self.overlay, self.overwrite)
        if self.is_batch:
            self._check_batch()
            return
        for path in (self.images[0].path, *self.images[0].selection.stack):
            check_file(path)
        if self.output is not None:
            check_scores(Path(self.output), overwrite=self.overwrite, restart=self.restart)

    @property
    def _output_suffix(self) -> str:
        """Of the files of scores."""
        if self.is_batch and self.output is not None:
            return Path(_template(self.output, self.suffix)).suffix.lower()
        return Path(self.output or "").suffix.lower()

    def _check_batch(self) -> None:
        """Makes the output folders; no two images may have results of one name."""
        for template in (self.batch.scores, self.batch.thumbnails):
            if template is None:
                continue
            output_paths([image.path for image in self.images], template, [image.folder for image in self.images])
            folder = Path(template.split("{")[0] + "_").parent
            try:
                folder.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                what = f"cannot be made ({error.strerror})"
                raise ImageError(str(folder), what, fix="write to another folder") from error

    def check_model(self, encoding: Encoding, model: Model) -> None:
        """Passes if the model has the classes that are named, and scores that pictures over the image can show.

        Raises:
            ImageError: it does not, or the class of a picture is not among those stored.
        """
        pictures = self.overlay is not None or self.thumbnails is not None
        if model.of_signals and pictures:
            what = "there is no picture of a signal that scores could lie over"
            raise ImageError("overlay" if self.overlay else "thumbnails", what, fix="write a plot: -o plot.png")
        from fullfield.store.classes import find_class
        from fullfield.store.encoding import score_encoder

        stored = score_encoder(
            encoding,
            classes=model.classes,
            class_names=model.class_names,
            ends_in=model.ends_in,
            features=model.features is not None,
        ).classes
        if self.class_shown is None:
            return
        if find_class(self.class_shown, model.classes, model.class_names or ()) not in stored:
            what = f"{self.cls!r} is none of the classes that --classes selects"
            raise ImageError("class", what, fix="add it to --classes, or leave --class out")

    def encoding(self, given: Encoding) -> Encoding:
        """The encoding asked for; of a picture or GeoJSON restricted to the class that is named."""
        if self.class_shown is None or self._output_suffix not in _RESTRICTED:
            return given
        return replace(given, classes=(self.class_shown,))


def _is_folder(output: str) -> bool:
    """Whether an output is a folder of files, or a path with ``{name}``: the scores of any number of images."""
    place = Path(output)
    is_store = (place / "zarr.json").exists() or place.suffix.lower() == ".zarr"
    return "{name}" in output or output.endswith(("/", "\\")) or (place.is_dir() and not is_store)


def _is_one_file(output: str) -> bool:
    """Whether an output is named as the scores of a single image."""
    from fullfield.exporters import SUFFIXES

    return not _is_folder(output) and Path(output).suffix.lower() in SUFFIXES


def _template(output: str, suffix: str) -> str:
    """A folder as a path with ``{name}``: below it images lie in the folders in which they were found.

    Examples:
        >>> Path(_template("maps/", ".zarr")).as_posix(), _template("maps/{parent}-{name}.tif", ".zarr")
        ('maps/{folder}/{name}.zarr', 'maps/{parent}-{name}.tif')
    """
    return output if "{name}" in output else str(Path(output) / "{folder}" / f"{{name}}{suffix}")
