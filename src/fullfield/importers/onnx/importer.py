"""Loads an ONNX file as a ``Model``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch

from fullfield.errors import CaptureError, first_line
from fullfield.importers.limits import LayerRefused, broken
from fullfield.importers.onnx.allowance import Allowance
from fullfield.importers.onnx.builder import AtenBuilder
from fullfield.importers.onnx.functions import most_nodes
from fullfield.importers.onnx.graph_mapping import GraphMapping, Reading
from fullfield.importers.onnx.interface import ImageInput, find_input
from fullfield.importers.onnx.metadata import Metadata, metadata
from fullfield.importers.onnx.reader import CAP_BYTES, ReadModel, opset, read_model
from fullfield.importers.onnx.values import OnnxValue, Traced
from fullfield.model.batch_independence import check_batch_independence
from fullfield.model.by_window import for_each_window
from fullfield.model.fake_quantisation import READ_AS_FLOATS
from fullfield.model.features import parse_score, vector_rule
from fullfield.model.given_preprocessing import PreprocessingLike, resolve
from fullfield.model.model import Model
from fullfield.model.torch_export import WindowSize, checked_model, parse_window

aten = torch.ops.aten

_GIVE_WINDOW = "pass the size that the network was trained for: window=224, --window 224, or HEIGHTxWIDTH"
_FOR_ONE = "the file declares any, but its shapes are for one window"


def load_onnx(
    path: Path,
    *,
    window: WindowSize | None = None,
    preprocessing: PreprocessingLike | None = None,
    class_names: tuple[str, ...] | list[str] | None = None,
    score: int | str | None = None,
    name: str | None = None,
    cap_bytes: int = CAP_BYTES,
) -> Model:
    """The model in an ONNX file; a fixed batch size is made free.

    Args:
        window: height and width, px; by default that of fullfield's metadata or of the file's input.
        score: index or name of an output, or the name of any value, node or layer.
        cap_bytes: the most bytes of the file, and of all its weights together.

    Raises:
        CaptureError: the file is damaged, too large, has unknown operators, or does not score windows.
    """
    read = read_model(path, parse_score(score), cap_bytes=cap_bytes)
    model = read.proto
    stated = metadata(model, path)
    entry = find_input(model.graph, path, None if window is None else parse_window(window))
    of_signals = entry.axes is not None or stated.of_signals
    given = (1, window) if of_signals and isinstance(window, int) else window
    size = parse_window(given if given is not None else _own_window(stated, entry, path))
    if of_signals and size[0] != 1:
        what = f"takes signals, and the window is {size[0]}x{size[1]} px"
        raise CaptureError(str(path), what, fix=f"give its samples: window={size[1]}, or --window {size[1]}")
    fix = _other_window(stated, entry, size)

    def checked(network: _Network) -> Model:
        names = None if network.features else stated.names_of(network.classes, read.chosen.labels)
        return checked_model(
            network.graph,
            window=size,
            channels=entry.channels,
            preprocessing=resolve(
                preprocessing, channels=entry.channels, stated=stated.preprocessing or entry.preprocessing
            ),
            class_names=names if class_names is None else tuple(class_names),
            name=name or (stated.name or path.stem) + (f" ({READ_AS_FLOATS})" if read.quantised else ""),
            features=network.features or stated.features,
            of_signals=of_signals,
            check=partial(_check_independence, path) if network.freed else check_batch_independence,
        )

    loaded = _of_any_batch(read, path, entry, size, fix=fix, checked=checked)
    return replace(loaded, resize=stated.resize, standardise=stated.standardise)


@dataclass(frozen=True)
class _Network:
    """A file's network.

    Args:
        classes: numbers that it gives for a window.
        features: what these are, where they are no scores of classes.
        freed: whether the file has a fixed batch, which was made free.
    """

    graph: torch.fx.GraphModule
    classes: int
    features: str
    freed: bool


def _own_window(stated: Metadata, entry: ImageInput, path: Path) -> tuple[int, int]:
    if stated.window is not None and (stated.is_own or None in (entry.height, entry.width)):
        return stated.window
    if entry.height is None or entry.width is None:
        raise CaptureError(str(path), "does not state its window: its size is free", fix=_GIVE_WINDOW)
    return entry.height, entry.width


def _other_window(stated: Metadata, entry: ImageInput, window: tuple[int, int]) -> str:
    """What to do about a network that does not run at a window."""
    own = stated.window or (entry.height, entry.width)
    if None in own or own == window:
        return "check the window; else export the network again, or in another opset"
    sides = ("{}x{}" if own[0] != own[1] else "{}").format(*own)
    return f"leave the window out, or resize windows to the file's: resize=({own[0]}, {own[1]}), --resize {sides}"


def _of_any_batch(
    read: ReadModel,
    path: Path,
    entry: ImageInput,
    window: tuple[int, int],
    *,
    fix: str,
    checked: Callable[[_Network], Model],
) -> Model:
    """The model of a file, whose batch is made free node by node, or else by running it once for each window.

    A file whose shapes are for a single window, whatever it declares, is one of a batch of one.

    Raises:
        CaptureError: as for ``load_onnx``.
    """

    def of_batch(entry: ImageInput) -> Model:
        def of_each_window() -> Model | None:
            network = _each_window(read, path, entry, window, fix=fix)
            return None if network is None else checked(network)

        return _or_else(lambda: checked(_network(read, path, entry, window, fix=fix)), of_each_window)

    def of_one_window() -> Model | None:
        if entry.batch is not None or not _is_for_one_window(read, path, entry, window):
            return None
        found = of_batch(replace(entry, batch=1))
        return replace(found, about=(*found.about, ("batch", _FOR_ONE)))

    return _or_else(lambda: of_batch(entry), of_one_window)


def _or_else(first: Callable[[], Model], second: Callable[[], Model | None]) -> Model:
    """The first model, or the second where that one is refused.

    Raises:
        CaptureError: the first one's, where the second is refused too, or is none.
    """
    try:
        return first()
    except CaptureError as error:
        try:
            found = second()
        except CaptureError:
            raise error from None
        if found is None:
            raise
        return found


def _is_for_one_window(read: ReadModel, path: Path, entry: ImageInput, window: tuple[int, int]) -> bool:
    """Whether a network's shapes fit one window and not two, as where an optimiser folded them for one."""
    try:
        _network(read, path, replace(entry, batch=1), window, fix="", kept=True)
    except CaptureError:
        return False
    try:
        _network(read, path, replace(entry, batch=2), window, fix="", kept=True)
    except CaptureError:
        return True
    return False


