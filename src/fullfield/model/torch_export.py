"""Captures an ``nn.Module`` as a ``Model``, by ``torch.export``."""

from __future__ import annotations

import contextlib
import io
import itertools
import logging
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import nn

from fullfield.arguments import parse_pair
from fullfield.errors import CaptureError, first_line
from fullfield.model.batch_independence import check_batch_independence
from fullfield.model.functionalize import functionalise
from fullfield.model.model import Model
from fullfield.model.preprocessing import Preprocessing, from_timm, resolve
from fullfield.model.preserve_ops import PreserveOps

WindowSize = int | tuple[int, int]


def capture_module(
    module: nn.Module,
    *,
    window: WindowSize | None = None,
    channels: int | None = None,
    preprocessing: str | Preprocessing | None = None,
    class_names: tuple[str, ...] | list[str] | None = None,
    score: int | str | None = None,
    name: str | None = None,
) -> Model:
    """The model of a module: its graph at one window size, in evaluation mode, with a free batch size.

    The module is not changed, training flags included; the model shares its parameters.

    Args:
        module: maps ``(n, c, h, w)`` to ``(n, k)``, ``(n, k, 1, 1)``, or a tuple or dict that holds one of these.
        window: height and width of the window, px; by default that of timm's ``pretrained_cfg``.
        channels: input channels; by default those of the first convolution, or of timm's ``pretrained_cfg`` where
            the network rearranges its pixels before that.
        preprocessing: a preset's name or a value; by default that of timm's ``pretrained_cfg``, else ``none``.
        class_names: one name a score.
        score: index or key of the scores in a tuple or dict.
        name: for reports; by default the module's class name.

    Raises:
        CaptureError: the module cannot be exported, or does not return one score vector a window.
    """
    cfg = _timm_config(module)
    if window is None:
        size = cfg.get("input_size")
        if size is None:
            raise CaptureError("window", "is not given and the module does not state it", fix="pass window=224, say")
        window = (int(size[1]), int(size[2]))
    height, width = parse_window(window)
    wrapped = _Scores(module, score)
    graph, channels = _export_first(wrapped, [channels] if channels else _input_channels(module, cfg), (height, width))
    return checked_model(
        graph,
        window=(height, width),
        channels=channels,
        preprocessing=resolve(preprocessing, channels=channels, stated=from_timm(cfg)),
        class_names=tuple(class_names) if class_names is not None else _timm_names(cfg),
        name=name or type(module).__name__,
    )


def parse_window(window: WindowSize) -> tuple[int, int]:
    """Height and width, px.

    Raises:
        CaptureError: not one or two positive integers.
    """
    return parse_pair("window", window, fix="pass 224 or (224, 224)", error=CaptureError)


def checked_model(
    graph: torch.fx.GraphModule,
    *,
    window: tuple[int, int],
    channels: int,
    preprocessing: Preprocessing,
    class_names: tuple[str, ...] | None,
    name: str,
    check: Callable[[torch.fx.GraphModule, torch.Tensor, str], None] = check_batch_independence,
) -> Model:
    """Checks a graph of an importer and makes a ``Model`` of it.

    Args:
        graph, window, channels, preprocessing, class_names, name: as of ``Model``.
        check: raises if the windows of a batch affect one another; called with the graph, two windows and the name.

    Raises:
        CaptureError: the graph does not run at the window, does not return one score vector a window, or mixes windows.
    """
    dtype = next((t.dtype for t in graph.state_dict().values() if t.is_floating_point()), torch.float32)
    device = next((t.device for t in graph.state_dict().values()), torch.device("cpu"))
    probe = torch.zeros(2, channels, *window, dtype=dtype, device=device)
    try:
        with torch.no_grad():
            shape = tuple(graph(probe).shape)
    except Exception as error:
        raise CaptureError(
            name,
            f"does not run on windows of {window[0]}x{window[1]} px ({first_line(error)})",
            fix="give the window that the network was trained for",
        ) from error
    if len(shape) != 2 or shape[0] != 2:
        raise CaptureError(
            name,
            f"2 windows give an output of shape {shape}, not (2, K)",
            fix="load the part of the network that ends in one score vector a window",
        )
    check(graph, probe, name)
    if class_names is not None and len(class_names) != shape[1]:
        raise CaptureError(
            "class names", f"{len(class_names)} names for {shape[1]} scores", fix="give one name a score"
        )
    return Model(graph, window, channels, shape[1], preprocessing, class_names, name)


class _Scores(nn.Module):
    """A module that returns the chosen output of another, flattened to ``(n, k)``."""

    def __init__(self, module: nn.Module, score: int | str | None) -> None:
        super().__init__()
        self.module = module
        self.score = score

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        result: Any = self.module(x)
        if self.score is not None:
            result = result[self.score]
        if not isinstance(result, torch.Tensor):
            parts = list(result) if isinstance(result, (tuple, list, dict)) else type(result).__name__
            raise CaptureError(
                "scores",
                f"is not one tensor but {_summary(parts)}",
                fix="choose the output that holds the scores: score=0, or its key",
            )
        if result.dim() == 4 and result.shape[2:] == (1, 1):
            return result.flatten(1)
        return result


