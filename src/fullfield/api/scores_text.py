"""``Scores`` as a line of text, and as a table with a picture in a notebook."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fullfield.drawing.pictures import html_table
from fullfield.drawing.score_pictures import PictureStyle, class_name, draw_map, widest_band

if TYPE_CHECKING:
    from fullfield.api.scores import Scores

_SHOWN = 256  # px a side of the picture in a notebook


def short_text(scores: Scores) -> str:
    """What the scores are, in a line."""
    return f"Scores({', '.join(text for _, text in _facts(scores))})"


def notebook_table(scores: Scores) -> str:
    """The same as a table in HTML, with a picture of the class whose scores span the widest range."""
    small = scores.coarse(_SHOWN).map
    labels = scores.kind == "labels"
    band = None if labels else widest_band(small)
    caption = "labels" if band is None else class_name(small, band)
    picture = draw_map(small, None if band is None else scores.classes[band], PictureStyle())
    picture.thumbnail((_SHOWN, _SHOWN))
    rows = [(title, text.removeprefix(f"{title} ")) for title, text in _facts(scores)]
    names = ", ".join(scores.map.spec.titles[:8])
    rows.append(("channels" if scores.features else "classes", names + (", …" if len(scores.classes) > 8 else "")))
    if scores.certificate is not None:
        rows.append(("verified", scores.certificate.verdict))
    return html_table(rows, picture, caption)


def _facts(scores: Scores) -> list[tuple[str, str]]:
    """What the scores are, as pairs of a title and a text."""
    (bands, rows, columns), (h, w), (sy, sx) = scores.shape, scores.placement.window, scores.placement.step
    what = f"{bands} x {rows}x{columns} {scores.dtype}" + (f" features ({scores.features})" if scores.features else "")
    if scores.kind == "labels":
        what = f"labels of {len(scores.classes)} classes, {rows}x{columns} {scores.dtype}"
    height, width = scores.placement.image
    facts = [("scores", what), ("mode", scores.mode), ("step", f"step {sy}" if sy == sx else f"step {sy}x{sx}")]
    facts += [("window", f"window {h}x{w}"), ("image", f"image {height}x{width}")]
    if scores.map.spec.of_signal:
        facts[2:] = [("step", f"step {sx}"), ("window", f"window {w}"), ("signal", f"signal {width}")]
    return facts if scores.path is None else [*facts, ("file", f"on disk {scores.path}")]
