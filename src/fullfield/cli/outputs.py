"""Where the results of ``fullfield scan`` go, checked before the model is read."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from fullfield.cli.files import check_file, check_picture, check_scores
from fullfield.cli.values import class_key
from fullfield.errors import ImageError
from fullfield.files import PICTURES, output_paths

if TYPE_CHECKING:
    from fullfield.model.model import Model
    from fullfield.store.encoding import Encoding

_RESTRICTED = (".geojson", *PICTURES)  # formats of which --class names the class


@dataclass(frozen=True)
class ScanOutputs:
    """What ``fullfield scan`` writes.

    Args:
        images: the files to scan.
        output: a file or a store; of several images, or with a slash at its end, a folder; ``None`` for a summary only.
        suffix: of the files in a folder.
        overlay: a picture of one class over the image.
        cls: that class.
        restart: begin an unfinished result anew.
        overwrite: replace an earlier result.
    """

    images: tuple[str, ...]
    output: str | None
    suffix: str = ".zarr"
    overlay: str | None = None
    cls: str | None = None
    restart: bool = False
    overwrite: bool = False

    @property
    def is_folder(self) -> bool:
        """Whether every image has a file of its own in a folder."""
        if self.output is None:
            return False
        place = Path(self.output)
        is_store = (place / "zarr.json").exists() or place.suffix.lower() == ".zarr"
        return len(self.images) > 1 or self.output.endswith(("/", "\\")) or (place.is_dir() and not is_store)

    @property
    def template(self) -> str:
        """The output as ``fullfield.scan_files`` takes it."""
        return str(Path(self.output or "") / f"{{name}}{self.suffix}")

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
        if len(self.images) > 1 and (self.output is None or self.overlay is not None):
            names = ", ".join(Path(image).name for image in self.images[:3]) + ", …" * (len(self.images) > 3)
            raise click.UsageError(f"several images need -o FOLDER, and no --overlay (images: {names})")
        if self.output is None and self.restart:
            raise click.UsageError("--restart needs -o, the result to begin anew")
        if world > 1 and (self.output is None or not self._is_store):
            raise click.UsageError("--world needs -o FILE.zarr; fullfield export makes other files of it")
        if self.cls is not None and encoding.labels:
            raise click.UsageError("--class has no meaning with --labels: pictures show all classes")
        check_picture(self.overlay, self.overwrite)
        if self.is_folder:
            self._check_folder()
            return
        check_file(self.images[0])
        if self.output is not None:
            check_scores(Path(self.output), overwrite=self.overwrite, restart=self.restart)

    @property
    def _is_store(self) -> bool:
        return (self.suffix if self.is_folder else Path(self.output or "").suffix.lower()) == ".zarr"

    def _check_folder(self) -> None:
        """Makes the output folder; no two images may have results of one name."""
        assert self.output is not None
        output_paths(self.images, self.template)
        try:
            Path(self.output).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            what = f"cannot be made ({error.strerror})"
            raise ImageError(self.output, what, fix="write to another folder") from error

    def check_classes(self, encoding: Encoding, model: Model) -> None:
        """Passes if the model has the classes that are named.

        Raises:
            ImageError: it does not, or the class of a picture is not among those stored.
        """
        from fullfield.store.classes import find_class
        from fullfield.store.encoding import score_encoder

        stored = score_encoder(
            encoding, classes=model.classes, class_names=model.class_names, ends_in=model.ends_in
        ).classes
        if self.class_shown is None:
            return
        if find_class(self.class_shown, model.classes, model.class_names or ()) not in stored:
            what = f"{self.cls!r} is none of the classes that --classes selects"
            raise ImageError("class", what, fix="add it to --classes, or leave --class out")

    def encoding(self, given: Encoding) -> Encoding:
        """The encoding asked for; of a picture or GeoJSON restricted to the class that is named."""
        suffix = self.suffix if self.is_folder else Path(self.output or "").suffix.lower()
        if self.class_shown is None or suffix not in _RESTRICTED:
            return given
        return replace(given, classes=(self.class_shown,))
