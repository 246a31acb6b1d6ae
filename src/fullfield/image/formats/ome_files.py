"""Finds the files of an OME-TIFF: itself under another name, the other parts, and the file that describes all."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

from fullfield.errors import ImageError, first_line
from fullfield.image.blob import local_path, open_blob
from fullfield.image.formats.tiff_check import first_text, tiff_format

_DESCRIPTION = 270
_MOST_BYTES = 64 << 20  # of OME-XML
_HEAD = 4096  # bytes in which OME-XML names its first element
_ROOT = re.compile(rb"(?:\xef\xbb\xbf)?\s*(?:<\?xml[^>]*\?>\s*)?(?:<!--.*?-->\s*)*<(?:\w+:)?OME[\s>]", re.DOTALL)
_TOGETHER = "put all of its files into one folder, under the names that they had"


@dataclass(frozen=True)
class OmeFiles:
    """The files of an image.

    Args:
        metadata: OME-XML in which all files have the names that they have here, and the root the UUID of ``first``.
        first: the TIFF to open; ``None``: the one whose OME-XML this is, behind a URL.
        parts: the other TIFFs.
        companion: the file of OME-XML that describes them, if it is none of these.
    """

    metadata: str
    first: Path | None
    parts: tuple[Path, ...]
    companion: Path | None = None


def is_ome_xml(head: bytes) -> bool:
    """Whether a file begins as OME-XML, as a ``companion.ome`` does.

    Examples:
        >>> is_ome_xml(b'<?xml version="1.0"?><OME xmlns="">'), is_ome_xml(b"<VRTDataset>")
        (True, False)
    """
    return _ROOT.match(head[:_HEAD]) is not None


def companion_files(path: str) -> OmeFiles:
    """The TIFFs that a file of OME-XML describes.

    Raises:
        ImageError: one is missing, or lies in another folder; or the file is behind a URL.
    """
    local = local_path(path)
    if local is None:
        raise ImageError(path, "describes an OME-TIFF of several files", fix="download all of them into one folder")
    return _files(_companion(Path(local)), path, Path(local), companion=True)


def tiff_files(text: str, path: str) -> OmeFiles | None:
    """The files of the OME-TIFF whose OME-XML this is; ``None`` if it is no XML.

    A file is known by its UUID, whatever its name; the only one of an image is the file itself. Where the OME-XML only
    names the file with the description (``BinaryOnly``), all are found through that one.

    Raises:
        ImageError: one is missing, or lies in another folder; or several are behind a URL.
    """
    local = local_path(path)
    holder = None if local is None else Path(local)
    root = _root(text)
    if root is None:
        return None
    binary = next((element for element in root if _kind(element) == "BinaryOnly"), None)
    if binary is None:
        return _files(text, path, holder)
    named = _checked(binary.get("MetadataFile", ""), path)
    if holder is None:
        raise ImageError(path, f"is a part of the OME-TIFF of {named}", fix="download all of them into one folder")
    main = holder.with_name(named)
    if not main.is_file():
        raise ImageError(path, f"is a part of an OME-TIFF whose file {named} is missing", fix=_TOGETHER)
    known = {root.get("UUID", ""): holder}
    blob = open_blob(str(main))
    try:
        if tiff_format(blob.read(0, 4)) is None:
            return _files(_companion(main), str(main), main, companion=True, known=known)
        return _files(first_text(blob, _DESCRIPTION, most=_MOST_BYTES), str(main), main, known=known)
    finally:
        blob.close()


def other_parts(path: Path) -> set[str]:
    """Names of the other TIFFs of the OME-TIFF that a file belongs to; none where they cannot be found."""
    try:
        blob = open_blob(str(path))
        try:
            files = tiff_files(first_text(blob, _DESCRIPTION, most=_MOST_BYTES), str(path))
        finally:
            blob.close()
    except (ImageError, OSError):  # opening the image will report it
        return set()
    return set() if files is None else {part.name for part in (files.first, *files.parts) if part} - {path.name}


def _companion(path: Path) -> str:
    """The text of a file of OME-XML."""
    size = path.stat().st_size
    if size > _MOST_BYTES:
        what = f"has {size} bytes of OME-XML, at most {_MOST_BYTES} are read"
        raise ImageError(str(path), what, fix="check the file")
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ImageError(str(path), f"is no OME-XML in UTF-8 ({first_line(error)})", fix="check the file") from error


def _files(
    text: str, where: str, holder: Path | None, *, companion: bool = False, known: Mapping[str, Path] | None = None
) -> OmeFiles:
    """The files that OME-XML lists.

    Args:
        text: of the ``holder``, a file of the image, or a companion.
        where: for errors.
        holder: ``None`` behind a URL.
        companion: whether the holder is no TIFF.
        known: files by their UUID, whatever their names.
    """
    root = _root(text)
    if root is None or any(_kind(element) == "BinaryOnly" for element in root):
        raise ImageError(where, "is no OME-XML that describes an image", fix="give the file that describes all parts")
    listed = [element for element in root.iter() if _kind(element) == "UUID"]
    for element in listed:
        element.text = (element.text or "").strip() or element.get("FileName", "")
    names = {element.text or "": element.get("FileName", "") for element in listed}
    own = None if companion else _own(root.get("UUID"), names, holder)
    paths = _paths({key: name for key, name in names.items() if key != own}, where, holder, known or {})
    first = holder
    if companion:
        own = next(iter(paths), None)
        if own is None:
            raise ImageError(where, "describes an image, and names no TIFF of it", fix="open the TIFF itself")
        first = paths.pop(own)
    for element in listed:
        if element.text in paths:
            element.set("FileName", paths[element.text].name)
    if own is not None:
        root.set("UUID", own)
    others = sorted(set(paths.values()) - {first})
    described = ElementTree.tostring(root, encoding="unicode")
    return OmeFiles(described, first, tuple(others), holder if companion else None)


def _own(uuid: str | None, names: Mapping[str, str], holder: Path | None) -> str | None:
    """The UUID by which OME-XML names the TIFF that it is stored in."""
    if uuid in names:
        return uuid
    for key, name in names.items():
        if holder is not None and name.lower() == holder.name.lower():
            return key
    only = next(iter(names.items()), ("", ""))
    if len(names) == 1 and (uuid is None or holder is None or not (holder.parent / only[1]).is_file()):
        return only[0]
    return uuid


def _paths(names: Mapping[str, str], where: str, holder: Path | None, known: Mapping[str, Path]) -> dict[str, Path]:
    """Where the files with these names are, by their UUID.

    Raises:
        ImageError: one is missing.
    """
    if holder is None:
        if names:
            what = f"is an OME-TIFF of several files, of which {next(iter(names.values()))} is another"
            raise ImageError(where, what, fix="download all of them into one folder")
        return {}
    paths = {
        key: known[key] if key in known else holder.with_name(_checked(name, where)) for key, name in names.items()
    }
    missing = [path.name for path in paths.values() if not path.is_file()]
    if missing:
        others = f" (and {len(missing) - 1} more)" if len(missing) > 1 else ""
        what = f"is an OME-TIFF of several files, of which {missing[0]} is missing{others}"
        raise ImageError(where, what, fix=_TOGETHER)
    return paths


def _checked(name: str, where: str) -> str:
    """A file name, if it can be that of a file in the same folder."""
    if not name:
        raise ImageError(where, "refers to a part without its name", fix=_TOGETHER)
    if name != Path(name).name or name in (".", "..") or "\\" in name:
        raise ImageError(where, f"names a part outside its folder: {name!r}", fix="put all parts together")
    return name


def _root(text: str) -> ElementTree.Element | None:
    """The root of OME-XML; ``None`` if it is damaged, or declares entities."""
    if "<!DOCTYPE" in text or "<!ENTITY" in text:
        return None
    try:
        return ElementTree.fromstring(text)  # noqa: S314  without declarations there are no entities to expand
    except (ElementTree.ParseError, ValueError):
        return None


def _kind(element: ElementTree.Element) -> str:
    """The name of an element without its namespace."""
    return element.tag.rpartition("}")[2]
