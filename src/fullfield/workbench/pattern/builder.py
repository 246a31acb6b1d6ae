"""Turns a pattern into layers with the volumes before and after them, and these into modules."""

from __future__ import annotations

import math
from collections import OrderedDict, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from fullfield.errors import BudgetError, FullfieldError, GeometryError, UnsupportedError
from fullfield.packages import check_installed
from fullfield.text import did_you_mean, size_text
from fullfield.workbench.pattern.repeats import Rounds, value_index
from fullfield.workbench.pattern.settings import settings_of
from fullfield.workbench.pattern.syntax import GroupNode, Item, LayerNode, error_at
from fullfield.workbench.pattern.vocabulary import LAYERS, LayerType
from fullfield.workbench.volume import Volume

_MOST = 10_000  # layers


@dataclass(frozen=True)
class LayerStep:
    """One layer of an expanded pattern: its name in the network, its settings, the volumes before and after it."""

    name: str
    kind: LayerType
    settings: Mapping[str, Any]
    before: Volume
    after: Volume

    def module(self) -> nn.Module:
        """The layer, freshly initialised."""
        return self.kind.make(self.settings, self.before, self.after)


def plan_layers(text: str) -> tuple[Volume, tuple[LayerStep, ...]]:
    """The input volume and all layers of a pattern, in order; nothing is allocated.

    Raises:
        UnsupportedError: the extra ``fullfield[pattern]`` is not installed.
        CaptureError: the text is not a pattern.
        GeometryError: a layer does not fit the volume before it; the text shows the arithmetic.
    """
    what = "reading patterns needs the package lark"
    check_installed("lark", extra="pattern", where="build", what=what, kind=UnsupportedError)
    from fullfield.workbench.pattern.parser import parse

    items = parse(text)
    volume = _input(text, items[0])
    steps = _Planner(text, items[1:]).run(volume)
    if not steps:
        raise error_at(text, items[0].span, "no layer follows INPUT", fix="write INPUT(3x32x32) -> FC(10), say")
    return volume, steps


def build_modules(steps: Sequence[LayerStep], *, budget_bytes: int) -> nn.Sequential:
    """The layers in a row, freshly initialised as torch does, once their parameters are known to fit the budget.

    Raises:
        BudgetError: the parameters take more bytes.
    """
    where = max(steps, key=_bytes)
    total = sum(map(_bytes, steps))
    if total > budget_bytes and torch.get_default_device().type != "meta":
        raise BudgetError(
            where.name,
            f"is the largest layer of a network with {total:,} bytes of parameters; {budget_bytes:,} are allowed",
            fix="pool more before it, or raise the budget",
        )
    return nn.Sequential(OrderedDict((step.name, step.module()) for step in steps))


def _bytes(step: LayerStep) -> int:
    """Bytes of a layer's parameters and buffers; nothing is allocated."""
    try:
        with torch.device("meta"):
            tensors = step.module().state_dict().values()
    except (RuntimeError, OverflowError, TypeError):  # more elements than a tensor can count
        return 2**63
    return sum(t.numel() * t.element_size() for t in tensors)


def _input(text: str, item: Item) -> Volume:
    """The volume of ``INPUT(3x224x224)``, the first item."""
    node = item.body
    example = "begin with INPUT(3x224x224): channels, height, width"
    if not isinstance(node, LayerNode) or node.name != "INPUT":
        raise error_at(text, node.span, "a pattern begins with INPUT", fix=example)
    if item.repeat != (1,) or item.presence is not None:
        raise error_at(text, item.span, "INPUT occurs once", fix=example)
    values = [option.value for a in node.arguments for option in a.options]
    sizes = values[0] if len(values) == 1 and isinstance(values[0], tuple) else tuple(values)
    given = any(a.key is not None or len(a.options) > 1 for a in node.arguments)
    whole = all(isinstance(n, int) and not isinstance(n, bool) and 0 < n < 2**31 for n in sizes)
    if given or len(sizes) != 3 or not whole:
        raise error_at(text, item.span, "INPUT takes three positive sizes", fix=example)
    c, y, x = (int(n) for n in sizes)  # type: ignore[arg-type] # integers, as checked
    if c == y and x in (1, 3) and c > 3:
        raise error_at(text, item.span, "INPUT has its channels last", fix=f"write INPUT({x}x{c}x{y}): channels first")
    return c, y, x


