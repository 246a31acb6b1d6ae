"""``fullfield.Scores``: the scores of every window of an image, and where they lie on it."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast, overload

import numpy as np
from numpy.typing import NDArray

from fullfield.api.boxes import DetectedBoxes, detect_in_maps
from fullfield.api.draw import overlay, picture
from fullfield.api.handover import to_dask, to_frame, to_geodataframe, to_xarray
from fullfield.api.scores_text import notebook_table, short_text
from fullfield.api.segments import segments
from fullfield.arguments import checks_keywords, parse_bytes
from fullfield.decisions.boxes import BoxRule
from fullfield.decisions.decide import decide_scores
from fullfield.decisions.rule import DecisionRule
from fullfield.errors import BudgetError
from fullfield.exporters import Options
from fullfield.exporters import export as write
from fullfield.store.archive import read_npz
from fullfield.store.array_map import ArrayMap
from fullfield.store.classes import find_band
from fullfield.store.maps import MapSpec, decoded
from fullfield.store.reading import (
    Cells,
    class_map,
    coarse,
    iter_chunks,
    nearest_cell,
    read_scores,
    read_valid,
    top_labels,
)
from fullfield.store.record import from_record
from fullfield.store.shards import default_shard
from fullfield.store.stored_map import open_map
from fullfield.verification.certificate import Certificate

if TYPE_CHECKING:
    from fullfield.decisions.decision import Decision
    from fullfield.decisions.regions import RegionsLike
    from fullfield.decisions.rule import ClassesLike, ScoresUsed, TemperatureLike
    from fullfield.engine.progress import OnProgress
    from fullfield.exporters import Exported, Resolution
    from fullfield.exporters.detections import Detections
    from fullfield.exporters.geotiff import Compression
    from fullfield.exporters.resample import ResampleMethod
    from fullfield.geometry.placement import Placement
    from fullfield.image.raster import Georeference
    from fullfield.model.final_activation import FinalActivation
    from fullfield.store.maps import Activation, MapKind, ScoreMap

Class = int | str


@dataclass(frozen=True, eq=False, repr=False)
class Scores:
    """Scores of every window of an image, in memory or on disk.

        scores["tumour", 10:20, 5]     # scores of one class, as an array; by name or by the network's index
        scores[:2, 10:20]              # of the first two stored classes, all columns
        np.asarray(scores)             # all of them: ``(classes, rows, columns)``

    A cell that has no score is NaN. Maps on disk are read when and where they are needed, by any number of threads.
    ``scan`` and ``open_scores`` return scores, ``Scores.from_array`` makes them of an array.

    Args:
        map: the cells as they are stored.
    """

    map: ScoreMap

    @classmethod
    def from_array(
        cls,
        array: NDArray[np.floating],
        placement: Placement,
        *,
        class_names: tuple[str, ...] | None = None,
        mode: Literal["exact", "context"] = "exact",
        provenance: dict[str, Any] | None = None,
        certificate: Certificate | Mapping[str, Any] | None = None,
        classes: tuple[int, ...] | None = None,
        activation: Activation | None = None,
        georeference: Georeference | None = None,
        mpp: tuple[float, float] | None = None,
    ) -> Scores:
        """Scores in memory.

        Args:
            array: ``(classes, rows, columns)`` in a floating type; it is not copied.
            placement: where the cells lie on the image.
            class_names: one name for each class.
            mode: ``exact`` scores equal the crops'; ``context`` scores are those of the fully convolutional network.
            provenance: how they were made (hash and name of the model, version, settings), as plain JSON.
            certificate: the result of verification.
            classes: index of each among the network's classes; all of them, in order, by default.
            activation: applied to the network's scores already.
            georeference: of the original image, if it has one.
            mpp: micrometres per pixel (y, x) of the original image, if known.

        Raises:
            ImageError: array, placement and names do not fit together.
        """
        array = np.asarray(array)
        bands = array.shape[0] if array.ndim == 3 else 0
        spec = MapSpec(
            shape=(bands, *placement.shape),
            dtype=str(array.dtype),
            shard=default_shard(bands, str(array.dtype)),
            placement=placement,
            classes=tuple(range(bands)) if classes is None else classes,
            class_names=class_names,
            activation=activation,
            mode=mode,
            georeference=georeference,
            mpp=mpp,
            provenance=provenance or {},
        )
        return cls(ArrayMap(array, spec)).with_certificate(certificate)

    def with_certificate(self, certificate: Certificate | Mapping[str, Any] | None) -> Scores:
        """The same scores in memory with another certificate, given as such or as its ``to_dict``."""
        found = certificate.to_dict() if isinstance(certificate, Certificate) else certificate
        return Scores(replace(self.to_memory()._numbers, certificate=None if found is None else dict(found)))

    @property
    def _numbers(self) -> ArrayMap:
        """The map of scores that are in memory."""
        return cast("ArrayMap", self.map)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Classes, rows and columns; of labels 1, rows and columns."""
        return self.map.spec.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the numbers as they are stored."""
        return np.dtype(self.map.spec.dtype)

    @property
    def kind(self) -> MapKind:
        """``scores``, or ``labels`` where only the index of the top class is stored."""
        return self.map.spec.kind

    @property
    def classes(self) -> tuple[int, ...]:
        """Index of each stored class among the network's classes; of labels, all classes."""
        return self.map.spec.classes

    @property
    def class_names(self) -> tuple[str, ...] | None:
        """One name for each of ``classes``, if the network names them."""
        return self.map.spec.class_names

    @property
    def features(self) -> str | None:
        """The layer whose features these are, and how they are made of its output; ``None`` of scores of classes."""
        return self.map.spec.features

    @property
    def activation(self) -> FinalActivation | None:
        """The last that the scores went through, by the scan or as the network's end: ``softmax``, ``sigmoid``, …"""
        return self.map.spec.went_through

    @property
    def mode(self) -> Literal["exact", "context"]:
        """``exact``: the scores equal the crops'; ``context``: they are those of the fully convolutional network."""
        return self.map.spec.mode

    @property
    def placement(self) -> Placement:
        """Where the cells lie on the image."""
        return self.map.spec.placement

    @property
    def georeference(self) -> Georeference | None:
        """Of the original image, if it has one."""
        return self.map.spec.georeference

    @property
    def mpp(self) -> tuple[float, float] | None:
        """Micrometres per pixel (y, x) of the original image, if known."""
        return self.map.spec.mpp

    @property
    def provenance(self) -> dict[str, Any]:
        """How the scores were made, as plain JSON."""
        return self.map.spec.provenance

    @property
    def certificate(self) -> Certificate | None:
        """The result of verification, if the scores were verified.

        Raises:
            ImageError: the file's certificate is damaged.
        """
        return None if self.map.certificate is None else Certificate.from_dict(self.map.certificate)

    @property
    def path(self) -> Path | None:
        """The store on disk; ``None`` of scores in memory."""
        return getattr(self.map, "path", None)

    @property
    def array(self) -> NDArray[np.floating]:
        """All scores ``(classes, rows, columns)``: the array itself in memory; from disk they are read at each call.

        Raises:
            BudgetError: scores on disk of more than 4 GiB.
        """
        return decoded(self.to_memory()._numbers.array, self.map.spec)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        """``array``, for ``np.asarray(scores)``."""
        if copy is False and self.path is not None:
            raise ValueError("scores on disk cannot be an array without a copy")
        return np.array(self.array, dtype, copy=copy)

    def __getitem__(self, key: Class | Cells | tuple[Class | Cells, ...]) -> NDArray[np.floating]:
        """Scores of some classes, rows and columns; NaN where there is none, and of labels the index of the class.

        In memory the result may be a view.

        Args:
            key: one class by name or by the network's index, or a slice of the stored classes; then rows and columns
                as integers or slices. What is left out or ``None`` is taken whole.

        Raises:
            ImageError: no such class, or the store is damaged there.
            GeometryError: no such row or column.
        """
        return read_scores(self.map, key)

    def valid(self, rows: Cells = None, columns: Cells = None) -> NDArray[np.bool_]:
        """Which cells ``(y, x)`` have scores: of all rows and columns, or of some.

        Raises:
            GeometryError: no such row or column.
        """
        return read_valid(self.map, rows, columns)

    def at(self, y: float, x: float) -> NDArray[np.floating]:
        """Scores ``(classes,)`` of the cell whose centre is nearest to a point of the original image.

        Args:
            y, x: in pixel edges: the centre of pixel ``(0, 0)`` is ``(0.5, 0.5)``.

        Raises:
            ImageError: no cell covers the point.
        """
        return self[(None, *nearest_cell(self.placement, y, x))].copy()

    def iter_chunks(self) -> Iterator[tuple[int, int, Iterator[tuple[int, NDArray[np.floating]]]]]:
        """All scores, an inner chunk of the store at a time: first row and column of some cells, and their scores.

        These come in parts: the first band, and the scores ``(b, y, x)`` of ``b`` bands from it on.
        """
        return iter_chunks(self.map)

    def top(self) -> NDArray[np.int32]:
        """The network's index of the class with the greatest score at every cell; -1 where a score is missing.

        Shape: ``(y, x)``; a part of the scores is in memory at a time
        """
        return top_labels(self.map)

    def class_index(self, cls: Class | None) -> int:
        """Position of a class among those stored, given by name or by its index among the network's classes.

        Raises:
            ImageError: it is not stored, several classes have that name, or ``None`` where there are several.
        """
        return find_band(self.map.spec, cls)

    def class_map(self, cls: Class | None = None, activation: Activation | None = None) -> NDArray[np.floating]:
        """Scores ``(y, x)`` of one class, as they are or as probabilities (``softmax`` over the classes, ``sigmoid``).

        Args:
            cls: index or name; not needed where there is one class.
            activation: for networks that return logits.

        Raises:
            ImageError: no such class or activation.
        """
        return class_map(self.map, self.class_index(cls), activation)

    @property
    def levels(self) -> int:
        """Levels of the pyramid of a map on disk, the map itself included; 1 in memory."""
        return self.map.levels

    def level(self, number: int) -> Scores:
        """A coarser level of the pyramid, each cell in the middle of the ``2^number`` cells a side that it summarises.

        Raises:
            GeometryError: there is no such level.
        """
        return Scores(self.map.level(number))

    def coarse(self, side: int) -> Scores:
        """The finest level with at most ``side`` cells a side, else the coarsest."""
        return Scores(coarse(self.map, side))

    def to_memory(self, budget: int | str = "4GiB") -> Scores:
        """The same scores in memory, as they are stored.

        Args:
            budget: memory that they may take, bytes or a text such as ``"8GB"``; scores in memory are returned as they
                are.

        Raises:
            BudgetError: they need more.
            ImageError: the store is damaged.
        """
        if isinstance(self.map, ArrayMap):
            return self
        (bands, rows, columns), where = self.shape, str(self.path or "scores")
        needed = math.prod(self.shape) * self.dtype.itemsize
        allowed = parse_bytes(budget)
        if needed > allowed:
            raise BudgetError(
                where,
                f"{bands} x {rows}x{columns} scores need {needed} bytes of memory, {allowed} are allowed",
                fix="read a part, such as scores[:, :1000, :1000], or allow more: to_memory(budget=...)",
            )
        try:
            array = self.map.read(0, rows, 0, columns)
        except MemoryError as error:
            what = f"{needed} bytes of memory are needed, which the system does not have"
            raise BudgetError(where, what, fix="read a part, such as scores[:, :1000, :1000]") from error
        return Scores(ArrayMap(array, self.map.spec, self.map.certificate))

    @overload
    def decide(
        self, how: str, *, on: ScoresUsed = "scores", temperature: TemperatureLike = None, classes: ClassesLike = None
    ) -> Decision: ...
    @overload
    def decide(
        self,
        how: str,
        *,
        on: ScoresUsed = "scores",
        temperature: TemperatureLike = None,
        classes: ClassesLike = None,
        regions: RegionsLike,
    ) -> tuple[Decision, ...]: ...
    @checks_keywords
    def decide(
        self,
        how: str,
        *,
        on: ScoresUsed = "scores",
        temperature: TemperatureLike = None,
        classes: ClassesLike = None,
        regions: RegionsLike | None = None,
    ) -> Decision | tuple[Decision, ...]:
        """One score a class for the whole image, or for each region of it; a part of the map is in memory at a time.

        In means, log-sum-exp and quantiles every pixel of the image counts alike: a window weighs the sum over its
        pixels of 1 / (number of windows with scores that cover the pixel). A score that is NaN does not count.

        Args:
            how: ``mean``, ``max``, ``log-sum-exp`` (``log-sum-exp:5`` for a beta of 5; by default the logarithm of the
                number of windows), ``top-k:10`` or ``top-k:5%`` (mean of the greatest), ``quantile:0.9``, ``noisy-or``.
            on: what is decided on: the map's ``scores``, ``logits``, ``probabilities`` that the map holds, or those
                that ``softmax`` or ``sigmoid`` makes of its logits.
            temperature: that logits are divided by before softmax or sigmoid; ``fit_temperature`` finds it.
            classes: by index or name; all of the map by default.
            regions: a GeoJSON file, each annotation of which gets a decision; ``Where(mask=..., min_coverage=...)``
                says more. The windows of one are those that a scan with it as its mask would have.

        Raises:
            ArgumentError: unknown names, numbers outside of their range.
            ImageError: no window has a score, or the map does not hold what is decided on.
        """
        return decide_scores(self.map, DecisionRule(how, on, temperature, classes, regions))

    picture = picture
    overlay = overlay
    segments = segments
    to_dask = to_dask
    to_xarray = to_xarray
    to_frame = to_frame
    to_geodataframe = to_geodataframe

    @checks_keywords
    def save(
        self,
        path: str | os.PathLike[str],
        *,
        classes: Class | Sequence[Class] | None = None,
        labels: bool = False,
        resolution: Resolution = "cells",
        resample: ResampleMethod = "nearest",
        cog: bool = True,
        compression: Compression = "deflate",
        detections: Detections | None = None,
        overwrite: bool = False,
        budget: int | str | None = None,
        progress: OnProgress | None = None,
    ) -> Exported:
        """Writes the scores in the format of the suffix; ``fullfield.export`` describes formats and arguments.

        Raises:
            ImageError: unknown suffix, a file is there already, no space, no right to write.
        """
        options = Options(labels, resolution, resample, cog, compression, detections)
        return write(
            self.map,
            path,
            classes=classes,
            overwrite=overwrite,
            options=options,
            budget_bytes=parse_bytes(budget),
            progress=progress,
        )

    @checks_keywords
    def detect(
        self,
        *,
        threshold: float | None = None,
        classes: Class | Sequence[Class] | None = None,
        nms: float | None = None,
        merge: float | None = None,
        min_distance: float | None = None,
        across_classes: bool = False,
        budget: int | str | None = None,
        progress: OnProgress | None = None,
    ) -> DetectedBoxes:
        """Objects as boxes; ``fullfield.detect`` describes the arguments, and takes several maps."""
        rule = BoxRule.parse(nms, merge, min_distance, across_classes)
        return detect_in_maps([self.map], threshold, classes, rule, budget_bytes=parse_bytes(budget), progress=progress)

    def __repr__(self) -> str:
        return short_text(self)

    def _repr_html_(self) -> str:
        return notebook_table(self)


@checks_keywords
def open_scores(path: str | os.PathLike[str]) -> Scores:
    """The scores in a file that ``scan``, ``Scores.save`` or ``export`` wrote.

    A ``.zarr`` is read where and when scores are needed, however large it is; an ``.npz`` is read into memory.

    Raises:
        ResumeError: a store that is not complete; the text says how much is there.
        ImageError: there is no file, it holds no scores, or parts are missing.
    """
    place = Path(path)
    if place.is_dir():
        return Scores(open_map(place))
    array, record = read_npz(place)
    return Scores(ArrayMap(array, from_record(record, str(path)), record["certificate"]))
