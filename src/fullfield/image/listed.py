"""One image of several that are scanned one after the other, and what the user says of it."""

from __future__ import annotations

from dataclasses import dataclass, field

from fullfield.arguments import checks_fields
from fullfield.image.open import ImageFile
from fullfield.image.selection import Selection


@checks_fields
@dataclass(frozen=True)
class ListedImage:
    """One of several images, as ``list_images`` finds them.

    Args:
        path: file, folder of a Zarr, or URL.
        selection: the part of it, and its pixel size if the list states that.
        mask: of this image alone; ``None`` for that of the scan.
        folder: of an image that was found in a folder, the path of its own folder below that one; else empty.
        facts: the other columns of the list and their texts, which go to the summary.

    Examples:
        >>> import os
        >>> os.fspath(ListedImage("slides/a.svs", mask="a.geojson"))
        'slides/a.svs'
    """

    path: str
    selection: Selection = field(default_factory=Selection)
    mask: str | None = None
    folder: str = ""
    facts: tuple[tuple[str, str], ...] = ()

    @property
    def image(self) -> str | ImageFile:
        """The image as ``scan`` takes it."""
        return self.path if self.selection == Selection() else ImageFile(self.path, self.selection)

    def __fspath__(self) -> str:
        return self.path
