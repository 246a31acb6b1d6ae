"""Where a score map lies on its image."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Placement:
    """The map between cells of a score map and pixels of the finest level of the image it came from.

    Pixel-edge coordinates: pixel ``(0, 0)`` covers ``[0, 1) x [0, 1)``. Cell ``(i, j)`` lies at its window's centre,
    ``(i*step + h/2, j*step + w/2)`` on the scanned image: a level of the original, resized or not.

    Args:
        step: px between neighbouring windows on the scanned image (y, x).
        window: height and width of a window there, px.
        image: height and width of the original image's finest level, px.
        scanned: height and width of the image as scanned, px; the same if it was not resized.
        padding: px added around the scanned image: top, bottom, left, right; less than 0 if px were taken off.
    """

    step: tuple[int, int]
    window: tuple[int, int]
    image: tuple[int, int]
    scanned: tuple[int, int]
    padding: tuple[int, int, int, int] = (0, 0, 0, 0)

    @property
    def scale(self) -> tuple[float, float]:
        """Scanned pixels per original pixel (y, x)."""
        return self.scanned[0] / self.image[0], self.scanned[1] / self.image[1]

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of the score map; 0 if no window fits."""
        (sy, sx), (h, w) = self.step, self.window
        top, bottom, left, right = self.padding
        height, width = self.scanned[0] + top + bottom, self.scanned[1] + left + right
        return max(0, (height - h) // sy + 1), max(0, (width - w) // sx + 1)

    @property
    def spacing(self) -> tuple[float, float]:
        """Original pixels between neighbouring cells (y, x)."""
        return self.step[0] / self.scale[0], self.step[1] / self.scale[1]

    def centre(self, i: float, j: float) -> tuple[float, float]:
        """The centre of cell ``(i, j)`` on the original image, in pixel edges (y, x).

        Examples:
            >>> Placement((32, 32), (224, 224), (480, 640), (480, 640)).centre(0, 1)
            (112.0, 144.0)
        """
        (sy, sx), (h, w), (ky, kx) = self.step, self.window, self.scale
        return (i * sy + h / 2 - self.padding[0]) / ky, (j * sx + w / 2 - self.padding[2]) / kx

    def cell(self, y: float, x: float) -> tuple[float, float]:
        """The fractional cell at a point of the original image: the inverse of ``centre``."""
        (sy, sx), (h, w), (ky, kx) = self.step, self.window, self.scale
        return (y * ky - h / 2 + self.padding[0]) / sy, (x * kx - w / 2 + self.padding[2]) / sx

    def footprint(self) -> tuple[float, float, float, float]:
        """Top, left, bottom and right of the map on the original image, each cell ``step`` wide around its centre."""
        rows, columns = self.shape
        top, left = self.centre(-0.5, -0.5)
        bottom, right = self.centre(rows - 0.5, columns - 0.5)
        return top, left, bottom, right
