"""What a scan found, for people and for programs."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from fullfield.api.scores import Scores
    from fullfield.geometry.placement import Placement

_SHOWN = 5  # classes named in the summary
_READ = 1 << 30  # bytes of a stored map that are read for it, in pieces: a second or two


class Digest:
    """What a summary says of a map's scores, gathered piece by piece.

    Args:
        bands: of the map.

    Attributes:
        low, high: the least and greatest score of every band, NaN left aside; infinite where there is none.
        highest: row and column of the greatest.
        best: cells in which a band has the greatest score of all, of equal ones the first.
        scored: cells that have scores, none of them NaN.
    """

    def __init__(self, bands: int) -> None:
        import numpy as np

        self.low, self.high = np.full(bands, np.inf), np.full(bands, -np.inf)
        self.highest = np.zeros((bands, 2), np.int64)
        self.best = np.zeros(bands, np.int64)
        self.scored = 0

    @classmethod
    def of(cls, scores: Scores) -> Digest:
        """The digest of a map; a part of the scores is in memory at a time."""
        digest = cls(scores.shape[0])
        for top, left, parts in scores.pieces():
            digest.add(parts, top, left)
        return digest

    def add(self, parts: Iterable[tuple[int, NDArray[np.floating]]], top: int = 0, left: int = 0) -> None:
        """Takes some cells.

        Args:
            parts: all their scores: a first band, and the scores ``(b, y, x)`` of so many bands from it on.
            top, left: the first cell.
        """
        import numpy as np

        there: Any = True
        greatest: Any = -np.inf
        which: Any = 0
        for first, scores in parts:
            none = np.isnan(scores)
            there = there & ~none.any(axis=0)
            self._low(first, scores)
            known = np.where(none, -np.inf, scores) if none.any() else scores
            self._high(first, known, top, left)
            band, value = known.argmax(axis=0), known.max(axis=0)
            which = np.where(value > greatest, first + band, which)
            greatest = np.maximum(value, greatest)
        self.best += np.bincount(which[there], minlength=self.best.size)
        self.scored += int(there.sum())

    def _low(self, first: int, scores: NDArray[np.floating]) -> None:
        import numpy as np

        bands = slice(first, first + scores.shape[0])
        self.low[bands] = np.fmin(self.low[bands], np.fmin.reduce(scores.reshape(scores.shape[0], -1), axis=1))

    def _high(self, first: int, known: NDArray[np.floating], top: int, left: int) -> None:
        flat = known.reshape(known.shape[0], -1)
        for k, place in enumerate(flat.argmax(axis=1).tolist(), first):
            i, j = divmod(place, known.shape[2])
            value, cell = float(flat[k - first, place]), (top + i, left + j)
            if value > self.high[k] or (value == self.high[k] and cell < tuple(self.highest[k])):
                self.high[k], self.highest[k] = value, cell

    @property
    def liveliest(self) -> int:
        """The band whose scores span the widest range."""
        from fullfield.drawing.thumbnails import widest

        return widest(self.low, self.high)


def is_read(stored: Scores) -> bool:
    """Whether all scores of a map on disk are read for its summary: those of a large map, or labels, are not."""
    return stored.kind == "scores" and math.prod(stored.shape) * 4 <= _READ


def summary(
    scores: Scores, digest: Digest | None, shown: int | str | None, seconds: float, written: list[str]
) -> dict[str, Any]:
    """What a scan found, as plain JSON.

    Args:
        scores: of the scan.
        digest: of them, if they were read.
        shown: class whose highest score is reported; by default the one whose scores span the widest range.
        seconds: that the scan took.
        written: paths of all files.
    """
    facts = _facts(scores.shape, str(scores.dtype), scores.mode, scores.placement, seconds)
    if digest is None:
        facts["kind"] = scores.kind
    else:
        names = scores.class_names or [f"class {k}" for k in scores.classes]
        facts |= _found(
            digest, names, scores.placement, digest.liveliest if shown is None else scores.class_index(shown)
        )
    counts = scores.provenance.get("counts")
    facts |= {} if counts is None else {"counts": counts}
    return facts | {"certificate": scores.map.certificate, "written": written}


def _facts(shape: tuple[int, ...], dtype: str, mode: str, place: Placement, seconds: float) -> dict[str, Any]:
    return {
        "shape": list(shape),
        "dtype": dtype,
        "mode": mode,
        "step": list(place.step),
        "window": list(place.window),
        "image": list(place.image),
        "scanned": list(place.scanned),
        "seconds": round(seconds, 3),
        "megapixels_per_s": round(place.scanned[0] * place.scanned[1] / 1e6 / seconds, 4),
    }


def _found(digest: Digest, names: Sequence[str], place: Placement, shown: int) -> dict[str, Any]:
    import numpy as np

    highest = None
    if digest.scored:
        y, x = place.centre(*digest.highest[shown].tolist())
        highest = {"class": names[shown], "score": float(digest.high[shown]), "y": y, "x": x}
    order = np.argsort(-digest.best, kind="stable")[:_SHOWN].tolist()
    top = [{"class": names[k], "windows": int(digest.best[k])} for k in order if digest.best[k]]
    return {"cells_scored": digest.scored, "top": top, "highest": highest}


def text(facts: dict[str, Any]) -> str:
    """The summary for people."""
    (classes, rows, columns), (height, width), (h, w) = facts["shape"], facts["image"], facts["window"]
    step = " x ".join(map(str, dict.fromkeys(facts["step"])))
    scanned = "" if facts["scanned"] == facts["image"] else ", scanned at {}x{} px".format(*facts["scanned"])
    what = "labels" if facts.get("kind") == "labels" else f"{classes} classes"
    lines = [
        f"map      {rows}x{columns} cells, {what}, {facts['dtype']}, {facts['mode']}",
        f"image    {height}x{width} px{scanned}, window {h}x{w} px, step {step} px",
        f"time     {facts['seconds']:.2f} s, {facts['megapixels_per_s']:.3g} megapixels/s",
    ]
    if facts.get("top"):
        scored = facts["cells_scored"]
        of = f"{scored} windows" if scored == rows * columns else f"the {scored} of {rows * columns} windows scored"
        top = [f"{entry['class']} {entry['windows'] / scored:.1%}" for entry in facts["top"]]
        lines.append(f"top      {', '.join(top)} of {of}")
    if facts.get("highest") is not None:
        highest = facts["highest"]
        where = f"y {highest['y']:.0f}, x {highest['x']:.0f}"
        lines.append(f"highest  {highest['class']}: {highest['score']:.4g} at {where}")
    lines += _counted(facts)
    if facts["certificate"] is not None:
        lines.append(f"verified {facts['certificate']['samples']} windows: {facts['certificate']['verdict']}")
    return "\n".join([*lines, *(f"wrote    {path}" for path in facts["written"])])


def _counted(facts: dict[str, Any]) -> list[str]:
    """A line on scores that could not be stored as they are; none if there were none."""
    counts = facts.get("counts", {})
    saturated, nans = counts.get("saturated", 0), counts.get("nans", 0)
    parts = [f"{saturated} scores beyond the range of {facts['dtype']}"] if saturated else []
    parts += [f"{nans} scores NaN"] if nans else []
    return [f"counted  {', '.join(parts)}"] if parts else []
