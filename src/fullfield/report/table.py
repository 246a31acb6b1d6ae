"""Renders a report as text: a table, its legend, totals, and the closing paragraph."""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fullfield.geometry.axis import Axis, px_text
from fullfield.report.row import Row, volume
from fullfield.text import WIDTH, short_count, shortened, table_lines

if TYPE_CHECKING:
    from fullfield.report.report import Report

_WIDEST = 160  # of the table; wider ones are set closer
ReportColumn = tuple[str, Callable[[Row], str]]


def render(report: Report) -> str:
    """The whole report as text, the table about 120 to 160 columns wide."""
    h, w = report.window
    head = f"{report.name}: window {h}x{w} px, {report.channels} channels -> {report.classes} "
    head += f"scores, {report.dtype}" if report.scores_of is None else f"features ({report.scores_of}), {report.dtype}"
    fed = f"input: {report.input}"
    about = [f"{title}: {text}" for title, text in report.about]
    lines = [head, fed, *about, "", *_table(report), "", *_legend(), "", *_totals(report), ""]
    lines += [line for text in report.summary for line in textwrap.wrap(text, WIDTH, subsequent_indent="  ")]
    return "\n".join(lines)


def _table(report: Report) -> list[str]:
    """The table, set closer if it would be too wide."""
    lines = _lines(report, _Style())
    return lines if max(map(len, lines)) <= _WIDEST else _lines(report, _Style(24, 16, " ", short_count))


@dataclass(frozen=True)
class _Style:
    """How a table is set: widths up to which names and types are shown in full, the gap, and how counts are written."""

    name: int = 32
    type: int = 22
    gap: str = "  "
    count: Callable[[int], str] = "{:,}".format


def _lines(report: Report, style: _Style) -> list[str]:
    columns = _columns(report, style)
    cells = [[title for title, _ in columns]]
    cells += [[show(row) for _, show in columns] for row in report.rows]
    return table_lines(cells, left=2, gap=style.gap)


def _columns(report: Report, style: _Style) -> list[ReportColumn]:
    """Titles and texts of the columns; a text that repeats the row above or says nothing is blank."""
    columns: list[ReportColumn] = [
        ("layer", lambda r: shortened(r.name, style.name, front=True)),
        ("type", lambda r: shortened(r.type, style.type)),
        ("F", lambda r: _windowed(r, lambda k: str(r.ops[k].kernel))),
        ("S", lambda r: _windowed(r, lambda k: str(r.ops[k].stride))),
        ("P", lambda r: _windowed(r, lambda k: _padding(r, k))),
    ]
    if any(op.dilation > 1 for row in report.rows for op in row.ops):
        columns.append(("dil", lambda r: _windowed(r, lambda k: str(r.ops[k].dilation))))
    columns.append(("output W×H×D", lambda r: r.volume))
    if report.at is not None:
        columns.append((f"at {report.at[0]}x{report.at[1]}", lambda r: "per window" if r.at is None else volume(r.at)))
    return [
        *columns,
        ("parameters", lambda r: style.count(r.parameters) if r.parameters else ""),
        ("unshared", lambda r: style.count(r.unshared) if r.unshared != r.parameters else ""),
        ("MACs", lambda r: _metric(r.macs)),
        ("FLOPs", lambda r: _metric(r.flops)),
        ("other ops", lambda r: _metric(r.work.other)),
        ("bytes", lambda r: short_bytes(r.activation_bytes)),
        ("field/jump/start", _field),
        ("borders", _borders),
        ("fits", _fits),
    ]


def axes_text(y: str, x: str) -> str:
    """One text where the axes agree, else height x width.

    Examples:
        >>> axes_text("3", "3"), axes_text("3", "5")
        ('3', '3x5')
    """
    return y if y == x else f"{y}x{x}"


def _windowed(row: Row, show: Callable[[int], str]) -> str:
    plain = all(op.kernel == op.stride == 1 and not op.low and not op.high for op in row.ops)
    slides = row.kind == "windowed" or row.type.startswith("conv")
    return "" if plain and not slides else axes_text(show(0), show(1))


def _padding(row: Row, k: int) -> str:
    op = row.ops[k]
    return str(op.low) if op.low == op.high else f"{op.low}/{op.high}"


def _field(row: Row) -> str:
    if row.axes is None:
        return "window" if row.jump is None else f"window/{axes_text(*(f'{jump:.4g}' for jump in row.jump))}"
    return "" if _repeats(row) else axes_text(*map(_lengths, row.axes))


def _lengths(axis: Axis) -> str:
    return "/".join(px_text(length, axis.unit) for length in (axis.size, axis.jump, axis.start))


def _borders(row: Row) -> str:
    if row.axes is None or _repeats(row):
        return ""
    return axes_text(*(_edge(a) for a in row.axes))


def _edge(axis: Axis) -> str:
    if not axis.shared:
        return "all"
    return f"{axis.low},{axis.high}" if axis.low or axis.high else "0"


def _repeats(row: Row) -> bool:
    """Whether the row reads one other row and has its cells."""
    return row.kind == "cell" and len(row.inputs) == 1


def _fits(row: Row) -> str:
    if row.kind != "windowed" and not any(row.lost):
        return ""
    if row.fits:
        return "yes"
    return axes_text(*(f"+{-n}" if n < 0 else f"-{n}" if n else "0" for n in row.lost))


def _metric(number: int) -> str:
    return short_count(number) if number else ""


def short_bytes(number: int) -> str:
    """Bytes in binary units.

    Examples:
        >>> short_bytes(1023), short_bytes(1536)
        ('1023 B', '1.5 KiB')
    """
    value, units = float(number), iter(("B", "KiB", "MiB", "GiB", "TiB"))
    unit = next(units)
    while value >= 1023.5 and unit != "TiB":
        value, unit = value / 1024, next(units)
    return f"{number} B" if unit == "B" else f"{value:.{1 if value < 99.95 else 0}f} {unit}"


def _legend() -> list[str]:
    text = (
        "F, S, P: kernel, stride, padding; height x width, low/high where they differ. Unshared: parameters if each "
        "cell had its own weights and biases. FLOPs = 2 * MACs, bias included. Other ops: comparisons, additions and "
        "so on outside MACs. Bytes: of the activations in the network's own type. Field/jump/start: receptive "
        "field, px between cells, first px of cell 0. Borders: first and last cells of the window's map that depend "
        "on padding. Fits: -n leaves n cells unread, +n reads n beyond the edge."
    )
    return textwrap.wrap(text, WIDTH)


def _totals(report: Report) -> list[str]:
    work = report.work
    items = [(work.comparisons, "comparisons"), (work.adds, "additions"), (work.multiplies, "multiplications")]
    items += [(work.divisions, "divisions"), (work.functions, "functions (exp, tanh, ...)")]
    other = ", ".join(f"{short_count(n)} {what}" for n, what in items if n) or "none"
    lines = [
        f"parameters  {report.parameters:,} ({short_bytes(report.weight_bytes)} with stored statistics)",
        f"unshared    {report.unshared:,} parameters, if each cell of a convolution had its own",
        f"work        {short_count(work.macs)} MACs = {short_count(work.flops)} FLOPs a window",
        *textwrap.wrap(f"other work  {other}", WIDTH, subsequent_indent=" " * 12),
        f"activations {short_bytes(report.activation_bytes)} in all",
        f"peak memory {short_bytes(report.peak_bytes)}, weights included",
    ]
    if report.uncounted:
        lines.append(f"not counted other work of {', '.join(report.uncounted)}")
    return lines
