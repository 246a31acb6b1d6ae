"""Finds the image in a Zarr hierarchy: its store, series and levels."""

from __future__ import annotations

import threading
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fullfield.errors import ImageError, first_line
from fullfield.image.formats.zarr_axes import axis_meaning
from fullfield.image.formats.zarr_place import ZarrGroup
from fullfield.image.network import storage_options
from fullfield.image.selection import Selection, select_index
from fullfield.text import list_text

_METADATA = ("zarr.json", ".zarray", ".zgroup", ".zattrs")
_METADATA_BYTES = 16 << 20
_MOST_LEVELS = 32
_MOST_DEPTH = 4
_WARNINGS = threading.Lock()  # warning filters are global to the process


@dataclass(frozen=True)
class ZarrImage:
    """An image in a Zarr hierarchy.

    Args:
        levels: arrays, finest first.
        multiscale: its entry in ``multiscales``; empty for an array without OME metadata.
        datasets: the entries of the levels in ``multiscale``.
        attributes: of the group or array (those in ``ome`` for OME-Zarr 0.5).
        group: that an array without OME metadata is in, if it is in one.
    """

    levels: tuple[Any, ...]
    multiscale: Mapping[str, Any]
    datasets: tuple[Mapping[str, Any], ...]
    attributes: Mapping[str, Any]
    group: ZarrGroup | None = None


@contextmanager
def zarr_errors(where: str) -> Iterator[None]:
    """Turns zarr's errors into an ImageError."""
    try:
        yield
    except ImageError:
        raise
    except Exception as error:
        raise ImageError(where, f"cannot be read as Zarr: {first_line(error)}", fix="check the path") from error


def open_store(path: str) -> tuple[Any, str]:
    """The store in a folder, a zip file or at a URL, and the path inside it.

    Raises:
        ImageError: it does not exist, or fsspec is not installed.
    """
    from zarr.storage import FsspecStore, LocalStore, ZipStore

    from fullfield.image.formats.zarr_bounds import BoundedStore

    if "://" in path:
        try:
            far = FsspecStore.from_url(path, storage_options=storage_options(path), read_only=True)
            return BoundedStore(far, _METADATA_BYTES), ""
        except ImportError as error:
            raise ImageError(
                path, f"is read through fsspec: {first_line(error)}", fix="pip install 'fullfield[remote]'"
            ) from error
    place = Path(path)
    place = place.parent if place.name in _METADATA else place
    if place.is_dir():
        return BoundedStore(LocalStore(place, read_only=True), _METADATA_BYTES), ""
    if place.is_file() and zipfile.is_zipfile(place):
        return BoundedStore(ZipStore(place, mode="r", read_only=True), _METADATA_BYTES), ""
    raise ImageError(path, "there is no such folder", fix="check the path")


def find_image(store: Any, path: str, selection: Selection, where: str, depth: int = 0) -> ZarrImage:
    """The image number ``selection.series`` in the group or array at ``path``.

    Raises:
        ImageError: it does not exist, or the group is not an image.
    """
    if depth > _MOST_DEPTH:
        raise ImageError(where, f"groups are nested more than {_MOST_DEPTH} deep", fix="give the image's path")
    node = open_node(store, path, where)
    attributes = dict(node.attrs)
    if hasattr(node, "chunks"):
        select_index(selection.series, 1, what="series", where=where)
        group = _group_around(where) if "grid_mapping" in attributes and not path else None
        return ZarrImage((node,), {}, ({},), attributes, group)
    ome = attributes.get("ome")
    attributes = ome if isinstance(ome, dict) else attributes
    if "multiscales" in attributes:
        return _multiscale(store, path, attributes, selection, where)
    series = _series(store, path, attributes, where)
    if series is not None:
        chosen = series[select_index(selection.series, len(series), what="series", where=where)]
        inner = Selection(selection.level, selection.mpp, selection.bands, None, selection.z, selection.t)
        return find_image(store, _joined(path, chosen, where), inner, where, depth + 1)
    return _array_of_group(node, store, path, selection, where)


def open_node(store: Any, path: str, where: str) -> Any:
    """The group or array at a path; the store bounds its metadata.

    Raises:
        ImageError: a codec needs imagecodecs, which is not installed. zarr raises its own errors too.
    """
    from fullfield.image.formats.zarr_pictures import register_imagecodecs

    try:
        return _node(store, path)
    except Exception as error:
        if not register_imagecodecs(error, where):
            raise
    return _node(store, path)


def _node(store: Any, path: str) -> Any:
    import zarr

    with _WARNINGS, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return zarr.open_array(store, path=path, mode="r")
        except FileNotFoundError:
            pass
        except ValueError as error:  # zarr raises it for a group of Zarr v3
            if "group" not in str(error).lower():
                raise
        return zarr.open_group(store, path=path, mode="r", use_consolidated=False)


