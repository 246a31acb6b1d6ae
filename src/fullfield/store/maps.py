"""Score maps, in memory or on disk: what a map holds, and how it is read by region."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from fullfield.errors import GeometryError
from fullfield.geometry.placement import Placement
from fullfield.geometry.region import Region
from fullfield.image.raster import Georeference, Origin

if TYPE_CHECKING:
    from fullfield.model.final_activation import FinalActivation

MapKind = Literal["scores", "labels"]
Activation = Literal["softmax", "sigmoid"]
ALL = slice(None)
DTYPES = ("float64", "float32", "float16", "uint8", "uint16")  # of stored numbers


@dataclass(frozen=True)
class MapSpec:
    """What a score map holds, and where it lies on the image.

    A stored number ``n`` means ``offset + scale * n``; ``fill`` marks cells without a score.

    Args:
        shape: bands, rows and columns.
        dtype: of the stored numbers: float64, float32, float16, uint8 or, for labels, uint16.
        shard: rows and columns of one file, which are written together.
        placement: where the cells lie on the image.
        kind: ``scores``, one band for each stored class, or ``labels``, one band with the index of the top class.
        classes: index of every band's class among the network's classes; of labels, all classes.
        class_names: one name for each of ``classes``, or none.
        activation: applied to the network's scores before they were stored.
        scale, offset: of the stored numbers; 1 and 0 for floats and labels.
        fill: NaN for floats, the greatest number of the type for integers.
        mode: ``exact`` or ``context``.
        georeference: of the original image's finest level, if it has one.
        mpp: micrometres per pixel (y, x) of the original image's finest level, if known.
        provenance: how the map was made, as plain JSON.
        origin: where other programs see the original image.
    """

    shape: tuple[int, int, int]
    dtype: str
    shard: tuple[int, int]
    placement: Placement
    kind: MapKind = "scores"
    classes: tuple[int, ...] = ()
    class_names: tuple[str, ...] | None = None
    activation: Activation | None = None
    scale: float = 1.0
    offset: float = 0.0
    fill: float = float("nan")
    mode: Literal["exact", "context"] = "exact"
    georeference: Georeference | None = None
    mpp: tuple[float, float] | None = None
    provenance: dict[str, Any] = field(default_factory=dict)
    origin: Origin = field(default_factory=Origin)

    @property
    def precision(self) -> str | None:
        """Type in which the scores were computed, where it is not the model's own."""
        used = self.provenance.get("settings", {}).get("compute", {})
        precision: str | None = used.get("precision")
        return None if precision == used.get("dtype") else precision

    @property
    def features(self) -> str | None:
        """The layer whose features the bands are, and how they are made of its output; ``None`` of scores."""
        found: str | None = self.provenance.get("features")
        return found

    @property
    def of_signal(self) -> bool:
        """Whether its columns are windows of a signal, an image of height one, instead of an image."""
        return self.provenance.get("signal") is not None

    @property
    def sample_rate(self) -> float | None:
        """Samples per second of the signal, if known."""
        found: float | None = (self.provenance.get("signal") or {}).get("sample_rate_hz")
        return found

    def title(self, band: int) -> str:
        """What a band is called: its class by name or number, of features the number of the channel."""
        if self.class_names:
            return self.class_names[band]
        return f"{'channel' if self.features else 'class'} {self.classes[band] if self.classes else band}"

    @property
    def titles(self) -> tuple[str, ...]:
        """What each band is called, or of labels each class."""
        return tuple(map(self.title, range(len(self.classes) or self.shape[0])))

    @property
    def holds_all_classes(self) -> bool:
        """Whether the bands are all classes of the network, in its order, as far as the record says."""
        chosen = self.provenance.get("settings", {}).get("encoding", {}).get("classes")
        return chosen is None and self.classes == tuple(range(len(self.classes)))

    @property
    def went_through(self) -> FinalActivation | None:
        """The last activation of the scores: the stored one, else the one that the network itself ends in."""
        return None if self.kind == "labels" else self.activation or self.provenance.get("ends_in")


