"""Restricts what a raster file can make GDAL do: read files in its own folder or below, and nothing else.

The user is trusted: an address given as the path is opened. A file is not: a VRT, a header or a sidecar file that names
an address, a file elsewhere or Python code is refused, and drivers whose files are requests to services are disabled.
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fullfield.errors import ImageError
from fullfield.image import network

#: Drivers whose files are addresses, queries or lists of other files that are not checked here.
_REFUSED = frozenset({
    "DAAS", "DERIVED", "EEDA", "EEDAI", "GEORASTER", "GTI", "HTTP", "KMLSUPEROVERLAY", "MEM", "MRF", "Memory", "NGW",
    "OGCAPI", "PLMOSAIC", "PLSCENES", "PostGISRaster", "RASTERLITE", "Rasterlite", "STACIT", "STACTA", "TileDB", "WCS",
    "WMS", "WMTS", "Zarr",
})  # fmt: skip
_REMOTE = ("http://", "https://", "s3://", "gs://", "az://")
#: Bytes of GDAL's cache of decoded blocks, shared by all files; its own default is 5 % of the machine's memory.
CACHE_BYTES = 64 << 20
_VRT_BYTES = 64 << 20
_VRT_DEPTH = 4
_NAMES_FILE = re.compile(r"(file|filename|dataset|datasetname|path|url|dem)$", re.IGNORECASE)
_NAMING_ITEMS = {"x_dataset", "y_dataset", "overview_file"}
_SUBDATASET = re.compile(r'^[A-Za-z0-9_]+:(?:"([^"]+)"|([^":]+))(?::.*)?$')


def is_remote(path: str) -> bool:
    """Whether a path given by the user is an address or one of GDAL's virtual file systems.

    Examples:
        >>> is_remote("https://example.org/a.tif"), is_remote("/vsizip/a.zip/a.tif"), is_remote("a.tif")
        (True, True, False)
    """
    return path.startswith(("/vsi", *_REMOTE))


def gdal_path(path: str) -> str:
    """The path to pass to GDAL: absolute, so that no file name can be read as a driver's prefix."""
    return path if is_remote(path) else str(Path(path).absolute())


def check_path(path: str, *, trust: bool = False) -> None:
    """Raises an ImageError if the file does not exist, or names others than files in its own folder.

    Args:
        path: given by the user.
        trust: whether the file may name files in any folder of this machine.
    """
    if is_remote(path):
        return
    file = Path(path)
    if not file.exists():
        raise ImageError(path, "there is no such file", fix="check the path; subdatasets are chosen with series=")
    if file.is_file():
        _check_vrt(file.resolve(), None if trust else file.resolve().parent, path, _VRT_DEPTH)


def check_files(path: str, dataset: Any, *, trust: bool = False) -> None:
    """Raises an ImageError if an open dataset reads files outside its own folder, and is not trusted."""
    overview = dataset.tags(ns="OVERVIEWS").get("OVERVIEW_FILE")
    if is_remote(path):
        base = dataset.files[0].rsplit("/", 1)[0] if dataset.files else ""
        for name in (*dataset.files, *([overview] if overview else [])):
            if not base or not name.startswith(f"{base}/") or "/../" in name:
                raise _outside(path, name, base)
        return
    if trust:
        return
    folder = Path(path).resolve().parent
    if overview is not None:
        raise _outside(path, overview, folder)
    for name in dataset.files:
        if not _below(Path(name), folder) and not _below(Path(name), Path(path).absolute().parent):
            raise _outside(path, name, folder)


def _below(file: Path, folder: Path) -> bool:
    """Whether a file lies in a folder or below it after all links are resolved."""
    return file.resolve().is_relative_to(folder.resolve())


def _check_vrt(file: Path, folder: Path | None, where: str, depth: int) -> None:
    """Checks a VRT's sources, recursively; other kinds of files name none that GDAL opens by itself.

    Args:
        file: which may be one.
        folder: in which or below which the sources must lie; ``None`` for anywhere on this machine.
        where: the file that the user gave, for errors.
        depth: of VRTs that may still be named.
    """
    text = _vrt_text(file, where)
    if text is None:
        return
    if depth == 0:
        raise ImageError(where, f"VRT files are nested more than {_VRT_DEPTH} deep", fix="flatten it")
    seen = set()
    for source, relative in _sources(text, where):
        target = _source_file(source, file.parent if relative else Path.cwd(), where, folder)
        if target not in seen:
            seen.add(target)
            _check_vrt(target.resolve(), folder, where, depth - 1)