@dataclass
class _Planner:
    """Walks through a pattern and computes the volume after every layer."""

    text: str
    items: Sequence[Item]

    def run(self, volume: Volume) -> tuple[LayerStep, ...]:
        self.rounds = Rounds(self.text, self.items, most=_MOST)
        self.counts: defaultdict[str, int] = defaultdict(int)
        self.seen: defaultdict[object, int] = defaultdict(int)
        self.volume, self.steps = volume, list[LayerStep]()
        for item in self.items:
            self._item(item)
        return tuple(self.steps)

    def _item(self, item: Item) -> None:
        for _ in range(self.rounds.next_count(item)):
            ordinal = self.seen[item]
            self.seen[item] += 1
            present = self._presence(item, ordinal)
            if present is not False:
                self._body(item, if_it_fits=present is None)
            else:
                self._skip(item.body)

    def _presence(self, item: Item, ordinal: int) -> bool | None:
        """Whether the item is present in this occurrence; ``None`` if that depends on whether it fits."""
        if item.presence is None:
            return True
        if not item.presence:
            return None
        index = value_index(self.rounds.frames[item], len(item.presence), ordinal)
        if index is None:
            raise self.rounds.mismatch(item, len(item.presence), item.span)
        return item.presence[index]

    def _body(self, item: Item, *, if_it_fits: bool) -> None:
        """Adds a layer or a group; with ``if_it_fits``, one that does not fit is skipped and all state restored."""
        before = self.volume, len(self.steps), dict(self.counts), dict(self.seen), self.rounds.position()
        try:
            if isinstance(item.body, LayerNode):
                self._layer(item, item.body)
            else:
                for part in item.body.items:
                    self._item(part)
        except GeometryError:
            if not if_it_fits:
                raise
            self.volume, count, counts, seen, position = before
            del self.steps[count:]
            self.counts, self.seen = defaultdict(int, counts), defaultdict(int, seen)
            self.rounds.rewind(position)
            self._skip(item.body)

    def _skip(self, body: LayerNode | GroupNode) -> None:
        """Counts the items of an absent group, so that values ``a|b|c`` stay with their rounds."""
        for item in body.items if isinstance(body, GroupNode) else ():
            for _ in range(self.rounds.next_count(item)):
                self.seen[item] += 1
                self._skip(item.body)

    def _layer(self, item: Item, node: LayerNode) -> None:
        kind = LAYERS.get(node.name)
        if kind is None:
            raise error_at(self.text, node.span, f"{node.name} is not a layer", fix=_nearest(node.name))
        settings = settings_of(self.text, node, kind, self.rounds, item, self.seen[item] - 1)
        if kind.takes == "map" and len(self.volume) == 1:
            self._refuse(node, f"{node.name} takes a map, but its input is a vector of {self.volume[0]} numbers")
        if kind.takes == "vector" and len(self.volume) == 3:
            self._add(LAYERS["FLATTEN"], {}, (math.prod(self.volume),))
        try:
            after = kind.fit(settings, self.volume)
        except FullfieldError as error:
            volume = size_text(self.volume)
            what = f"{node.name} after {volume}: {error.what}"
            raise error_at(self.text, node.span, what, fix=error.fix, kind=GeometryError) from error
        self._add(kind, settings, after)

    def _refuse(self, node: LayerNode, what: str) -> None:
        raise error_at(self.text, node.span, what, fix="put it before FLATTEN and FC", kind=GeometryError)

    def _add(self, kind: LayerType, settings: Mapping[str, Any], after: Volume) -> None:
        self.counts[kind.name] += 1
        name = f"{kind.name.lower()}{self.counts[kind.name]}"
        self.steps.append(LayerStep(name, kind, settings, self.volume, after))
        self.volume = after


def _nearest(name: str) -> str:
    """A suggestion for an unknown layer: the most similar name, else all names."""
    if name == "INPUT":
        return "INPUT occurs once, at the beginning"
    names = ", ".join(dict.fromkeys(kind.name for kind in LAYERS.values()))
    return did_you_mean(name, LAYERS, f"use one of {names}")
