"""MIRAX slides for tests: an index of tiles and the files that hold them, in a folder beside a small picture.

Source: the format as OpenSlide documents it, https://openslide.org/formats/mirax
"""

from __future__ import annotations

import io
import struct
from collections.abc import Callable, Collection, Iterator
from pathlib import Path

import numpy as np
from PIL import Image

_ID = "0123456789ABCDEF0123456789ABCDEF"
_END = struct.pack("<ii", 0, 0)  # a page of no records, and no page after it


def write_mirax(
    path: Path,
    pixels: np.ndarray,
    *,
    levels: int = 3,
    tile: int = 64,
    mpp: float = 0.25,
    kind: str = "PNG",
    missing: Collection[tuple[int, int]] = (),
    moved: Callable[[int, int], tuple[int, int]] | None = None,
) -> Path:
    """A slide of ``pixels (y, x, 3)``, whose sides are multiples of ``tile * 2**(levels - 1)``, and the file to open.

    Args:
        path: ends in ``.mrxs``; the folder beside it gets the same name without that.
        pixels: of the finest level; each coarser one is the mean of 2x2.
        levels: of the pyramid.
        tile: side of a tile, px, on every level.
        mpp: micrometres per pixel.
        kind: JPEG or PNG.
        missing: rows and columns of tiles of the finest level that were never scanned, and those above them that are
            made of nothing else.
        moved: place ``(y, x)`` of each tile of the finest level, by row and column, as the camera reports it.
    """
    folder = path.with_suffix("")
    folder.mkdir()
    rows, columns = pixels.shape[0] // tile, pixels.shape[1] // tile
    data, pages = bytearray(b"data"), []
    for level in range(levels):
        records = []
        for i, j, place in _tiles(rows, columns, 2**level, missing):
            file = io.BytesIO()
            picture = Image.fromarray(pixels[i * tile :, j * tile :][: tile << level, : tile << level])
            picture.reduce(2**level).save(file, kind, **({"quality": 95} if kind == "JPEG" else {}))
            records.append(struct.pack("<iiii", place, len(data), file.tell(), 0))
            data += file.getvalue()
        pages.append(struct.pack("<ii", len(records), 0) + b"".join(records))
    position = None
    if moved is not None:
        places = [moved(i, j) for i in range(rows) for j in range(columns)]
        position = (len(data), 9 * len(places))
        data += b"".join(struct.pack("<bii", 1, x, y) for y, x in places)
    (folder / "Data0000.dat").write_bytes(data)
    (folder / "Index.dat").write_bytes(_index(pages, position))
    (folder / "Slidedat.ini").write_text(_settings(rows, columns, levels, tile, mpp, kind, moved is not None))
    Image.fromarray(pixels).resize((32, 24)).save(path, "JPEG")  # what a file manager shows
    return path


def _tiles(rows: int, columns: int, step: int, missing: Collection[tuple[int, int]]) -> Iterator[tuple[int, int, int]]:
    """Row and column of every tile that holds something, counted on the finest level, and its number there."""
    for i in range(0, rows, step):
        for j in range(0, columns, step):
            if any((i + a, j + b) not in missing for a in range(step) for b in range(step)):
                yield i, j, i * columns + j


def _index(pages: list[bytes], position: tuple[int, int] | None) -> bytes:
    """Two roots, of levels and of what is no image; each leads to a list of heads, a head to its pages."""
    start = len("01.02" + _ID)
    heads = start + 8
    at = heads + 4 * (len(pages) + 1)
    pointers, body = [], b""
    place = b"" if position is None else struct.pack("<iiiiii", 1, 0, 0, 0, *position) + bytes(4)
    for page in [*pages, place]:
        pointers.append(at + len(body))
        body += struct.pack("<ii", 0, at + len(body) + 16) + _END + page
    roots = struct.pack("<ii", heads, heads + 4 * len(pages))
    return b"01.02" + _ID.encode() + roots + struct.pack(f"<{len(pointers)}i", *pointers) + body


def _settings(rows: int, columns: int, levels: int, tile: int, mpp: float, kind: str, positions: bool) -> str:
    groups: dict[str, dict[str, object]] = {
        "GENERAL": {
            "SLIDE_VERSION": "01.02", "SLIDE_ID": _ID, "IMAGENUMBER_X": columns, "IMAGENUMBER_Y": rows,
            "OBJECTIVE_MAGNIFICATION": 20, "CameraImageDivisionsPerSide": 1,
        },
        "HIERARCHICAL": {
            "HIER_COUNT": 1, "NONHIER_COUNT": int(positions), "INDEXFILE": "Index.dat",
            "HIER_0_NAME": "Slide zoom level", "HIER_0_COUNT": levels,
            **{f"HIER_0_VAL_{k}_SECTION": f"LEVEL_{k}" for k in range(levels)},
            **({"NONHIER_0_NAME": "VIMSLIDE_POSITION_BUFFER", "NONHIER_0_COUNT": 1} if positions else {}),
        },
        "DATAFILE": {"FILE_COUNT": 1, "FILE_0": "Data0000.dat"},
    }  # fmt: skip
    for k in range(levels):
        groups[f"LEVEL_{k}"] = {
            "IMAGE_CONCAT_FACTOR": int(k > 0), "OVERLAP_X": 0, "OVERLAP_Y": 0, "IMAGE_FORMAT": kind,
            "MICROMETER_PER_PIXEL_X": mpp * 2**k, "MICROMETER_PER_PIXEL_Y": mpp * 2**k,
            "IMAGE_FILL_COLOR_BGR": 0xFFFFFF, "DIGITIZER_WIDTH": tile, "DIGITIZER_HEIGHT": tile,
        }  # fmt: skip
    return "".join(
        f"[{name}]\n" + "".join(f"{key} = {value}\n" for key, value in keys.items()) for name, keys in groups.items()
    )