def _summary(parts: Any) -> str:
    if isinstance(parts, str):
        return parts
    return f"a collection of {len(parts)}: " + ", ".join(
        str(p) if isinstance(p, str) else type(p).__name__ for p in parts
    )


def _export(module: nn.Module, shape: tuple[int, int, int]) -> torch.fx.GraphModule:
    training = [(m, m.training) for m in module.modules()]
    tensor = next(
        (t for t in itertools.chain(module.parameters(), module.buffers()) if t.is_floating_point()), torch.zeros(0)
    )
    example = torch.zeros(2, *shape, dtype=tensor.dtype, device=tensor.device)
    try:
        module.eval()
        with torch.no_grad(), warnings.catch_warnings(), _quiet(), PreserveOps():
            warnings.simplefilter("ignore")
            program = torch.export.export(module, (example,), dynamic_shapes=({0: torch.export.Dim.DYNAMIC},))
            exported = _functional(program)
    except CaptureError:
        raise
    except Exception as error:
        raise CaptureError(
            type(getattr(module, "module", module)).__name__,
            f"cannot be exported: {first_line(error)}",
            fix="remove Python control flow that depends on the data or the batch, or export to ONNX and load that",
        ) from error
    finally:
        for part, flag in training:
            part.training = flag
    return _plain_graph(exported)


def _functional(program: torch.export.ExportedProgram) -> torch.fx.GraphModule:
    """The exported module with functional operators only."""
    exported = program.module(check_guards=False)
    assert isinstance(exported, torch.fx.GraphModule)
    _drop_checks(exported.graph)
    if functionalise(exported.graph):
        # an empty table decomposes few: in-place operators, views of their results, and operators that may be either
        exported = program.run_decompositions({}).module(check_guards=False)
        assert isinstance(exported, torch.fx.GraphModule)
        _drop_checks(exported.graph)
    exported.graph.eliminate_dead_code()  # such as the indices of maxima
    return exported


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Suppresses torch's output about a failed export; the error has the reason in one line."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with contextlib.redirect_stderr(io.StringIO()), contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        logging.disable(before)


def _drop_checks(graph: torch.fx.Graph) -> None:
    """Removes guards and unused weights."""
    for node in reversed(list(graph.nodes)):
        dead = node.op in ("get_attr", "call_module") or "assert" in str(node.target) or "_guards" in str(node.target)
        if dead and not node.users:
            graph.erase_node(node)


def _plain_graph(exported: torch.fx.GraphModule) -> torch.fx.GraphModule:
    """The exported module without hooks; every node has the path of its layer."""
    graph, root = exported.graph, getattr(exported, "module", exported)
    for node in graph.nodes:
        node.meta = {"path": _path(node)}
        if node.op == "get_attr":
            node.target = str(node.target).removeprefix("module.")
    output = graph.output_node()
    output.args = tuple(output.args[0]) if isinstance(output.args[0], (tuple, list)) else output.args
    graph.set_codegen(torch.fx.graph.CodeGen())
    plain = torch.fx.GraphModule(root, graph, "Network")
    plain.meta = {}
    return plain


def _path(node: torch.fx.Node) -> str:
    """The path of the innermost module of a node, without the wrapper's prefix; outside modules the node's name."""
    stack = [entry[0] for entry in node.meta.get("nn_module_stack", {}).values()]
    paths = [p.removeprefix("module").removeprefix(".") for p in stack if "hook" not in p]
    return next((p for p in reversed(paths) if p), node.name)


def _input_channels(module: nn.Module, cfg: dict[str, Any]) -> list[int]:
    """Numbers of input channels to try: the first convolution's, then timm's."""
    first = next((part.in_channels for part in module.modules() if isinstance(part, nn.Conv2d)), None)
    stated = cfg["input_size"][0] if "input_size" in cfg else None
    return list(dict.fromkeys(c for c in (first, stated) if c)) or [3]


def _export_first(module: nn.Module, channels: list[int], window: tuple[int, int]) -> tuple[torch.fx.GraphModule, int]:
    """The graph for the first number of channels with which the module can be exported."""
    for count in channels[:-1]:
        with contextlib.suppress(CaptureError):
            return _export(module, (count, *window)), count
    return _export(module, (channels[-1], *window)), channels[-1]


def _timm_config(module: nn.Module) -> dict[str, Any]:
    cfg = getattr(module, "pretrained_cfg", None)
    return dict(cfg) if isinstance(cfg, dict) else {}


def _timm_names(cfg: dict[str, Any]) -> tuple[str, ...] | None:
    names = cfg.get("label_names")
    return tuple(map(str, names)) if names else None
