"""Names the bands of several files that are one image."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import PurePath

_PARTS = re.compile(r"[^_\-. ]+")


def stack_names(paths: list[str], bands: list[tuple[str, ...]]) -> list[tuple[str, ...]]:
    """What each band of a stack may be called, the name that is shown first.

    A file of one band has the name that the file gives it, else the part of its file's name that tells it from the
    others, and besides its file's whole name and each part of it that no other file's has: ``B04`` of
    ``T33_B04_10m.jp2``. Bands of a file with several are called by their own names, or ``dem[0]``, ``dem[1]``.

    Args:
        paths: of the files.
        bands: names of the bands of each file, empty for those without.

    Examples:
        >>> stack_names(["T33_B04_10m.jp2", "T33_B11_20m.jp2"], [("",), ("",)])
        [('B04_10m', 'T33_B04_10m', 'B04', '10m'), ('B11_20m', 'T33_B11_20m', 'B11', '20m')]
        >>> stack_names(["dem.tif", "photo.tif"], [("", "slope"), ("",)])
        [('dem[0]',), ('slope', 'dem[1]'), ('photo',)]
    """
    stems = [PurePath(path).stem for path in paths]
    parts = [_PARTS.findall(stem) for stem in stems]
    count = Counter(part.casefold() for own in parts for part in set(own))
    found: list[tuple[str, ...]] = []
    for stem, short, own, names in zip(stems, _short(stems), parts, bands, strict=True):
        alone = [short, stem, *(part for part in own if count[part.casefold()] == 1)]
        for i, name in enumerate(names):
            known = alone if len(names) == 1 else [f"{stem}[{i}]"]
            found.append(tuple(dict.fromkeys(each for each in (name, *known) if each)))
    return found


def _short(stems: list[str]) -> list[str]:
    """Names of files without what all begin or end with, cut at ``_``, ``-``, a dot or a space."""
    cut = [re.split(r"([_\-. ])", stem) for stem in stems]
    if len(set(stems)) < len(stems) or len(stems) < 2:
        return stems
    first = last = 0
    least = min(map(len, cut))
    while first < least - 1 and len({tuple(own[: first + 1]) for own in cut}) == 1:
        first += 1
    first -= first % 2
    while last < least - first - 1 and len({tuple(own[len(own) - last - 1 :]) for own in cut}) == 1:
        last += 1
    last -= last % 2
    return ["".join(own[first : len(own) - last]) for own in cut]
