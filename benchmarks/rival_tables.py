"""Tables of the rivals' records, in Markdown."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence

from benchmarks.turns import Record, Spent

CROPS = ("engine", "precision", "batch", "CPU ms", "wall ms", "preparing s", "turns")
SCANS = (
    *("image, step", "mode", "engine", "precision", "preparing s", "first ms", "later ms", "wall ms"),
    *("over crops: first", "later", "bound", "of it", "of whole image", "turns"),
)
SUMMARY = (
    *("network", "threads", "best crops ms", "exact ms", "first / later over crops", "bound", "of it"),
    *("context ms", "first / later", "bfloat16: crops ms", "exact ms", "first / later"),
)


def tables(records: Iterable[Record]) -> str:
    """A summary, then the crops and the scans of each network and number of threads."""
    ordered = list(records)
    groups = [list(some) for _, some in itertools.groupby(ordered, lambda r: (r.entry.network, r.entry.threads))]
    parts = [_table(SUMMARY, [_summary(group) for group in groups])]
    for group in groups:
        entry = group[0].entry
        load = max(record.load for record in group)
        parts.append(f"## {entry.network}, {entry.threads} thread{'s' * (entry.threads != 1)}")
        parts.append(f"Load {load:.1f} at most. Times are per window; {_clock(entry.threads)}.")
        parts.append(_table(CROPS, [_crops_row(r) for r in group if r.entry.kind == "crops"]))
        parts.append(_table(SCANS, [_scan_row(r, group) for r in group if r.entry.kind != "crops"]))
    return "\n\n".join(parts)


def _clock(threads: int) -> str:
    return "ratios are of CPU time" if threads == 1 else "ratios are of wall time"


def seconds(spent: Spent, threads: int) -> float:
    """What ratios are taken of: time of the processor, or of the clock where several threads share the work."""
    return spent.cpu_s if threads == 1 else spent.wall_s


def best_crops(group: Sequence[Record], precision: str) -> Record | None:
    """The fastest crops of one precision."""
    found = [r for r in group if r.entry.kind == "crops" and r.entry.precision == precision and r.turns]
    return min(found, key=lambda r: seconds(r.per_window, r.entry.threads), default=None)


def over_crops(record: Record, group: Sequence[Record]) -> tuple[float, float] | None:
    """How many times faster than the best crops at the same precision: the first scan, and a later one.

    The first one with all that is prepared for it on both sides; the best crops are those that take the least then.
    """
    threads, windows = record.entry.threads, record.entry.windows
    crops = [r for r in group if r.entry.kind == "crops" and r.entry.precision == record.entry.precision and r.turns]
    if not crops or not record.turns:
        return None
    first = min(seconds(r.preparing + r.per_window * windows, threads) for r in crops)
    later = min(seconds(r.per_window * windows, threads) for r in crops)
    ours = record.preparing + record.later
    return first / seconds(ours, threads), later / seconds(record.later, threads)


def _crops_row(record: Record) -> list[str]:
    entry = record.entry
    if not record.turns:
        return [entry.engine, entry.precision, record.remark, *["–"] * 4]
    each = record.per_window
    times = [_ms(each.cpu_s), _ms(each.wall_s), f"{record.preparing.wall_s:.1f}", str(len(record.turns))]
    return [entry.engine, entry.precision, record.remark, *times]


def _scan_row(record: Record, group: Sequence[Record]) -> list[str]:
    entry = record.entry
    names = [f"{entry.image}², {entry.step}", _mode(entry.kind), entry.engine, entry.precision]
    if not record.turns:
        return [*names, record.remark, *["–"] * 9]
    each, preparing = record.per_window, record.preparing
    first = each + preparing * (1 / entry.windows)
    ratios = over_crops(record, group)
    over = ["–", "–"] if ratios is None else [f"{ratio:.2f}×" for ratio in ratios]
    limit = (
        ["–", "–"] if not entry.bound or ratios is None else [f"{entry.bound:.2f}", f"{ratios[1] / entry.bound:.2f}"]
    )
    times = [f"{preparing.wall_s:.1f}", _ms(first.cpu_s), _ms(each.cpu_s), _ms(each.wall_s)]
    return [*names, *times, *over, *limit, _of_whole_image(record, group), str(len(record.turns))]


def _of_whole_image(record: Record, group: Sequence[Record]) -> str:
    """The time of the engine's own call on the whole image, over that of a scan of the same map."""
    entry = record.entry
    same = (entry.engine, entry.precision, entry.image, entry.step)
    for other in group:
        its = other.entry
        alike = its.kind == "whole image" and (its.engine, its.precision, its.image, its.step) == same
        if alike and other.turns and entry.kind == "context":
            return f"{seconds(other.later, entry.threads) / seconds(record.later, entry.threads):.2f}"
    return "–"


def _summary(group: Sequence[Record]) -> list[str]:
    """One network at the first step: the best crops, and the fastest scan of each mode."""
    entry = group[0].entry
    row = [entry.network, str(entry.threads)]
    crops = best_crops(group, "float32")
    row.append("–" if crops is None else f"{_ms(seconds(crops.per_window, entry.threads))} ({crops.entry.engine})")
    row += _best(group, "exact", "float32", limit=True)
    row += _best(group, "context", "float32")
    crops = best_crops(group, "bfloat16")
    row.append("–" if crops is None else f"{_ms(seconds(crops.per_window, entry.threads))} ({crops.entry.engine})")
    return row + _best(group, "exact", "bfloat16")


def _best(group: Sequence[Record], mode: str, precision: str, *, limit: bool = False) -> list[str]:
    """Time and ratio of the fastest scan of a mode, of the first image and step that are listed."""
    scans = [r for r in group if r.entry.kind == mode and r.entry.precision == precision]
    scans = [r for r in scans if (r.entry.image, r.entry.step) == (scans[0].entry.image, scans[0].entry.step)]
    threads = group[0].entry.threads
    best = min((r for r in scans if r.turns), key=lambda r: seconds(r.per_window, threads), default=None)
    ratios = None if best is None else over_crops(best, group)
    if best is None or ratios is None:
        return ["–"] * (4 if limit else 2)
    row = [f"{_ms(seconds(best.per_window, threads))} ({best.entry.engine})", f"{ratios[0]:.2f} / {ratios[1]:.2f}"]
    return [*row, f"{best.entry.bound:.2f}", f"{ratios[1] / best.entry.bound:.2f}"] if limit else row


def _mode(kind: str) -> str:
    return f"border {kind}" if kind.isdigit() else kind


def _ms(each_s: float) -> str:
    """Milliseconds in three digits."""
    ms = each_s * 1e3
    return f"{ms:.0f}" if ms >= 100 else f"{ms:.1f}" if ms >= 10 else f"{ms:.2f}" if ms >= 1 else f"{ms:.3f}"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines: Iterator[Sequence[str]] = iter([head, ["---"] * len(head), *rows])
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
