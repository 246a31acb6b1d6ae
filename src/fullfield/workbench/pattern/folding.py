"""Layers in a row -> the shortest pattern that repeats and values in turn give. Knows nothing of modules."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fullfield.workbench.pattern.repeats import Frames, place_of

Values = dict[str, tuple[str, bool]]
"""Arguments as they are written, and whether they say only what would be so anyway; a key after # goes unwritten."""

_LONGEST_PERIOD = 24  # layers that a repeat can have before it is folded itself


@dataclass(frozen=True)
class Atom:
    """A layer with its arguments, written, once for every time that it comes."""

    name: str
    times: tuple[Values, ...]


@dataclass(frozen=True)
class Repeat:
    """Nodes that come several times in a row; ``counts`` has how often, for every time that the repeat comes."""

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
    """The nodes with repeats; where ``single``, what is repeated in one place counts as repeated once elsewhere."""
    period = 1
    while period <= min(len(nodes) // 2, _LONGEST_PERIOD):
        shorter = _fold(nodes, period)
        if len(shorter) == len(nodes):
            period += 1
            continue
        nodes, period = _once(shorter) if single else shorter, 1
    return nodes


def _fold(nodes: list[Node], period: int) -> list[Node]:
    """The nodes with all repeats of one period in them, from the left, each as often as it comes."""
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
    """The nodes with every copy of a repeat's body, its arguments aside, as a repeat of one round."""
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
    """How often the ``period`` nodes from ``start`` come in a row, arguments aside."""
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
    """Alike nodes as one that comes as often as all of them together."""
    first = nodes[0]
    if isinstance(first, Atom):
        return Atom(first.name, tuple(t for n in nodes if isinstance(n, Atom) for t in n.times))
    repeats = [n for n in nodes if isinstance(n, Repeat)]
    bodies = zip(*(n.body for n in repeats), strict=True)
    return Repeat(tuple(map(_merged, bodies)), tuple(c for n in repeats for c in n.counts))


def _chain(nodes: Sequence[Node], around: Sequence[Frames]) -> str:
    """Nodes as they are written, given all the times that their surroundings come."""
    return " -> ".join(_written(node, around) for node in nodes)


def _written(node: Node, around: Sequence[Frames]) -> str:
    if isinstance(node, Repeat):
        frames = [(*a, (count, k)) for a, count in zip(around, node.counts, strict=True) for k in range(count)]
        body = _chain(node.body, frames)
        if set(node.counts) == {1}:
            return body
        if not (len(node.body) == 1 and isinstance(node.body[0], Atom)):
            body = f"[{body}]"
        times = _in_turn([str(c) for c in node.counts], around)
        return f"{body}*({times})" if "|" in times else f"{body}*{times}"
    arguments = []
    for key in node.times[0]:
        if not all(values[key][1] for values in node.times):
            written = _in_turn([values[key][0] for values in node.times], around)
            arguments.append(written if key.startswith("#") else f"{key}={written}")
    return f"{node.name}({', '.join(arguments)})" if arguments else node.name


def _in_turn(values: Sequence[str], around: Sequence[Frames]) -> str:
    """One value, or one for every round of a repeat, or one for every time; as ``place_of`` will read them."""
    if len(set(values)) == 1:
        return values[0]
    for count in sorted({frames[level][0] for frames in around for level in range(len(frames))} - {1}):
        places = [place_of(around, count, k) for k in range(len(values))]
        if None in places:
            continue
        found = dict(zip(places, values, strict=True))
        if len(found) == count and all(found[p] == v for p, v in zip(places, values, strict=True)):
            return "|".join(found[k] for k in range(count))
    return "|".join(values)
