"""From a network to the integers that are planned: the passes in their order, each checked before the next.

    canonical form      every operator by its rule, or as it is with a reason     rewriter, rules/
    fold constants      what is computed from weights alone is computed once      fold
    fold batch norms    they become part of the convolutions before them          fold
    merge activations   what is written as several operators becomes one          activations
    narrow pools        sliding means are taken where channels are fewest         narrow_pools
    early pools         average pools run before the 1x1 convolutions they read   early_pools
    to integers         shapes, kernels, multiply-adds, memory of every node      integers

``print(*stages(model), sep="\\n\\n")`` shows the network after each of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from fullfield.canonical.activations import merge_activations
from fullfield.canonical.early_pools import early_pools
from fullfield.canonical.fold import fold_batch_norm, fold_constants
from fullfield.canonical.form import Canonical
from fullfield.canonical.integers import network
from fullfield.canonical.narrow_pools import narrow_pools
from fullfield.canonical.rewriter import Rewriter
from fullfield.canonical.rules import find
from fullfield.canonical.specification import (
    check_activations,
    check_constants,
    check_early_pools,
    check_form,
    check_network,
    check_norms,
    check_pools,
)
from fullfield.geometry.network import Network
from fullfield.model.model import Model


@dataclass(frozen=True)
class Pass:
    """A rewrite of canonical form, and what holds after it."""

    name: str
    run: Callable[[Canonical], Canonical]
    check: Callable[[Canonical, str], None]


@dataclass(frozen=True, eq=False)
class PassResult:
    """A network after one pass."""

    name: str
    result: Canonical | Network

    def __str__(self) -> str:
        """The pass, and one line a node."""
        nodes = str(self.result) if isinstance(self.result, Canonical) else "\n".join(map(str, self.result))
        return f"{self.name}\n{nodes}"


PASSES = (
    Pass("fold constants", lambda form: replace(form, graph=fold_constants(form.graph)), check_constants),
    Pass("fold batch norms", lambda form: replace(form, graph=fold_batch_norm(form.graph)[0]), check_norms),
    Pass("merge activations", lambda form: replace(form, graph=merge_activations(form.graph)), check_activations),
    Pass("narrow pools", lambda form: replace(form, graph=narrow_pools(form.graph)), check_pools),
    Pass("early pools", lambda form: replace(form, graph=early_pools(form.graph)), check_early_pools),
)


def canonical(net: Model, *, sliding: bool = False) -> Canonical:
    """The network in canonical form; operators that refuse stay as they are, and all after them.

    Args:
        sliding: let pools and norms over the window's map slide with the window: not for ``exact`` mode.
    """
    rewriter = Rewriter(net, find, may_slide=sliding)
    graph = rewriter.run()
    original = net.graph if rewriter.builder.standardises else None
    form = Canonical(graph, net.window, net.channels, tuple(rewriter.refused), original)
    check_form(form, "canonical form")
    return form


def stages(net: Model, *, sliding: bool = False) -> Iterator[PassResult]:
    """The network after each pass, in order; ``sliding`` as ``canonical`` takes it.

    Raises:
        InternalError: a pass did not do what the next one relies on.
    """
    form = canonical(net, sliding=sliding)
    yield PassResult("canonical form", form)
    for one in PASSES:
        form = one.run(form)
        check_form(form, one.name)
        one.check(form, one.name)
        yield PassResult(one.name, form)
    integers = network(form, net.dtype)
    check_network(integers, "to integers")
    yield PassResult("to integers", integers)


def run_passes(net: Model, *, sliding: bool = False) -> tuple[Canonical, Network]:
    """The network after the last pass on its graph, and as integers."""
    *_, form, integers = (stage.result for stage in stages(net, sliding=sliding))
    assert isinstance(form, Canonical)
    assert isinstance(integers, Network)
    return form, integers
