"""Runs windows in several batches, and names the operator through which their scores depend on more than a window."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.fx import GraphModule, Interpreter, Node
from torch.utils import _pytree as pytree

from fullfield.errors import CaptureError
from fullfield.graph.calls import op_name
from fullfield.graph.shapes import PROBE_BATCH, window_dims
from fullfield.model.batch_places import has_windows, last_new_place
from fullfield.model.cuda_arithmetic import cuda_arithmetic

_MANY = 9  # windows of the largest batch that is always run
_PLACES = 256  # at most so many, where the numbers that a network gives to places differ later only

_SIZE = "correct the network: it computes with x.shape[0], the number of windows in a batch"
_DIMENSION = "correct the network: some layer takes the first dimension, that of the windows, for another"
_REDUCTION = "reduce the dimensions of each window, but not that of the windows: x.amax((1, 2, 3)), say"


@dataclass(frozen=True)
class _Batch:
    """Windows by their letters, and the place among them of the one that is compared."""

    windows: str
    place: int = 0


@dataclass(frozen=True)
class _Trial:
    """Two batches in which one window must have the same scores, and what is wrong where it has not."""

    one: _Batch
    other: _Batch
    wrong: str


def _trials(last: int) -> tuple[_Trial, ...]:
    """All trials; the last one compares the place ``last`` with the first."""
    others = "gives a window other scores when its batch holds another {} window: it mixes the windows"
    end = _Batch(("bc" * last)[:last] + "a", last)
    return (
        _Trial(_Batch("ab"), _Batch("ac"), others.format("second")),
        _Trial(_Batch("ab", 1), _Batch("cb", 1), others.format("first")),
        _Trial(_Batch("ab"), _Batch("ba", 1), "gives a window other scores at another place of its batch"),
        _Trial(_Batch("a"), _Batch("ab"), "gives a window other scores in a batch of two than alone"),
        _Trial(_Batch("a"), end, f"gives a window other scores at the end of a batch of {last + 1} than alone"),
    )


def rounding(dtype: torch.dtype, *, other_size: bool = False) -> float:
    """The part of the largest score by which the scores of one window may differ between two batches.

    Examples:
        >>> rounding(torch.float64) < 1e-12
        True
    """
    eps = torch.finfo(dtype).eps
    return min(1e3 * eps, 0.25 if other_size else 0.05)


def differ(one: Tensor, other: Tensor, relative: float) -> bool:
    """Whether numbers differ by more than a part of the largest of them; those that are not finite, at all."""
    if one.shape != other.shape:
        return True
    if not one.is_floating_point():
        return not torch.equal(one, other)
    one, other = one.double(), other.double()
    same = (one == other) | (one.isnan() & other.isnan())
    apart = torch.where(same, 0.0, (one - other).abs()).nan_to_num(nan=torch.inf)
    return bool(apart.numel()) and bool(apart.max() > relative * one.abs().nan_to_num(0, 0, 0).max())


def noise(graph: GraphModule, probe: Tensor, count: int) -> Tensor:
    """Windows of random numbers for which a network has finite scores, if it has."""
    generator = torch.Generator().manual_seed(0)
    shape = (count, *probe.shape[1:])
    signed = torch.randn(shape, generator=generator).to(probe)
    with torch.no_grad():
        finite = bool(graph(signed[:2]).isfinite().all())
    return signed if finite else torch.rand(shape, generator=generator).to(probe)


def check_by_trials(graph: GraphModule, probe: Tensor, name: str, values: Mapping[Node, Any]) -> None:
    """Raises if the scores of a window differ between batches, or between two runs of one batch.

    Args:
        graph: of the network.
        probe: two windows of the size, type and device that it takes.
        name: of the network, for the error.
        values: of its nodes for ``PROBE_BATCH`` windows.

    Raises:
        CaptureError: they do.
    """
    windows = dict(zip("abc", noise(graph, probe, 3), strict=True))
    scores: dict[str, Tensor] = {}

    def batch(letters: str) -> Tensor:
        return torch.stack([windows[letter] for letter in letters])

    with torch.no_grad(), cuda_arithmetic(probe.device):
        scores["ab"] = graph(batch("ab"))
        _check_chance(scores["ab"], graph(batch("ab")), name)
        for trial in _trials(max(_MANY - 1, last_new_place(graph, values, _PLACES))):
            one, other = trial.one, trial.other
            for run in (one, other):
                if run.windows not in scores:
                    scores[run.windows] = graph(batch(run.windows))
            slack = rounding(probe.dtype, other_size=len(one.windows) != len(other.windows))
            if differ(scores[one.windows][one.place], scores[other.windows][other.place], slack):
                runs = [_values_of_window(graph, batch(b.windows), b.place, values) for b in (one, other)]
                raise _refusal(name, trial, _first_to_differ(runs, slack), values)


def _check_chance(one: Tensor, again: Tensor, name: str) -> None:
    if differ(one, again, rounding(one.dtype)):
        raise CaptureError(
            name,
            "gives the same window other scores each time: it draws random numbers",
            fix="give functional dropout and similar calls training=self.training, or training=False",
        )


class _Recorder(Interpreter):
    """Runs a graph and records every value."""

    def __init__(self, module: GraphModule) -> None:
        super().__init__(module, garbage_collect_values=False)
        self.values: dict[Node, Any] = {}

    def run_node(self, n: Node) -> Any:
        self.values[n] = super().run_node(n)
        return self.values[n]


def _values_of_window(
    graph: GraphModule, batch: Tensor, place: int, shapes: Mapping[Node, Any]
) -> dict[Node, list[Tensor]]:
    """The part of each node's tensors that belongs to the window at a place, or to no window."""
    recorder = _Recorder(graph)
    recorder.run(batch)
    found: dict[Node, list[Tensor]] = {}
    for node, value in recorder.values.items():
        pairs = zip(pytree.tree_leaves(value), pytree.tree_leaves(shapes[node]), strict=True)
        tensors = [(tensor, shape) for tensor, shape in pairs if isinstance(tensor, Tensor)]
        if all(len(window_dims(shape)) <= 1 for _, shape in tensors):
            found[node] = [_part(tensor, shape, place) for tensor, shape in tensors]
    return found