def _vrt_text(file: Path, where: str) -> str | None:
    """The text of a VRT; ``None`` for any other file.

    Raises:
        ImageError: the VRT is too large.
    """
    with file.open("rb") as opened:
        head = opened.read(4096)
        if b"<VRTDataset" not in head:
            return None
        raw = head + opened.read(_VRT_BYTES)
    if len(raw) > _VRT_BYTES:
        raise ImageError(where, f"the VRT is larger than {_VRT_BYTES >> 20} MiB", fix="gdal_translate it to a GeoTIFF")
    return raw.decode("utf-8", errors="replace")


def _sources(text: str, where: str) -> Iterator[tuple[str, bool]]:
    """The files that a VRT names, and whether each is relative to the VRT.

    Raises:
        ImageError: the VRT is not plain XML, or contains Python.
    """
    if "<!" in text:
        raise ImageError(where, "the VRT has comments or declarations", fix="write it with gdal_translate -of VRT")
    try:
        root = ElementTree.fromstring(text)  # noqa: S314  without declarations there are no entities to expand
    except (ElementTree.ParseError, ValueError) as error:
        raise ImageError(where, f"the VRT is not valid XML: {error}", fix="copy the file again") from error
    for node in root.iter():
        if node.tag.lower() == "pixelfunctionlanguage" and (node.text or "").strip().lower() != "c":
            raise ImageError(where, f"the VRT runs {node.text} code", fix="gdal_translate it to a GeoTIFF yourself")
        relative = node.attrib.get("relativeToVRT", "0") == "1"
        item = node.attrib.get("key", node.attrib.get("name", "")).lower()
        label = item if node.tag == "Argument" else node.tag
        named = item in _NAMING_ITEMS or (label != "VRTDataset" and _NAMES_FILE.search(label))
        if named and (node.text or "").strip():
            yield (node.text or "").strip(), relative
        for key, value in node.attrib.items():
            if _NAMES_FILE.search(key):
                yield value, relative


def _source_file(source: str, base: Path, where: str, folder: Path | None) -> Path:
    """The path of a VRT's source.

    Raises:
        ImageError: it is not a file in the folder or below.
    """
    inner = _SUBDATASET.match(source)
    name = (inner[1] or inner[2]) if inner else source
    try:
        target = base / name
        fine = not is_remote(name) and (folder is None or _below(target, folder)) and target.is_file()
    except (OSError, ValueError):
        fine = False
    if not fine:
        raise _outside(where, source, folder)
    with target.open("rb") as opened:
        head = opened.read(4096).lstrip(b"\xef\xbb\xbf \t\r\n")
    if head[:1] in (b"<", b"{") and b"<VRTDataset" not in head:
        raise ImageError(where, f"names {source}, which is not an image", fix="use sources that are images")
    return target


def _outside(where: str, source: str, folder: Path | str | None) -> ImageError:
    shown = source if len(source) <= 120 else f"{source[:117]}..."
    if folder is None:
        fix = "check the name, or gdal_translate it to a GeoTIFF where the sources are"
        return ImageError(where, f"names {shown}, which is not a file of this machine", fix=fix)
    return ImageError(
        where,
        f"names {shown}, which is not a file in {folder} or below",
        fix="pass trust=True (--trust) if you trust the file; or move it to a folder above those that it names, or "
        "gdal_translate it to a GeoTIFF",
    )


def gdal_options(path: str) -> dict[str, Any]:
    """GDAL's settings while a file is open: a bounded cache, no Python, and no network unless the path is a URL."""
    found: dict[str, Any] = {
        "GDAL_CACHEMAX": CACHE_BYTES,
        "GDAL_VRT_ENABLE_PYTHON": "NO",
        "GDAL_PAM_PROXY_DIR": "",
        "GDAL_TIFF_INTERNAL_MASK_TO_8BIT": "YES",
    }
    if is_remote(path):
        timeouts = {
            "GDAL_HTTP_CONNECTTIMEOUT": network.CONNECT_S,
            "GDAL_HTTP_LOW_SPEED_TIME": network.STALLED_S,
            "GDAL_HTTP_LOW_SPEED_LIMIT": 1,
            "GDAL_HTTP_MAX_RETRY": len(network.WAITS_S),
            "GDAL_HTTP_RETRY_DELAY": network.WAITS_S[0],
        }
        return found | timeouts | {"GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR"}
    return found | {"CPL_VSIL_CURL_ALLOWED_EXTENSIONS": ".no-network"}


def uncached() -> dict[str, str]:
    """GDAL's settings that drop what it cached of an address when the dataset is closed: the file may have changed."""
    return {"CPL_VSIL_CURL_NON_CACHED": "/vsicurl/:/vsis3/:/vsigs/:/vsiaz/"}


def allowed_drivers(path: str) -> list[str]:
    """GDAL's drivers that read files; of an address not VRT, whose sources could be any file of this machine."""
    import rasterio  # type: ignore[import-untyped]

    with rasterio.Env() as env:
        return sorted(set(env.drivers()) - _REFUSED - ({"VRT"} if is_remote(path) else set()))
