"""``fullfield.list_images``: the images of files, folders, patterns and lists."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from fullfield.arguments import checks_keywords
from fullfield.errors import ImageError
from fullfield.exporters.own_results import is_own_result
from fullfield.image.blob import local_path
from fullfield.image.folders import folder_images, is_image_folder
from fullfield.image.list_file import LIST_SUFFIXES, read_list
from fullfield.image.listed import ListedImage
from fullfield.image.open import ImageFile, PathLike
from fullfield.image.open_file import MIRAX_INDEX
from fullfield.image.selection import Selection


@checks_keywords
def list_images(
    paths: PathLike | Iterable[PathLike], *, recursive: bool = False, selection: Selection | None = None
) -> list[ListedImage]:
    """The images that paths name, in their order; an image that is named twice comes once.

    - A file or URL is itself an image, whatever its suffix; so is the folder of a Zarr.
    - Any other folder gives the images in it, by name: files with the suffix of a format that is read, and Zarrs. Left
      out are hidden files, sidecars, parts of slides (the folder of a ``.mrxs``, further DICOM files of a series), and
      the results of scans.
    - A pattern such as ``slides/*.svs`` or ``**/*.tif``, where no file has this name, gives what it matches.
    - A ``.txt`` or ``.csv`` is a list: a path a line, or a column ``image`` and if wanted ``mpp`` or ``pixel_size``
      (micrometres per pixel of this image) and ``mask``; its other columns go to the summary of ``scan_files``.
      Relative paths start at the list's folder.

    Args:
        paths: one or several; an ``ImageFile`` or ``ListedImage`` is kept as it is.
        recursive: search the folders in a folder, too.
        selection: which part of the images is scanned.

    Raises:
        ImageError: no image is there, or a list means nothing.

    Examples:
        >>> [image.path for image in list_images(["a.tif", "b.zarr"])]
        ['a.tif', 'b.zarr']
    """
    given = [paths] if isinstance(paths, (str, os.PathLike)) else paths
    part = Selection() if selection is None else selection
    return list(dict.fromkeys(each for path in given for each in _listed(path, recursive, part)))


def is_several(path: PathLike) -> bool:
    """Whether a path names a folder of images, a pattern or a list, and not one image."""
    name = os.fspath(path)
    local = local_path(name)
    if local is None or isinstance(path, (ImageFile, ListedImage)):
        return False
    return _is_list(Path(local)) or _is_folder(Path(local)) or _is_pattern(local)


def _listed(path: PathLike, recursive: bool, selection: Selection) -> Iterator[ListedImage]:
    if isinstance(path, ListedImage):
        yield path
        return
    if isinstance(path, ImageFile):
        yield ListedImage(path.path, path.selection)
        return
    name = os.fspath(path)
    local = local_path(name)
    if local is not None and _is_pattern(local):
        found = sorted(glob.glob(local, recursive=True))  # noqa: PTH207  Path.glob takes no absolute patterns
        if not found:
            raise ImageError(name, "matches no file", fix="check the pattern, or the folder that it starts in")
        for match in found:
            yield from _listed(match, recursive, selection)
    elif local is not None and _is_list(Path(local)):
        yield from read_list(Path(local), selection)
    elif local is not None and _is_folder(Path(local)):
        folder = Path(local)
        for image in folder_images(folder, recursive=recursive, leave_out=is_own_result):
            below = image.parent.relative_to(folder).as_posix()
            yield ListedImage(str(image), selection, folder="" if below == "." else below)
    else:
        yield ListedImage(name, selection)


def _is_list(path: Path) -> bool:
    return path.suffix.lower() in LIST_SUFFIXES and path.is_file()


def _is_folder(path: Path) -> bool:
    """Whether it is a folder of images; that of a MIRAX slide, which opening it reports, is none."""
    return path.is_dir() and not is_image_folder(path) and not (path / MIRAX_INDEX).is_file()


def _is_pattern(name: str) -> bool:
    return glob.has_magic(name) and not os.path.lexists(name)
