"""Writes the report's closing paragraph: what its numbers mean for scanning."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from fullfield.geometry.axis import px, px_text
from fullfield.report.report import Report
from fullfield.report.row import Row
from fullfield.text import list_text, number_of

_SHOWN = 6  # layers named before "and n more"


def summarise(report: Report) -> Report:
    """The report with its closing paragraph."""
    parts = (_stride, _field, _padding, _exact, _context, _whole, _lost, _misaligned)
    return replace(report, summary=tuple(text for part in parts if (text := part(report))))


def _stride(report: Report) -> str:
    y, x = report.stride
    name = report.features.name
    return f"Stride: {_pair(y, x)} px lie between neighbouring cells of {name}, the last map before the scores."


def _field(report: Report) -> str:
    axes = report.features.axes
    if axes is None:
        return "Receptive field: each of these cells sees the whole window (below)."
    field = _pair(*(px(a.size, a.unit) for a in axes))
    larger = any(a.size > w * a.unit for a, w in zip(axes, report.window, strict=True))
    note = ", more than the window holds: the rest is padding" if larger else ""
    return f"Receptive field: each of these cells sees {field} px{note}; every score sees the whole window." + (
        "" if _sees_all(report) else " (Here the scores see less: " + _less(report) + ".)"
    )


def _sees_all(report: Report) -> bool:
    axes = report.rows[-1].axes
    return axes is None or all(
        a.start <= 0 and a.start + a.size >= w * a.unit for a, w in zip(axes, report.window, strict=True)
    )


def _less(report: Report) -> str:
    assert report.rows[-1].axes is not None
    spans = [[px_text(end, a.unit) for end in (a.start, a.start + a.size)] for a in report.rows[-1].axes]
    return "px {} to {} along y and {} to {} along x".format(*spans[0], *spans[1])


def _padding(report: Report) -> str:
    padded = [r.name for r in report.rows if any(op.low > 0 or op.high > 0 for op in r.ops)]
    over = [r.name for r in report.rows if min(r.lost) < 0]
    texts = [f"Padding: {_list(padded)} {'pads' if len(padded) == 1 else 'pad'}."] if padded else ["Padding: none."]
    if over:
        verb, whose = ("rounds", "its last cell reaches") if len(over) == 1 else ("round", "their last cells reach")
        texts.append(f"{_list(over)} {verb} up: {whose} beyond the edge of the window.")
    return " ".join(texts)


def _frontier(report: Report) -> Row | None:
    return next((row for row in report.rows if not row.shared and row.inputs), None)


def _exact(report: Report) -> str:
    first = _frontier(report)
    own = any(row.pads for row in report.rows)
    if first is None:
        how = (
            "border cells are computed for each window, all others once for all windows"
            if own
            else ("it is the fully convolutional network itself")
        )
        return f"Exact mode: neighbouring windows share every layer; {how}."
    share = sum(r.macs for r in report.rows if r.shared) / max(1, report.macs)
    return (
        f"Exact mode: from {first.name} on ({first.type}: {first.reason}) the network runs window by window; "
        f"the layers before it, {100 * share:.0f} % of the MACs, are shared between windows except at borders."
    )


def _context(report: Report) -> str:
    if not report.convertible:
        return "Context mode: not possible, since some layers look at the whole window (below). Exact mode works."
    if not any(row.pads for row in report.rows):
        return "Context mode: the same scores, since nothing depends on where the window ends."
    return (
        "Context mode: those layers see the neighbouring pixels instead, so its scores differ from the crops'; "
        "`fullfield verify --mode context` measures by how much."
    )


def _whole(report: Report) -> str:
    if not report.refused:
        return ""
    return f"Whole window: {_list(report.refused, '; ')}."


def _lost(report: Report) -> str:
    lost = [r for r in report.rows if max(r.dropped) > 0]
    if not lost:
        return ""
    texts = [f"{r.name} leaves {_pair(*map(_cells, r.dropped))} unread" for r in lost]
    return f"Does not fit: {_list(texts)} (the stride does not divide; scores ignore them, as the crops' do)."


def _misaligned(report: Report) -> str:
    if not report.misaligned:
        return ""
    return f"Misaligned: {_list(report.misaligned, '; ')}. The scores are right; receptive fields there are unions."


def _cells(number: int) -> str:
    return number_of(number, "cell")


def _pair(y: float | str, x: float | str) -> str:
    shown = [end if isinstance(end, str) else f"{end:g}" for end in (y, x)]
    return shown[0] if y == x else f"{shown[0]} (y) and {shown[1]} (x)"


def _list(names: Iterable[str], comma: str = ", ") -> str:
    return list_text(list(names), _SHOWN, comma)
