"""Folds a list of layers into a short pattern with repeats and values ``a|b|c``. Works on text, not on modules."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fullfield.workbench.pattern.repeats import Frames, value_index

Values = dict[str, tuple[str, bool]]
"""Arguments in writing, and whether each equals its default; keys that begin with # are not written."""

_LONGEST_PERIOD = 24  # the most layers in the body of a repeat before it is folded itself


@dataclass(frozen=True)
class Atom:
    """A layer with its written arguments, one set for each occurrence."""

    name: str
    times: tuple[Values, ...]


@dataclass(frozen=True)
class Repeat:
    """Nodes that are repeated; ``counts`` has the number of rounds for each occurrence of the repeat."""

    body: tuple[Node, ...]
    counts: tuple[int, ...]


Node = Atom | Repeat


def fold(layers: Sequence[tuple[str, Values]]) -> str:
    """The pattern of layers with all their arguments; repeats are folded wherever that makes it shorter.

    Examples:
        >>> print(fold([("CONV", {"#k": ("8", False)}), ("TANH", {}), ("CONV", {"#k": ("9", False)}), ("TANH", {})]))
        [CONV(8|9) -> TANH]*2
    """
    nodes: list[Node] = [Atom(name, (values,)) for name, values in layers]
    return min((_chain(_folded(nodes, single=single), [()]) for single in (False, True)), key=len)


def _folded(nodes: list[Node], *, single: bool) -> list[Node]:
    """The nodes with repeats; with ``single``, single copies of a repeated body are repeats of one round."""
    period = 1
    while period <= min(len(nodes) // 2, _LONGEST_PERIOD):
        shorter = _fold(nodes, period)
        if len(shorter) == len(nodes):
            period += 1
            continue
        nodes, period = _once(shorter) if single else shorter, 1
    return nodes


def _fold(nodes: list[Node], period: int) -> list[Node]:
    """The nodes with all repeats of one period, found from the left."""
    found: list[Node] = []
    start = 0
    while start < len(nodes):
        times = _run(nodes, start, period)
        stop = start + times * period
        if times > 1 and _is_shorter(folded := _repeat(nodes[start:stop], period), nodes[start:stop]):
            found.append(folded)
            start = stop
        else:
            found.append(nodes[start])
            start += 1
    return found


def _is_shorter(folded: Repeat, nodes: list[Node]) -> bool:
    return len(_chain([folded], [()])) < len(_chain(nodes, [()]))


def _repeat(nodes: list[Node], period: int) -> Repeat:
    return Repeat(tuple(_merged(nodes[k::period]) for k in range(period)), (len(nodes) // period,))


def _once(nodes: list[Node]) -> list[Node]:
    """The nodes, in which every copy of a repeat's body, up to arguments, is a repeat of one round."""
    bodies = [n.body for n in nodes if isinstance(n, Repeat)]
    found: list[Node] = []
    start = 0
    while start < len(nodes):
        sizes = (len(b) for b in bodies if len(b) <= len(nodes) - start and all(map(_alike, b, nodes[start:])))
        size = next(sizes, 0)
        found.append(_repeat(nodes[start : start + size], size) if size else nodes[start])
        start += size or 1
    return found


def _run(nodes: list[Node], start: int, period: int) -> int:
    """How many times the ``period`` nodes from ``start`` follow one another, up to arguments."""
    if start + period > len(nodes):
        return 0
    times = 1
    while start + (times + 1) * period <= len(nodes):
        following = nodes[start + times * period : start + (times + 1) * period]
        if not all(map(_alike, nodes[start : start + period], following)):
            break
        times += 1
    return times


def _alike(a: Node, b: Node) -> bool:
    if isinstance(a, Atom) or isinstance(b, Atom):
        return isinstance(a, Atom) and isinstance(b, Atom) and a.name == b.name
    return len(a.body) == len(b.body) and all(map(_alike, a.body, b.body))


def _merged(nodes: Sequence[Node]) -> Node:
    """Nodes that differ in arguments only, as one node with all their occurrences."""
    first = nodes[0]
    if isinstance(first, Atom):
        return Atom(first.name, tuple(t for n in nodes if isinstance(n, Atom) for t in n.times))
    repeats = [n for n in nodes if isinstance(n, Repeat)]
    bodies = zip(*(n.body for n in repeats), strict=True)
    return Repeat(tuple(map(_merged, bodies)), tuple(c for n in repeats for c in n.counts))


def _chain(nodes: Sequence[Node], around: Sequence[Frames]) -> str:
    """The text of nodes, given the occurrences of the group around them."""
    return " -> ".join(_written(node, around) for node in nodes)


def _written(node: Node, around: Sequence[Frames]) -> str:
    if isinstance(node, Repeat):
        frames = [(*a, (count, k)) for a, count in zip(around, node.counts, strict=True) for k in range(count)]
        body = _chain(node.body, frames)
        if set(node.counts) == {1}:
            return body
        if not (len(node.body) == 1 and isinstance(node.body[0], Atom)):
            body = f"[{body}]"
        times = _alternatives([str(c) for c in node.counts], around)
        return f"{body}*({times})" if "|" in times else f"{body}*{times}"
    arguments = []
    for key in node.times[0]:
        if not all(values[key][1] for values in node.times):
            written = _alternatives([values[key][0] for values in node.times], around)
            arguments.append(written if key.startswith("#") else f"{key}={written}")
    return f"{node.name}({', '.join(arguments)})" if arguments else node.name


def _alternatives(values: Sequence[str], around: Sequence[Frames]) -> str:
    """One value, or one for each round of a repeat, or one for each occurrence, as ``value_index`` reads them."""
    if len(set(values)) == 1:
        return values[0]
    for count in sorted({frames[level][0] for frames in around for level in range(len(frames))} - {1}):
        indices = [value_index(around, count, k) for k in range(len(values))]
        if None in indices:
            continue
        found = dict(zip(indices, values, strict=True))
        if len(found) == count and all(found[i] == v for i, v in zip(indices, values, strict=True)):
            return "|".join(found[k] for k in range(count))
    return "|".join(values)
