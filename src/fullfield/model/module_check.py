"""Compares a captured graph with the module that it was captured from, which Python code may let differ."""

from __future__ import annotations

import contextlib
from collections import OrderedDict, defaultdict
from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.fx import GraphModule

from fullfield.errors import CaptureError
from fullfield.model.batch_trials import differ, noise, rounding
from fullfield.model.cuda_arithmetic import cuda_arithmetic
from fullfield.model.quiet import quiet

_COLLECTIONS = (dict, list, set, OrderedDict, defaultdict)


@contextlib.contextmanager
def unchanged(module: nn.Module) -> Iterator[None]:
    """Puts back the module's training flags, attributes, what these collect, and buffers after runs of it."""
    parts = [(part, dict(vars(part))) for part in module.modules()]
    held = [(each, each.copy()) for _, found in parts for each in found.values() if type(each) in _COLLECTIONS]
    saved = [(buffer, buffer.clone()) for buffer in module.buffers()]
    try:
        yield
    finally:
        for part, attributes in parts:
            vars(part).clear()
            vars(part).update(attributes)
        for collection, before in held:
            collection.clear()
            (collection.extend if isinstance(collection, list) else collection.update)(before)
        with torch.no_grad():
            for buffer, before in saved:
                if buffer.device.type != "meta" and not torch.equal(buffer, before):
                    buffer.copy_(before)


def check_against_module(module: nn.Module, graph: GraphModule, probe: Tensor, name: str) -> None:
    """Raises if the graph gives a window other scores than the module gives it alone.

    That finds what a graph does not show: a state in Python numbers, random numbers of other libraries, code that
    depends on the number of windows.

    Args:
        module: with the graph's scores as its result; it is not changed.
        graph: captured from it.
        probe: two windows of the size, type and device that it takes.
        name: of the network, for the error.

    Raises:
        CaptureError: it does.
    """
    if probe.device.type == "meta":
        return
    windows, slack = noise(graph, probe, 2), rounding(probe.dtype)
    with unchanged(module), torch.no_grad(), quiet(), cuda_arithmetic(probe.device):
        module.eval()
        for count in (1, 2):  # some modules run on batches only
            scores = _scores(module, windows[:count])
            if scores is not None:
                break
        else:
            return
        again = _scores(module, windows[:count])
        if again is None or differ(scores, again, slack):
            raise CaptureError(
                name,
                "gives the same window other scores each time: it keeps a state between calls or draws random numbers",
                fix="leave states as they are in evaluation mode, and draw no numbers there: if self.training: ...",
            )
        if differ(scores, graph(windows[:count]), slack):
            raise _refusal(name, scores, _scores(module, windows), slack)


def _scores(module: nn.Module, windows: Tensor) -> Tensor | None:
    """The module's scores ``(n, k)``; ``None`` where it does not run on so many windows."""
    try:
        result = module(windows)
    except Exception:  # noqa: BLE001  the module's own code may raise anything
        return None
    return result.reshape(len(windows), -1) if isinstance(result, Tensor) else None


def _refusal(name: str, scores: Tensor, pair: Tensor | None, slack: float) -> CaptureError:
    """The error for a module whose graph gives other scores."""
    if len(scores) == 1 and (pair is None or differ(scores[0], pair[0], slack)):
        return CaptureError(
            name,
            "gives a window other scores in a batch of two than alone",
            fix="remove Python code that depends on the number of windows, x.shape[0]",
        )
    return CaptureError(
        name,
        "gives other scores than the graph that torch.export makes of it",
        fix="remove Python code that depends on numbers in tensors, or on what earlier calls left",
    )