def _multiscale(store: Any, path: str, attributes: Mapping[str, Any], selection: Selection, where: str) -> ZarrImage:
    entries = attributes["multiscales"]
    if not isinstance(entries, list) or not entries:
        raise ImageError(where, "multiscales lists no image", fix="check the metadata")
    entry = entries[select_index(selection.series, len(entries), what="series", where=where)]
    datasets = entry.get("datasets") if isinstance(entry, dict) else None
    if not isinstance(datasets, list) or not 1 <= len(datasets) <= _MOST_LEVELS:
        raise ImageError(where, "multiscales lists no levels", fix=f"write 1 to {_MOST_LEVELS} datasets in it")
    levels = [open_node(store, _joined(path, dataset["path"], where), where) for dataset in datasets]
    if any(not hasattr(level, "chunks") or level.ndim != levels[0].ndim for level in levels):
        raise ImageError(where, "a level is not an array, or has other axes than the first", fix="check multiscales")
    return ZarrImage(tuple(levels), entry, tuple(datasets), attributes)


def _series(store: Any, path: str, attributes: Mapping[str, Any], where: str) -> list[str] | None:
    """Paths of the images of a bioformats2raw file or a well; ``None`` for other groups."""
    if "plate" in attributes:
        raise ImageError(where, "is a plate of many wells", fix="give the path of one field, such as plate.zarr/A/1/0")
    if isinstance(attributes.get("well"), dict):
        return [image["path"] for image in attributes["well"].get("images", [])]
    if "bioformats2raw.layout" not in attributes:
        return None
    try:
        inner = dict(open_node(store, _joined(path, "OME", where), where).attrs)
    except (FileNotFoundError, ValueError):
        inner = {}
    ome = inner.get("ome", inner)
    listed = ome.get("series") if isinstance(ome, dict) else None
    if isinstance(listed, list) and listed:
        return [str(name) for name in listed]
    return _numbered_images(store, path, where)


def _numbered_images(store: Any, path: str, where: str) -> list[str]:
    """Paths ``0``, ``1``, … of the images that exist."""
    found: list[str] = []
    while len(found) < 10_000:
        try:
            open_node(store, _joined(path, str(len(found)), where), where)
        except (FileNotFoundError, ValueError):
            break
        found.append(str(len(found)))
    return found


def _array_of_group(node: Any, store: Any, path: str, selection: Selection, where: str) -> ZarrImage:
    """The only array of a group, or number ``selection.series`` of those with axes y and x, by name."""
    names = sorted(name for name, _ in zip(node.array_keys(), range(1000), strict=False))
    arrays = {name: open_node(store, _joined(path, name, where), where) for name in names}
    images = {name: array for name, array in arrays.items() if _has_y_and_x(array)} or arrays
    if not images:
        raise ImageError(where, "is a group without arrays", fix="give the path of the array in it")
    if len(images) > 1 and selection.series is None:
        shown = list_text(list(images), 10)
        raise ImageError(
            where,
            f"is a group with {len(images)} arrays ({shown}) and no multiscales",
            fix=f"choose one by series= (--series), 0..{len(images) - 1} in this order, or give the path of the array",
        )
    array = list(images.values())[select_index(selection.series, len(images), what="series", where=where)]
    group = ZarrGroup(dict(node.attrs), arrays.get)
    return ZarrImage((array,), {}, ({},), dict(array.attrs), group)


def _has_y_and_x(array: Any) -> bool:
    """Whether the names of an array's axes, if they have any, say that it is an image."""
    found = [axis_meaning(name) for name in dimension_names(array) or ()]
    return array.ndim > 1 and "y" in found and "x" in found


def dimension_names(array: Any) -> list[str] | None:
    """Names of the axes, from Zarr v3's metadata or as xarray writes them; ``None`` unless every axis has one."""
    names = getattr(array.metadata, "dimension_names", None) or dict(array.attrs).get("_ARRAY_DIMENSIONS")
    if isinstance(names, (list, tuple)) and all(isinstance(name, str) for name in names):
        return list(names)
    return None


def _group_around(where: str) -> ZarrGroup | None:
    """The group in whose folder, or below whose URL, an array is."""
    parent = where.rstrip("/").rpartition("/")[0]
    try:
        store, path = open_store(parent)
        node = _node(store, path)
    except Exception:  # noqa: BLE001  every store raises its own; the array is not in a group then
        return None

    def array(name: str) -> Any:
        try:
            return open_node(store, _joined(path, name, where), where)
        except (FileNotFoundError, KeyError):
            return None

    return None if hasattr(node, "chunks") else ZarrGroup(dict(node.attrs), array)


def _joined(path: str, name: object, where: str) -> str:
    """The path of a part below another path.

    Raises:
        ImageError: it leads out of the store.
    """
    if not isinstance(name, str) or ".." in name.split("/") or "\\" in name or name.startswith("/"):
        raise ImageError(where, f"names a part {name!r} outside itself", fix="check the metadata")
    return f"{path}/{name}".strip("/")