class ScoreMap(Protocol):
    """A finished map that is read by region, in memory or on disk; any number of threads may read."""

    @property
    def spec(self) -> MapSpec:
        """What the map holds."""
        ...

    @property
    def certificate(self) -> dict[str, Any] | None:
        """The result of verification, as plain JSON."""
        ...

    @property
    def levels(self) -> int:
        """Levels of the pyramid, the map itself included."""
        ...

    def level(self, number: int) -> ScoreMap:
        """One level of the pyramid as a map of its own; 0 is the map itself.

        Raises:
            GeometryError: there is no such level.
        """
        ...

    def read(self, top: int, bottom: int, left: int, right: int, bands: slice = ALL) -> NDArray[Any]:
        """Stored numbers ``(bands, y, x)`` of a half-open region of cells; of some bands, or of all.

        Raises:
            GeometryError: the region does not lie in the map.
            ImageError: the file is damaged there.
        """
        ...

    def valid(self, top: int, bottom: int, left: int, right: int) -> NDArray[np.bool_]:
        """Which cells ``(y, x)`` of a region have scores."""
        ...


class Scaled(Protocol):
    """How stored integers mean scores: ``n`` means ``offset + scale * n``, and ``fill`` none."""

    @property
    def scale(self) -> float:
        """Of the stored numbers."""
        ...

    @property
    def offset(self) -> float:
        """Of the stored numbers."""
        ...

    @property
    def fill(self) -> float:
        """Number of cells without a score."""
        ...


def decoded(numbers: NDArray[Any], spec: Scaled) -> NDArray[np.floating]:
    """Scores of stored numbers, NaN where there is none: floats as they are, integers and labels as float32."""
    if numbers.dtype.kind == "f":
        return numbers
    values: NDArray[np.floating] = numbers.astype(np.float32)
    values *= np.float32(spec.scale)
    values += np.float32(spec.offset)
    values[numbers == numbers.dtype.type(spec.fill)] = np.nan
    return values


def filled(numbers: NDArray[Any], spec: MapSpec) -> NDArray[np.bool_]:
    """Which cells have a score in some band. Shape: ``(bands, y, x)`` -> ``(y, x)``"""
    empty = np.isnan(numbers) if numbers.dtype.kind == "f" else numbers == numbers.dtype.type(spec.fill)
    found: NDArray[np.bool_] = ~empty.all(axis=0)
    return found


def check_region(region: Region, shape: tuple[int, ...]) -> None:
    """Raises unless a region lies in a map of ``shape`` rows and columns.

    Raises:
        GeometryError: it does not.
    """
    top, bottom, left, right = region
    if not (0 <= top <= bottom <= shape[0] and 0 <= left <= right <= shape[1]):
        raise GeometryError(
            "region",
            f"rows {top}:{bottom}, columns {left}:{right} do not lie in {shape[0]}x{shape[1]} cells",
            fix="give half-open ranges of cells inside the map",
        )


def check_level(number: int, levels: int) -> None:
    """Raises unless a pyramid of so many levels has that one.

    Raises:
        GeometryError: it does not.
    """
    if not 0 <= number < levels:
        raise GeometryError("level", f"{number} is not one of {levels}", fix="0 is the finest")


def check_spec(spec: MapSpec) -> None:
    """Raises unless bands, classes, names, cells and fill value are consistent.

    Raises:
        GeometryError: they are not; the text says which.
    """
    bands, rows, columns = spec.shape
    labels, floats = spec.kind == "labels", spec.dtype.startswith("float")
    names = spec.class_names
    if min(spec.shape) < 1 or (rows, columns) != spec.placement.shape or min(spec.shard) < 1:
        what = f"shape {spec.shape}, shards {spec.shard} are no map of {spec.placement.shape} cells"
    elif (bands != 1 if labels else bands != len(spec.classes)) or not spec.classes:
        what = f"{bands} bands of {spec.kind} do not fit {len(spec.classes)} classes"
    elif names is not None and len(names) != len(spec.classes):
        what = f"{len(names)} names for {len(spec.classes)} classes"
    elif spec.dtype not in (("uint8", "uint16") if labels else ("float64", "float32", "float16", "uint8")):
        what = f"{spec.kind} cannot be stored as {spec.dtype}"
    elif not (np.isnan(spec.fill) if floats else spec.fill == np.iinfo(spec.dtype).max):
        what = f"the fill value of {spec.dtype} is not {spec.fill:g}"
    else:
        return
    raise GeometryError("map", what, fix="take bands, names and types from fullfield.store.encoding.score_encoder")
