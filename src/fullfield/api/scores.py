"""The result of a scan: scores, and where on the image they belong."""

from __future__ import annotations

import math
import os
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fullfield.drawing.colours import paint
from fullfield.drawing.legend import with_legend
from fullfield.drawing.overlay import blend, photograph
from fullfield.errors import ImageError
from fullfield.files import PICTURES, check_writable, replacing
from fullfield.geometry.placement import Placement
from fullfield.image.decode import pixel_limit
from fullfield.image.raster import Georeference
from fullfield.store.archive import read_npz, write_npz
from fullfield.store.classes import find_class
from fullfield.store.encoding import activated
from fullfield.store.maps import Activation, MapSpec
from fullfield.store.ome_zarr import create_store
from fullfield.store.pyramid import seal
from fullfield.store.record import from_record, to_record
from fullfield.store.shards import default_shard

Mode = Literal["exact", "context"]


@dataclass(frozen=True, eq=False)
class Scores:
    """Scores of every window of an image.

    Args:
        array: ``(k, y, x)`` in the network's floating type (bfloat16 as float32).
        placement: where the cells lie on the image.
        class_names: one name a class.
        mode: ``exact`` scores are the crops'; ``context`` scores are those of the fully convolutional network.
        provenance: what made them (hash and name of the model, version, settings), as plain JSON.
        certificate: what verification found, as plain JSON.
        classes: index of each among the network's classes, if not all were kept.
        activation: applied to the network's scores already.
        georeference: of the original image, if it lies on a map.
        mpp: micrometres per pixel (y, x) of the original image, if known.

    Raises:
        ImageError: array, placement and names do not go together.
    """

    array: NDArray[np.floating]
    placement: Placement
    class_names: tuple[str, ...] | None = None
    mode: Mode = "exact"
    provenance: dict[str, Any] = field(default_factory=dict)
    certificate: dict[str, Any] | None = None
    classes: tuple[int, ...] | None = None
    activation: Activation | None = None
    georeference: Georeference | None = None
    mpp: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        array, names = self.array, self.class_names
        if array.ndim != 3 or array.shape[1:] != self.placement.shape or array.dtype.kind != "f" or not array.size:
            rows, columns = self.placement.shape
            raise ImageError(
                "scores",
                f"{array.dtype} of shape {array.shape} is no map of {rows}x{columns} cells",
                fix="give floating scores of shape (classes, rows, columns)",
            )
        if names is not None and len(names) != array.shape[0]:
            raise ImageError(
                "class names", f"{len(names)} names for {array.shape[0]} classes", fix="give one name a class"
            )

    @property
    def shape(self) -> tuple[int, int, int]:
        """Classes, rows and columns."""
        classes, rows, columns = self.array.shape
        return classes, rows, columns

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        """``array``, for ``np.asarray(scores)``. Shape: ``(k, y, x)``"""
        return np.array(self.array, dtype, copy=copy)

    def at(self, y: float, x: float) -> NDArray[np.floating]:
        """Scores ``(k,)`` of the cell whose centre is nearest to a point of the original image.

        Args:
            y, x: in pixel edges: the centre of pixel ``(0, 0)`` is ``(0.5, 0.5)``.

        Raises:
            ImageError: no cell covers the point.
        """
        i, j = nearest_cell(self.placement, y, x)
        return self.array[:, i, j].copy()

    def top(self) -> NDArray[np.intp]:
        """The class with the greatest score at every cell.

        Shape: ``(y, x)``
        """
        best: NDArray[np.intp] = self.array.argmax(axis=0)
        return best

    def class_map(self, cls: int | str | None = None, activation: Activation | None = None) -> NDArray[np.floating]:
        """Scores ``(y, x)`` of one class, as they are or as probabilities (``softmax`` over the classes, ``sigmoid``).

        Args:
            cls: index or name; may be left out where there is one class only.
            activation: for networks that give logits.

        Raises:
            ImageError: no such class or activation.
        """
        index = self.class_index(cls)
        if activation is None:
            plain: NDArray[np.floating] = self.array[index]
            return plain
        if activation not in ("softmax", "sigmoid"):
            raise ImageError("activation", f"{activation!r} is not known", fix="use softmax, sigmoid or None")
        if self.activation is not None:
            what = f"{activation} of scores that were put through {self.activation} already"
            raise ImageError("activation", what, fix="leave it out")
        out = np.empty(self.array.shape[1:], dtype=self.array.dtype)
        for i in range(out.shape[0]):
            out[i] = activated(self.array[:, i], activation)[index]
        return out

    def class_index(self, cls: int | str | None) -> int:
        """Index of a class given by index or name.

        Raises:
            ImageError: no such class, a name that several classes carry, or none given where there are several.
        """
        return find_class(cls, self.array.shape[0], self.class_names or ())

    def picture(
        self,
        cls: int | str | None = None,
        *,
        colours: str = "viridis",
        vmin: float | None = None,
        vmax: float | None = None,
        activation: Activation | None = None,
    ) -> Image.Image:
        """The bare map of one class, a pixel a cell.

        Args:
            cls, activation: as for ``class_map``.
            colours: viridis, magma, inferno or gray.
            vmin, vmax: values of the first and the last colour; the map's own extremes where not given.
        """
        values = self.class_map(cls, activation)
        return Image.fromarray(paint(values, colours, _limits(values, vmin, vmax)))

    def overlay(
        self,
        image: object,
        cls: int | str | None = None,
        *,
        alpha: float = 0.6,
        colours: str = "viridis",
        vmin: float | None = None,
        vmax: float | None = None,
        activation: Activation | None = None,
        smooth: bool = False,
        legend: bool = True,
    ) -> Image.Image:
        """The map of one class over the image that was scanned, each cell on the pixels round its window's centre.

        The image lies at the top left, pixel for pixel; the legend is below it. The photograph is grey under the map,
        and keeps its colours where no window is centred.

        Args:
            image: what was scanned, as array, tensor, PIL image or path.
            cls, activation: as for ``class_map``.
            colours, vmin, vmax: as for ``picture``.
            alpha: opacity of the map, 0..1.
            smooth: interpolate between the cells' centres.
            legend: draw the colour bar.

        Raises:
            ImageError: another image's size, an unknown class or colour map.
        """
        values = self.class_map(cls, activation)
        limits = _limits(values, vmin, vmax)
        photo = photograph(image, max_pixels=max(math.prod(self.placement.image), pixel_limit()))
        drawn = blend(photo, values, self.placement, limits=limits, alpha=alpha, colours=colours, smooth=smooth)
        sheet = Image.fromarray(drawn)
        if not legend:
            return sheet
        index = self.class_index(cls)
        title = self.class_names[index] if self.class_names else f"class {index}"
        note = self.mode if activation is None else f"{activation}, {self.mode}"
        return with_legend(sheet, title=title, note=note, colours=colours, limits=limits)

    @property
    def spec(self) -> MapSpec:
        """What the map holds, in the words of stored maps."""
        dtype, bands = str(self.array.dtype), self.array.shape[0]
        return MapSpec(
            shape=(bands, *self.placement.shape),
            dtype=dtype,
            shard=default_shard(bands, dtype),
            placement=self.placement,
            classes=tuple(range(bands)) if self.classes is None else self.classes,
            class_names=self.class_names,
            activation=self.activation,
            mode=self.mode,
            georeference=self.georeference,
            mpp=self.mpp,
            provenance=self.provenance,
        )

    def read(self, top: int, bottom: int, left: int, right: int) -> NDArray[np.floating]:
        """A view of a half-open region of cells. Shape: ``(k, y, x)``"""
        return self.array[:, top:bottom, left:right]

    def valid(self, top: int, bottom: int, left: int, right: int) -> NDArray[np.bool_]:
        """Which cells ``(y, x)`` of a region have a score that is not NaN."""
        found: NDArray[np.bool_] = ~np.isnan(self.read(top, bottom, left, right)).all(axis=0)
        return found

    def save(self, path: str | os.PathLike[str], cls: int | str | None = None, *, overwrite: bool = False) -> None:
        """Writes ``.zarr`` or ``.npz`` with everything, or the bare map of one class as ``.png``, ``.jpg``, ``.webp``.

        The file appears whole or not at all. A ``.zarr`` is OME-Zarr 0.5: viewers lay it over the image.

        Args:
            path: its suffix chooses the format.
            cls: the class of a picture; not for ``.zarr`` and ``.npz``, which hold all.
            overwrite: replace an earlier result.

        Raises:
            ImageError: unknown suffix, something is there already, no space, no right to write.
        """
        target = check_writable(path, overwrite)
        suffix = target.suffix.lower()
        if suffix in PICTURES:
            save_picture(self.picture(cls), target, overwrite=overwrite)
            return
        needed = self.array.nbytes + (1 << 16)
        with replacing(target, overwrite=overwrite, needed_bytes=needed, folder=suffix == ".zarr") as place:
            if suffix == ".zarr":
                try:
                    self._fill_store(place)
                except ImageError as error:  # of the temporary: `replacing` says it of the name that was asked for
                    raise (error.__cause__ if isinstance(error.__cause__, OSError) else error) from None
            else:
                write_npz(place, self.array, to_record(self.spec, certificate=self.certificate, complete=True))

    def _fill_store(self, place: Path) -> None:
        """An OME-Zarr store at an empty folder."""
        writer = create_store(place, self.spec, certificate=self.certificate)
        (_, rows, columns), (height, width) = writer.spec.shape, writer.spec.shard
        for top in range(0, rows, height):
            for left in range(0, columns, width):
                region = top, min(top + height, rows), left, min(left + width, columns)
                writer.write(top, left, self.read(*region), self.valid(*region))
        seal(place)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Scores:
        """The scores that ``save`` wrote as ``.zarr`` or ``.npz``, or that a scan wrote as ``.zarr``.

        Raises:
            ImageError: it holds no scores, or is damaged.
            ResumeError: it is not complete.
            BudgetError: no memory is left for it; ``fullfield.open_scores`` reads it by region.
        """
        place = Path(path)
        if place.is_dir():
            from fullfield.api.stored import open_scores  # which needs this module

            return open_scores(place).to_scores(budget_bytes=sys.maxsize)
        array, record = read_npz(place)
        spec = from_record(record, str(path))
        return cls(
            array,
            spec.placement,
            class_names=spec.class_names,
            mode=spec.mode,
            provenance=spec.provenance,
            certificate=record["certificate"],
            classes=None if spec.classes == tuple(range(spec.shape[0])) else spec.classes,
            activation=spec.activation,
            georeference=spec.georeference,
            mpp=spec.mpp,
        )

    def __repr__(self) -> str:
        (k, rows, columns), (h, w), (sy, sx) = self.array.shape, self.placement.window, self.placement.step
        step = f"{sy}" if sy == sx else f"{sy}x{sx}"
        height, width = self.placement.image
        return (
            f"Scores({k} x {rows}x{columns} {self.array.dtype}, {self.mode}, step {step}, "
            f"window {h}x{w}, image {height}x{width})"
        )


