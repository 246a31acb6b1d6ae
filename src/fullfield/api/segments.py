"""``fullfield.Segments``: labels at the resolution of the image, and what they are."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fullfield.arguments import checks_keywords, parse_bytes, parse_record
from fullfield.decisions.segmentation import Segmentation
from fullfield.exporters import Options, export
from fullfield.files import LAYERS

if TYPE_CHECKING:
    from fullfield.api.scores import Scores
    from fullfield.decisions.segment import SegmentCount
    from fullfield.engine.progress import OnProgress
    from fullfield.exporters import Exported
    from fullfield.exporters.coordinates import Coordinates
    from fullfield.exporters.geotiff import Compression


@dataclass(frozen=True, eq=False, repr=False)
class Segments:
    """Segments of an image: a class, or none, for each pixel.

    ``Scores.segments`` makes them. They lie in a temporary file (two bytes a pixel, in the folder that ``TMPDIR``
    names), which is removed when nothing refers to them any more.

    Args:
        labels: a map of labels with a cell for each pixel, which can be read, drawn and saved as scores can.
        counts: of each class, how many connected segments there are, and how many pixels they have.
    """

    labels: Scores
    counts: tuple[SegmentCount, ...]

    @property
    def count(self) -> int:
        """Number of segments of all classes."""
        return sum(each.segments for each in self.counts)

    @property
    def array(self) -> NDArray[np.int32]:
        """The network's index of the class of each pixel ``(y, x)``; -1 for none."""
        return self.labels.top()

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        """``array``, for ``np.asarray(segments)``."""
        if copy is False:
            raise ValueError("segments cannot be an array without a copy")
        return np.asarray(self.array, dtype)

    @checks_keywords
    def save(
        self,
        path: str | os.PathLike[str],
        *,
        coordinates: Coordinates = "auto",
        cog: bool = True,
        compression: Compression = "deflate",
        overwrite: bool = False,
        budget: int | str | None = None,
        progress: OnProgress | None = None,
    ) -> Exported:
        """Writes the labels as GeoTIFF, OME-TIFF, ``.npy``, PNG or OME-Zarr, or a polygon or row for each segment.

        The suffix says which. Each polygon follows the edges of pixels. The file appears whole or not at all.

        Args:
            path: ``.tif`` (GeoTIFF), ``.ome.tif``, ``.npy``, ``.png`` with its legend or ``.zarr``; of polygons
                ``.geojson``, ``.gpkg`` or ``.fgb``; of rows ``.csv`` or ``.parquet``.
            coordinates: of polygons: ``"image"`` in px of the original image, ``"map"`` in its coordinate system,
                ``"wgs84"`` in degrees; ``"auto"`` is ``"map"`` where the image has one.
            cog: Cloud-optimised GeoTIFF; ``False`` for a plain one.
            compression: ``"deflate"``, ``"zstd"``, ``"lzw"`` or ``"none"`` (GeoTIFF).
            overwrite: replace an earlier file.
            budget: memory allowed, bytes or a text such as ``"150MB"``; 0.3 GB by default.
            progress: called after every block.

        Raises:
            ImageError: unknown suffix, a file is there already, no space, no right to write.
        """
        from fullfield.exporters.detections import Detections

        shapes = Path(path).suffix.lower() in LAYERS or coordinates != "auto"
        detections = Detections(rows="regions", coordinates=coordinates) if shapes else None
        options = Options(cog=cog, compression=compression, detections=detections)
        return export(
            self.labels.map,
            path,
            overwrite=overwrite,
            options=options,
            budget_bytes=parse_bytes(budget),
            progress=progress,
        )

    def __repr__(self) -> str:
        _, height, width = self.labels.shape
        named = ", ".join(f"{each.name} {each.segments}" for each in self.counts[:4])
        more = ", …" if len(self.counts) > 4 else ""
        return f"Segments({self.count} of {len(self.counts)} classes ({named}{more}), {height}x{width} px)"

    def _repr_html_(self) -> str:
        return self.labels._repr_html_()


@checks_keywords
def segments(
    scores: Scores,
    how: Segmentation | None = None,
    *,
    image: object = None,
    budget: int | str | None = None,
    progress: OnProgress | None = None,
) -> Segments:
    """The top class of each pixel of the image, smoothed along its edges and cleaned as ``Segmentation`` says.

    Scores are interpolated between the centres of windows, on request filtered along the image's edges, and
    compared. The result does not depend on the budget. Pixels farther than half a step from the outermost centres,
    or a step where windows reach beyond the image (``edge``), have no class.

    Args:
        how: the options; by default labels are neither filtered nor cleaned.
        image: what was scanned, as array, tensor, PIL image, path, or what ``fullfield.open`` returns; needed for
            ``guided``.
        budget: memory allowed, bytes or a text such as ``"150MB"``; 0.3 GB by default.
        progress: called after every block.

    Raises:
        FullfieldError: a map of labels, options or an image that do not fit, no score at all, too small a budget.
    """
    from fullfield.decisions.segment import segment

    parsed = parse_record("how", how, Segmentation)
    found, counts = segment(scores.map, parsed, image, budget_bytes=parse_bytes(budget), progress=progress)
    return Segments(type(scores)(found), counts)
