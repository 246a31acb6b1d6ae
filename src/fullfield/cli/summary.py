"""What a scan found, for people and for programs."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from fullfield.cli.decisions import decision_lines

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from fullfield.api.scores import Scores
    from fullfield.geometry.placement import Placement

_SHOWN = 5  # classes named in the summary
_READ = 1 << 30  # bytes of a stored map that are read for it, in pieces: a second or two


class Digest:
    """What a summary says of a map's scores, collected piece by piece.

    Args:
        bands: of the map.

    Attributes:
        low, high: the least and greatest score of every band without NaN; infinite where a band has no score.
        highest: row and column of the greatest.
        best: number of cells where a band's score is the greatest; of equal ones the first counts.
        scored: number of cells without NaN.
    """

    def __init__(self, bands: int) -> None:
        import numpy as np

        self.low, self.high = np.full(bands, np.inf), np.full(bands, -np.inf)
        self.highest = np.zeros((bands, 2), np.int64)
        self.best = np.zeros(bands, np.int64)
        self.scored = 0

    @classmethod
    def of(cls, scores: Scores) -> Digest:
        """The digest of all scores; a part of them is in memory at a time."""
        digest = cls(scores.shape[0])
        for top, left, parts in scores.iter_chunks():
            digest.add(parts, top, left)
        return digest

    def add(self, parts: Iterable[tuple[int, NDArray[np.floating]]], top: int = 0, left: int = 0) -> None:
        """Adds some cells.

        Args:
            parts: all their scores, as pairs of a first band and scores ``(b, y, x)`` of the next ``b`` bands.
            top, left: row and column of their first cell.
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
    def widest_band(self) -> int:
        """The band whose scores span the widest range."""
        from fullfield.drawing.thumbnails import widest_range

        return widest_range(self.low, self.high)


def summary(scores: Scores, shown: int | str | None, seconds: float, written: list[str]) -> dict[str, Any]:
    """What a scan found, as plain JSON; of labels, and of maps on disk of more than a gigabyte, less.

    Args:
        scores: of the scan.
        shown: class whose greatest score is named; by default the one whose scores span the widest range.
        seconds: that the scan took.
        written: files.
    """
    place = scores.placement
    facts: dict[str, Any] = {
        "shape": list(scores.shape),
        "signal": scores.provenance.get("signal"),
        "input": scores.provenance.get("input"),
        "place": scores.provenance.get("place"),
        "kind": scores.kind,
        "features": scores.features,
        "dtype": str(scores.dtype),
        "activation": scores.activation,
        "activation_left_out": _left_out(scores),
        "mode": scores.provenance.get("settings", {}).get("mode", scores.mode),
        "step": list(place.step),
        "window": list(place.window),
        "image_size": list(place.image),
        "scanned_size": list(place.scanned),
        "seconds": round(seconds, 3),
        "engine": _engine(scores),
        "megapixels_per_s": round(place.scanned[0] * place.scanned[1] / 1e6 / seconds, 4),
    }
    if (
        scores.kind == "scores"
        and scores.features is None
        and (scores.path is None or math.prod(scores.shape) * 4 <= _READ)
    ):
        digest = Digest.of(scores)
        band = digest.widest_band if shown is None else scores.class_index(shown)
        facts |= _found(digest, scores.map.spec.titles, place, band)
    counts = scores.provenance.get("counts")
    facts |= {} if counts is None else {"counts": counts}
    certificate = scores.certificate
    return facts | {"certificate": None if certificate is None else certificate.to_dict(), "written": written}


def _engine(scores: Scores) -> dict[str, str] | None:
    """What computed the scores, and in which type; unknown of maps of 0.1.0."""
    used = scores.provenance.get("settings", {}).get("compute", {})
    engine = used.get("engine")
    return None if engine is None else {**engine, "precision": used["precision"]}


def _left_out(scores: Scores) -> str | None:
    """The activation that was asked for, where the network itself ends in it."""
    asked = scores.provenance.get("settings", {}).get("encoding", {}).get("activation")
    return asked if scores.map.spec.activation is None else None


def left_out_text(activation: str) -> str:
    """The line about an activation that was not applied."""
    return f"left out --activation {activation}: the network ends in it"


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
    (classes, rows, columns), (height, width), (h, w) = facts["shape"], facts["image_size"], facts["window"]
    step = " x ".join(map(str, dict.fromkeys(facts["step"])))
    own = " (the network's stride)" if facts.get("step_is_stride") else ""
    scanned = (
        "" if facts["scanned_size"] == facts["image_size"] else ", scanned at {}x{} px".format(*facts["scanned_size"])
    )
    what = "labels" if facts["kind"] == "labels" else f"{classes} {'features' if facts['features'] else 'classes'}"
    mode = facts["mode"] if facts["mode"] in ("exact", "context") else f"mode {facts['mode']}"
    lines = [
        f"map      {rows}x{columns} cells, {what}, {facts['dtype']}, {mode}",
        *([f"features {facts['features']}"] if facts["features"] else []),
        f"image    {height}x{width} px{scanned}, window {h}x{w} px, step {step} px{own}"
        if facts.get("signal") is None
        else f"signal   {_signal(facts, width)}, window {w} samples, step {facts['step'][1]} samples{own}",
        *([f"place    {facts['place']}"] if facts.get("place") else []),
        *([f"input    {facts['input']['text']}"] if facts.get("input") else []),
        f"time     {facts['seconds']:.2f} s, {facts['megapixels_per_s']:.3g} "
        + ("megapixels/s" if facts.get("signal") is None else "megasamples/s"),
        *(["engine   {name} {version}, {precision}".format(**facts["engine"])] if facts.get("engine") else []),
    ]
    if facts.get("top"):
        scored = facts["cells_scored"]
        of = f"{scored} windows" if scored == rows * columns else f"the {scored} of {rows * columns} windows scored"
        top = [f"{entry['class']} {entry['windows'] / scored:.1%}" for entry in facts["top"]]
        lines.append(f"top      {', '.join(top)} of {of}")
    if facts.get("highest") is not None:
        highest = facts["highest"]
        where = f"y {highest['y']:.0f}, x {highest['x']:.0f}"
        if facts.get("signal") is not None:
            rate = facts["signal"]["sample_rate_hz"]
            where = f"sample {highest['x']:.0f}" + (f", {highest['x'] / rate:.4g} s" if rate else "")
        lines.append(f"highest  {highest['class']}: {highest['score']:.4g} at {where}")
    if facts.get("activation_left_out"):
        lines.append(left_out_text(facts["activation_left_out"]))
    lines += [*_counted(facts), *decision_lines(facts.get("decision"))]
    if facts["certificate"] is not None:
        lines.append(f"verified {facts['certificate']['samples']} windows: {facts['certificate']['verdict']}")
    return "\n".join([*lines, *(f"wrote    {path}" for path in facts["written"])])


def _signal(facts: dict[str, Any], samples: int) -> str:
    """The length of a signal, in seconds too where its rate is known."""
    rate = facts["signal"]["sample_rate_hz"]
    return f"{samples} samples" + (f" at {rate:g} Hz, {samples / rate:.4g} s" if rate else "")


def _counted(facts: dict[str, Any]) -> list[str]:
    """A line on scores that could not be stored as they are; none if there were none."""
    counts = facts.get("counts", {})
    saturated, nans = counts.get("saturated", 0), counts.get("nans", 0)
    parts = [f"{saturated} scores beyond the range of {facts['dtype']}"] if saturated else []
    parts += [f"{nans} scores NaN"] if nans else []
    return [f"counted  {', '.join(parts)}"] if parts else []