def nearest_cell(placement: Placement, y: float, x: float) -> tuple[int, int]:
    """The cell whose centre is nearest to a point of the original image, in pixel edges.

    Raises:
        ImageError: no cell covers the point.
    """
    top, left, bottom, right = placement.footprint()
    if not (top <= y <= bottom and left <= x <= right):
        raise ImageError(
            f"point y={y:g}, x={x:g}",
            f"lies outside the scores, which cover y {top:g}..{bottom:g}, x {left:g}..{right:g}",
            fix="ask for a point that some window is centred near",
        )
    place = zip(placement.cell(y, x), placement.shape, strict=True)
    i, j = (min(max(math.floor(cell + 0.5), 0), count - 1) for cell, count in place)
    return i, j


def save_picture(picture: Image.Image, path: str | os.PathLike[str], *, overwrite: bool = False) -> None:
    """Writes a picture whole or not at all; WebP without loss, JPEG at quality 95.

    Raises:
        ImageError: unknown suffix, something is there already, no space, no right to write.
    """
    target = check_writable(path, overwrite, suffixes=PICTURES)
    kind = {".png": "PNG", ".webp": "WEBP"}.get(target.suffix.lower(), "JPEG")
    options: dict[str, dict[str, Any]] = {
        "PNG": {},
        "WEBP": {"lossless": True},
        "JPEG": {"quality": 95, "subsampling": 0},
    }
    needed = 3 * picture.width * picture.height
    with replacing(target, overwrite=overwrite, needed_bytes=needed) as place, place.open("wb") as file:
        picture.save(file, format=kind, **options[kind])


def _limits(values: NDArray[np.floating], vmin: float | None, vmax: float | None) -> tuple[float, float]:
    """Values of the first and the last colour: those given, else the extremes of what is finite."""
    finite = values[np.isfinite(values)]
    low = vmin if vmin is not None else float(finite.min()) if finite.size else 0.0
    high = vmax if vmax is not None else float(finite.max()) if finite.size else 1.0
    if not (math.isfinite(low) and math.isfinite(high) and low <= high):
        raise ImageError("vmin, vmax", f"{low:g}..{high:g} is no range of values", fix="give vmin below vmax")
    return float(low), float(high)
