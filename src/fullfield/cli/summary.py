"""What a scan found, for people and for programs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fullfield.io.scores import Scores
    from fullfield.io.stored import StoredScores

_SHOWN = 5  # classes named in the summary
_READ = 1 << 28  # bytes of a stored map that are read for it


def liveliest(scores: Scores) -> int:
    """The class whose scores span the widest range; of several about as wide the last: "face", not "background"."""
    import numpy as np

    low, high = (_extreme(scores, f) for f in (np.fmin, np.fmax))
    span = high - low
    return int(np.flatnonzero(span >= 0.999 * span.max())[-1])


def _extreme(scores: Scores, pick: Any) -> Any:
    """The least or greatest score of each class, NaN left aside."""
    import numpy as np

    return np.nan_to_num(pick.reduce(scores.array.reshape(scores.array.shape[0], -1), axis=1).astype(np.float64))


def summary(scores: Scores, shown: int, seconds: float, written: list[str]) -> dict[str, Any]:
    """What the scan found, as plain JSON."""
    import numpy as np

    classes, rows, columns = scores.array.shape
    place = scores.placement
    there = ~np.isnan(scores.array).any(axis=0)
    best = np.bincount(scores.top()[there], minlength=classes)
    order = np.argsort(-best, kind="stable")[:_SHOWN]
    found: dict[str, Any] = {"highest": None}
    if there.any():
        i, j = divmod(int(np.nan_to_num(scores.array[shown], nan=-np.inf).argmax()), columns)
        y, x = place.centre(i, j)
        found["highest"] = {"class": name(scores, shown), "score": float(scores.array[shown, i, j]), "y": y, "x": x}
    return {
        "shape": [classes, rows, columns],
        "dtype": str(scores.array.dtype),
        "mode": scores.mode,
        "step": list(place.step),
        "window": list(place.window),
        "image": list(place.image),
        "scanned": list(place.scanned),
        "cells_scored": int(there.sum()),
        "seconds": round(seconds, 3),
        "megapixels_per_s": round(place.scanned[0] * place.scanned[1] / 1e6 / seconds, 4),
        "top": [{"class": name(scores, int(k)), "windows": int(best[k])} for k in order if best[k]],
        **found,
        "certificate": scores.certificate,
        "written": written,
    }


def stored_summary(stored: StoredScores, shown: int | None, seconds: float, written: list[str]) -> dict[str, Any]:
    """What a scan to disk found; of a large map, or of labels, less."""
    spec = stored.spec
    bands, rows, columns = spec.shape
    if spec.kind == "scores" and bands * rows * columns * 4 <= _READ:
        scores = stored.to_scores()
        return summary(scores, liveliest(scores) if shown is None else shown, seconds, written) | {"dtype": spec.dtype}
    place = spec.placement
    return {
        "shape": [bands, rows, columns],
        "dtype": spec.dtype,
        "kind": spec.kind,
        "mode": spec.mode,
        "step": list(place.step),
        "window": list(place.window),
        "image": list(place.image),
        "scanned": list(place.scanned),
        "seconds": round(seconds, 3),
        "megapixels_per_s": round(place.scanned[0] * place.scanned[1] / 1e6 / seconds, 4),
        "certificate": stored.certificate,
        "written": written,
    }


def name(scores: Scores, cls: int) -> str:
    """What a class is called."""
    return scores.class_names[cls] if scores.class_names else f"class {cls}"


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
    if facts["certificate"] is not None:
        lines.append(f"verified {facts['certificate']['samples']} windows: {facts['certificate']['verdict']}")
    return "\n".join([*lines, *(f"wrote    {path}" for path in facts["written"])])
