"""Replaces the tensors of a graph that are overwritten, and their views, by new ones."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from torch._ops import OpOverload
from torch.fx import Graph, Node

from fullfield.model.views import TensorView, overwritten, storage, view_of

# (graph, an in-place operator) -> what its first argument is afterwards, or the reason why that is not known
Functional = Callable[[Graph, Node], Node | str]


@dataclass
class _Views:
    """The views of a graph up to a node, as they are there, after all that was overwritten."""

    of: dict[Node, TensorView] = field(default_factory=dict)
    taken: defaultdict[Node, list[Node]] = field(default_factory=lambda: defaultdict(list))

    def add(self, node: Node, view: TensorView) -> None:
        self.of[node] = view
        self.taken[view.base].append(node)

    def bases(self, node: Node) -> Iterator[Node]:
        """What a value is a view of, and so on."""
        while node in self.of:
            node = self.of[node].base
            yield node

    def below(self, node: Node) -> Iterator[Node]:
        """All views of a value; each one after that which it is a view of."""
        for view in self.taken[node]:
            yield view
            yield from self.below(view)


def replace_writes(graph: Graph, written: Functional) -> str:
    """Replaces every in-place operator by what ``written`` makes of it, also for all that share its memory.

    Exact: yes

    Returns:
        The reason why one remains; empty if none does.
    """
    views = _Views()
    for node in list(graph.nodes):
        if isinstance(node.target, OpOverload) and node.target._schema.is_mutable:
            why = _replace(graph, node, views, written)
            if why:
                return why
        elif view := view_of(node):
            views.add(node, view)
    return ""


def _replace(graph: Graph, node: Node, views: _Views, written: Functional) -> str:
    """Replaces one in-place operator, or says why not."""
    x = node.args[0]
    if not isinstance(x, Node) or storage(x) is None or storage(x) != storage(node):
        return f"{node.name} overwrites what is not known"
    written_to, root = x, [x, *views.bases(x)][-1]
    if root.op in ("placeholder", "get_attr"):
        return f"{node.name} overwrites memory that something else may read"
    with graph.inserting_before(node):
        first = written(graph, node)
        if isinstance(first, str):
            return first
        now = {x: _described(first, node, x)}
        for base in views.bases(x):
            above = overwritten(graph, views.of[x], base, now[x])
            if above is None:
                return f"{node.name} overwrites a view of {base.name} by {views.of[x].made.target}"
            now[base], x = _described(above, node, base), base
        for read in _read_later(views, root, node):
            if read not in now:
                now[read] = _described(views.of[read].of(graph, now[views.of[read].base]), read, read)
    node.replace_all_uses_with(now[written_to])
    for old, new in now.items():
        later = {user for user in old.users if user > node}
        old.replace_all_uses_with(new, lambda user, later=later: user in later)  # type: ignore[misc]
    for old, new in now.items():
        if old in views.of:
            view = views.of[old]
            views.add(new, TensorView(now[view.base], view.made, view.source))
    graph.erase_node(node)
    return ""


def _described(new: Node, like: Node, was: Node) -> Node:
    """A new value with the layer of the node ``like``, and the shape, type and memory of the value that it replaces."""
    new.meta = {**like.meta, "val": was.meta["val"]}
    return new


def _read_later(views: _Views, root: Node, node: Node) -> list[Node]:
    """The views of ``root`` that are read after the node, and what these are views of; bases first."""
    below = list(views.below(root))
    needed: set[Node] = set()
    for view in reversed(below):
        if view in needed or any(user > node for user in view.users):
            needed |= {view, views.of[view].base}
    return [view for view in below if view in needed]