def _part(tensor: Tensor, shape: Tensor, place: int) -> Tensor:
    """One window's part of a tensor; ``shape`` has that for ``PROBE_BATCH`` windows."""
    for dim in window_dims(shape):
        block = shape.shape[dim] // PROBE_BATCH
        return tensor.narrow(dim, place * block, block)
    return tensor


def _first_to_differ(runs: Sequence[Mapping[Node, list[Tensor]]], slack: float) -> Node | None:
    """The first node whose result differs between two runs."""
    one, other = runs
    for node in one:
        if any(differ(x, y, slack) for x, y in zip(one[node], other.get(node, []), strict=False)):
            return node
    return None


def _refusal(name: str, trial: _Trial, node: Node | None, values: Mapping[Node, Any]) -> CaptureError:
    """The error for scores that depend on the batch through a node."""
    fix = _DIMENSION if len(trial.one.windows) == len(trial.other.windows) else _SIZE
    if node is None:
        return CaptureError(name, trial.wrong, fix=fix)
    path, op = node.meta.get("path", node.name), op_name(node)
    where = op if path == node.name else f"{path} ({op})"
    if "batch_norm" in op:
        fix = f"{where} takes mean and deviation of the batch: give it running statistics, and model.eval()"
    elif not any(has_windows(values[read]) for read in node.all_input_nodes):
        fix = _SIZE
    elif fix is _DIMENSION and not has_windows(values[node]):
        fix = _REDUCTION
    return CaptureError(name, f"{trial.wrong} at {where}", fix=fix)