def _each_window(
    read: ReadModel, path: Path, entry: ImageInput, window: tuple[int, int], *, fix: str
) -> _Network | None:
    """The network of a file with a fixed batch, run once for each window; ``None`` where that does not help."""
    if entry.batch is None or read.chosen.layer is not None:
        return None
    try:
        network = _network(read, path, entry, window, fix=fix, kept=True)
        graph = for_each_window(network.graph, entry.batch, (entry.channels, *window), str(path))
    except CaptureError:
        return None
    return replace(network, graph=graph)


def _network(
    read: ReadModel, path: Path, entry: ImageInput, window: tuple[int, int], *, fix: str, kept: bool = False
) -> _Network:
    """The graph of the file's nodes, up to the scores; of the file's batch alone where that is kept."""
    b = _builder(read, path, entry, window, kept=kept)
    inputs = {entry.name: _first_value(b, entry)}
    left = max(len(read.proto.graph.node), most_nodes(read.proto))
    reading = Reading(b, opset(read.proto), path, nodes_left=left, fix=fix)
    (score,) = GraphMapping(read.proto.graph, reading, inputs).run()
    if not isinstance(score, Traced):
        raise broken(path, f"output {read.chosen.name!r} does not depend on the input")
    b.path = "output"
    scores, features = _flat(b, score, read, path, None if entry.axes else window)
    b.graph.output(scores.node).meta = {"path": "output"}
    b.graph.eliminate_dead_code()
    b.graph.lint()
    classes = scores.shapes[0][-1] if scores.shapes[0] else 0
    return _Network(torch.fx.GraphModule(b.root, b.graph, "Network"), classes, features, b.freed)


