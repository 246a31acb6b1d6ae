"""Files that a command line names, checked before torch is imported."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fullfield.cli.imports import without_collections
from fullfield.errors import CaptureError, ImageError
from fullfield.model.window_resize import Interpolation, parse_window_resize
from fullfield.model.window_standardise import Standardise

if TYPE_CHECKING:
    from fullfield.model.model import Model


@dataclass(frozen=True)
class ModelFile:
    """A model as the command line names it; the file exists.

    Args:
        model, window, preprocessing, score, weights, arch, channels, trust, resize, interpolation, antialias,
            standardise: as for ``fullfield.load``.
        class_names: a text file with one name a line.
        pixels: fields of ``Preprocessing`` that are given by themselves; ``None`` for those that are not.
    """

    model: str
    window: int | tuple[int, int] | None = None
    preprocessing: str | None = None
    score: int | str | None = None
    class_names: str | None = None
    weights: str | None = None
    arch: str | None = None
    channels: int | None = None
    trust: bool = False
    resize: tuple[int, int] | None = None
    interpolation: Interpolation | None = None
    antialias: bool | None = None
    standardise: Standardise | None = None
    pixels: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        from fullfield.importers.checkpoints.names import parse_architecture, parse_network_name

        file = None if parse_network_name(self.model) else self.model
        if self.arch is not None:
            parse_architecture(self.arch)
        for path in (file, self.weights, self.class_names):
            if path is not None and not Path(path).exists():
                raise CaptureError(path, "there is no such file", fix="check the path")
        self._preprocessing()
        parse_window_resize(self.window, self.resize, interpolation=self.interpolation, antialias=self.antialias)

    def _preprocessing(self) -> Any:
        """A preset with the given fields, a dict of the fields or in a file, or nothing."""
        from fullfield.model.given_preprocessing import is_preprocessing_file, read_preprocessing_file
        from fullfield.model.preprocessing import preset

        given = {name: value for name, value in self.pixels.items() if value is not None}
        if self.preprocessing is None:
            units = {"mean": (0.0,), "std": (1.0,)}  # of pixels scaled to 0..1, where no scale is given
            return (given if "scale" in given else units | given) if given else None
        if not is_preprocessing_file(self.preprocessing):
            return replace(preset(self.preprocessing), **given)
        if given:
            what = f"{self.preprocessing} and {', '.join(given)} are both given"
            raise CaptureError("preprocessing", what, fix="give the file, or the numbers")
        return read_preprocessing_file(self.preprocessing)

    def load(self) -> Model:
        """The model."""
        with without_collections():
            from fullfield.importers.class_names import read_class_names
            from fullfield.importers.load import load

        return load(
            self.model,
            window=self.window,
            preprocessing=self._preprocessing(),
            class_names=None if self.class_names is None else read_class_names(self.class_names),
            score=self.score,
            weights=self.weights,
            arch=self.arch,
            channels=self.channels,
            trust=self.trust,
            resize=self.resize,
            interpolation=self.interpolation,
            antialias=self.antialias,
            standardise=self.standardise,
        )


def check_file(path: str) -> None:
    """Passes if a file or folder exists; addresses of other machines pass.

    Raises:
        ImageError: it does not.
    """
    from fullfield.image.blob import local_path

    local = local_path(path)
    if local is not None and not Path(local).exists():
        raise ImageError(path, "there is no such file", fix="check the path")


def check_picture(path: str | None, overwrite: bool) -> None:
    """Passes if no picture is wanted, or one can be written there.

    Raises:
        ImageError: it cannot.
    """
    from fullfield.files import PICTURES, check_writable

    if path is not None:
        check_writable(path, overwrite, suffixes=PICTURES)


def check_scores(path: Path, *, overwrite: bool, restart: bool = False) -> None:
    """Passes if scores can be written there, or an earlier scan can be resumed.

    Raises:
        ImageError: they cannot.
    """
    from fullfield.exporters import check_output
    from fullfield.store.ome_zarr import read_record

    store = path.suffix.lower() == ".zarr"
    check_output(path, overwrite or store)
    if store and path.exists() and not (overwrite or restart):
        read_record(path)