def _builder(read: ReadModel, path: Path, entry: ImageInput, window: tuple[int, int], *, kept: bool) -> AtenBuilder:
    """An empty graph with an input of this window."""
    shape, allowance = (entry.channels, *window), Allowance(read.file_bytes)
    try:
        allowance.check(shape, entry.dtype)
    except LayerRefused as refusal:
        raise broken(path, f"its input {entry.name!r} {refusal}") from refusal
    batch, frozen = entry.batch or 1, entry.batch is not None
    return AtenBuilder(shape, entry.dtype, batch=batch, frozen=frozen, allowance=allowance, kept=kept)


def _first_value(b: AtenBuilder, entry: ImageInput) -> OnnxValue:
    """The input in the file's order of axes: ``(n, h, w, c)``, ``(n, h, w)`` or a signal's."""
    if entry.axes is not None:
        b.path = entry.name
        signal = b.call(aten.squeeze.dims, b.input, [1, 2] if entry.axes == "nt" else [2])
        return b.call(aten.permute.default, signal, [0, 2, 1]) if entry.axes == "ntc" else signal
    if not entry.channels_last and not entry.without_band and not entry.flat:
        return b.input
    b.path = entry.name
    if entry.flat:
        return b.call(aten.flatten.using_ints, b.input, 1)
    if entry.without_band:
        return b.call(aten.squeeze.dims, b.input, [1])
    return b.call(aten.permute.default, b.input, [0, 2, 3, 1])


def _flat(
    b: AtenBuilder, score: Traced, read: ReadModel, path: Path, window: tuple[int, int] | None
) -> tuple[Traced, str]:
    """Scores ``(n,)`` and ``(n, k, 1, 1)``, in any order of axes, as ``(n, k)``; chosen maps and tokens pooled.

    Also what the numbers are, where they are no scores of classes.
    """
    (low, high), layer = score.shapes, read.chosen.layer
    if not low or low[1:] != high[1:] or low[0] == high[0]:
        return score, ""
    if not read.choice.is_given and sum(size != 1 for size in low[1:]) > 1:
        return score, ""
    where, features = str(path) if layer is None else f"{path}: {layer}", ""
    rule = vector_rule(low[1:], read.choice.pooling, window, where)
    if layer is not None or rule.text:
        features = ", ".join(filter(None, (layer or f"output {read.chosen.name}", rule.text)))
    value: OnnxValue = score
    for target, arguments in rule.calls:
        value = b.call(target, value, *arguments)
    assert isinstance(value, Traced)
    return value, features


def _check_independence(path: Path, graph: torch.fx.GraphModule, probe: torch.Tensor, _: str) -> None:
    """Refuses a graph with a freed batch in which the windows of a batch affect one another.

    Raises:
        CaptureError: the scores of three windows together differ from those of each alone.
    """
    noise = torch.Generator().manual_seed(0)
    windows = torch.rand(3, *probe.shape[1:], generator=noise, dtype=torch.float64).to(probe)
    with torch.no_grad():
        try:
            together = graph(windows).double()
            alone = torch.stack([graph(w[None])[0] for w in windows]).double()
        except Exception as error:  # any failure means that the batch is not free
            raise _frozen(path, first_line(error)) from error
    slack = 64 * torch.finfo(probe.dtype).eps ** 0.75 * max(1.0, float(alone.abs().nan_to_num(0, 0, 0).max()))
    if together.shape != alone.shape:
        raise _frozen(path, f"three windows give {tuple(together.shape)} scores, each alone {tuple(alone.shape[1:])}")
    if not torch.allclose(together, alone, rtol=0, atol=slack, equal_nan=True):
        difference = float((together - alone).abs().max())
        raise _frozen(path, f"scores of windows together and alone differ by {difference:.3g}")


def _frozen(path: Path, why: str) -> CaptureError:
    return CaptureError(
        str(path), f"has a fixed batch size, which cannot be made free: {why}", fix="export it with a free batch"
    )
