"""Crops by the engines that users have: channels-last torch, ONNX Runtime, OpenVINO, and MONAI's sliding windows.

Every engine computes full batches of the size that is fastest for it, in the precision asked for and not a lower one,
with a fixed number of threads.
"""

from __future__ import annotations

import copy
import importlib.util
import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from benchmarks.turns import Entry, Spent, spent

Run = Callable[[NDArray[np.float32]], NDArray[np.floating]]  # windows (n, c, h, w) -> scores (n, k)
BATCHES = (1, 2, 4, 8, 16, 32, 64)
LEAST = 64  # windows of a turn
ENOUGH_S = 0.4  # a turn takes no less
_SPLIT = 16  # windows of a batch that MONAI cuts
WORSE = 1.05  # a batch that takes so much longer than the best one ends the search for larger ones
ENOUGH_TRIED_S = 4.0  # a batch whose tries take longer ends the search, where it and the one before it ...
GAIN = 0.02  # ... gained no more than this


@dataclass(frozen=True)
class Network:
    """A network as its users hold it.

    Args:
        name: of the network.
        module: in evaluation mode.
        window: its height and width, px.
        path: of its ONNX file, whose batch is free.
        convolutional: of the ONNX file of its fully convolutional form; ``None`` if there is none.
    """

    name: str
    module: nn.Module
    window: int
    path: Path
    convolutional: Path | None = None


def run_torch(network: Network, precision: str, batch: int, threads: int) -> Run:
    del batch
    dtype = torch.bfloat16 if precision == "bfloat16" else torch.float32
    module = copy.deepcopy(network.module).to(dtype=dtype, memory_format=torch.channels_last)

    def run(windows: NDArray[np.float32]) -> NDArray[np.floating]:
        torch.set_num_threads(threads)
        with torch.inference_mode():
            x = torch.from_numpy(windows).to(dtype=dtype, memory_format=torch.channels_last)
            scores: NDArray[np.floating] = module(x).float().numpy()
        return scores

    return run


def run_onnxruntime(network: Network, precision: str, batch: int, threads: int) -> Run:
    import onnxruntime

    assert precision == "float32"
    return onnxruntime_file(onnxruntime, network.path, batch, threads)


def onnxruntime_file(onnxruntime: Any, path: Path, batch: int, threads: int, size: int | None = None) -> Run:
    """Runs a file on inputs of one shape: ``batch`` of them, images of ``size`` px if that is free."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = 3
    for name, value in zip(_free_sizes(path), (batch, size, size), strict=False):
        options.add_free_dimension_override_by_name(name, value)
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda windows: session.run(None, {name: windows})[0]  # type: ignore[no-any-return]


def _free_sizes(path: Path) -> list[str]:
    """Names of the free sizes of a file's input: the batch, and the image's height and width if they are free."""
    import onnx

    shape = onnx.load(path, load_external_data=False).graph.input[0].type.tensor_type.shape
    return [size.dim_param for size in shape.dim if size.dim_param]


def run_openvino(network: Network, precision: str, batch: int, threads: int) -> Run:
    shape = (batch, 3, network.window, network.window)
    return openvino_file(network.path, precision, shape, threads)


def openvino_file(path: Path, precision: str, shape: tuple[int, ...], threads: int) -> Run:
    """Runs a file on inputs of one shape."""
    import openvino

    core = openvino.Core()
    model = core.read_model(path)
    model.reshape(shape)
    settings = {
        "INFERENCE_PRECISION_HINT": {"float32": "f32", "bfloat16": "bf16"}[precision],
        "NUM_STREAMS": "1",
        "INFERENCE_NUM_THREADS": str(threads),
    }
    compiled = core.compile_model(model, "CPU", settings)
    return lambda windows: compiled(windows, share_inputs=True)[0]


def run_monai(network: Network, precision: str, batch: int, threads: int) -> Run:
    """MONAI's splitter on an image of as many windows, by channels-last torch.

    Shape: image ``(1, c, y, x)`` -> ``(n, k)``
    """
    from monai.inferers import SlidingWindowSplitter

    run = run_torch(network, precision, batch, threads)
    size = network.window
    splitter = SlidingWindowSplitter((size, size), overlap=size - _step(size), pad_mode=None)

    def windows(image: NDArray[np.float32]) -> NDArray[np.floating]:
        parts = (window for window, _ in splitter(torch.from_numpy(image)))
        found = [run(torch.cat(some).numpy()) for some in _batched(parts, batch)]
        return np.concatenate(found)

    return windows


def _batched(parts: Iterator[Any], batch: int) -> Iterator[list[Any]]:
    while some := list(itertools.islice(parts, batch)):
        yield some


def _settled(rates: Sequence[float]) -> bool:
    """Whether the two last batches gained next to nothing over those before them."""
    return len(rates) > 2 and min(rates[-2:]) > (1 - GAIN) * min(rates[:-2])


def _step(size: int) -> int:
    return max(1, size // 7)


@dataclass
class Crops:
    """Crops by one engine, in the batch that is fastest.

    Args:
        entry: what is measured; its windows are set when the batch is known.
        network: the network.
        make: gives the engine's run for a batch.
        image: pixels ``(c, y, x)`` that windows are cut from.
        expected: scores of the first ``LEAST`` windows, by torch in float32.
    """

    entry: Entry
    network: Network
    make: Callable[[Network, str, int, int], Run]
    image: NDArray[np.float32]
    expected: NDArray[np.floating] | None = None
    batch: int = 0
    distance: float = 0.0
    run: Run = field(init=False)

    def begin(self) -> Spent:
        """Finds the best batch, leaves what that takes out, and begins once more with it."""
        self.batch, seconds = self._best()
        turns = max(1, round(ENOUGH_S / (seconds * LEAST)))
        self.entry = replace(self.entry, windows=LEAST * turns)
        first, self.run = spent(self._made(self.batch))
        if self.expected is not None:
            found = np.concatenate([self.run(some) for some in self._batches(LEAST, self.batch)])
            self.distance = float(np.abs(found - self.expected).max() / np.ptp(self.expected))
            limit = 1e-3 if self.entry.precision == "float32" else 0.2
            assert self.distance < limit, f"{self.entry.engine} computes other scores: {self.distance:.1e} apart"
        return first + self.turn()

    def turn(self) -> Spent:
        return spent(self._turn)[0]

    @property
    def remark(self) -> str:
        apart = "" if self.expected is None else f", {self.distance:.0e} from torch"
        return f"batch {self.batch}{apart}"

    def scores(self, count: int) -> NDArray[np.floating]:
        """Scores ``(count, k)`` of the first windows, by torch in float32."""
        run = run_torch(self.network, "float32", LEAST, self.entry.threads)
        return run(next(self._batches(count, count)))

    def _turn(self) -> None:
        for windows in self._batches(self.entry.windows, self.batch):
            self.run(windows)

    def _made(self, batch: int) -> Callable[[], Run]:
        return lambda: self.make(self.network, self.entry.precision, batch, self.entry.threads)

    def _best(self) -> tuple[int, float]:
        """The fastest batch, and its seconds a window."""
        rates: dict[int, float] = {}
        for batch in BATCHES:
            run = self._made(batch)()
            windows = next(self._batches(batch, batch))
            call = partial(run, windows)
            tries = [spent(call)[0].cpu_s for _ in range(2)]
            while len(tries) < max(3, 16 // batch) and sum(tries) < ENOUGH_TRIED_S:
                tries.append(spent(call)[0].cpu_s)
            rates[batch] = min(tries[1:]) / batch
            slow = sum(tries) > ENOUGH_TRIED_S
            if rates[batch] > WORSE * min(rates.values()) or (slow and _settled(list(rates.values()))):
                break
        best = min(rates, key=lambda b: rates[b])
        return best, rates[best]

    def _batches(self, count: int, batch: int) -> Iterator[NDArray[np.float32]]:
        """Windows cut from the image, ``count`` of them in batches."""
        size = self.network.window
        side = (self.image.shape[1] - size) // 8 + 1
        for start in range(0, count, batch):
            places = (divmod(k % side**2, side) for k in range(start, start + batch))
            yield np.stack([self.image[:, 8 * i : 8 * i + size, 8 * j : 8 * j + size] for i, j in places])


@dataclass
class SplitByMonai(Crops):
    """Crops that MONAI cuts from one image of ``LEAST`` windows."""

    def _batches(self, count: int, batch: int) -> Iterator[NDArray[np.float32]]:
        size = self.network.window
        side = size + (round(LEAST**0.5) - 1) * _step(size)
        for _ in range(max(1, count // LEAST)):
            yield self.image[None, :, :side, :side]

    def _best(self) -> tuple[int, float]:
        run = self._made(_SPLIT)()
        return _SPLIT, spent(lambda: run(next(self._batches(LEAST, LEAST))))[0].cpu_s / LEAST


@dataclass
class WholeImage:
    """The fully convolutional form of the network on the whole image at once: what the engine itself takes."""

    entry: Entry
    network: Network
    module: nn.Module
    image: NDArray[np.float32]
    run: Run = field(init=False)
    remark: str = "one call"

    def begin(self) -> Spent:
        first, self.run = spent(self._made)
        return first + self.turn()

    def turn(self) -> Spent:
        return spent(lambda: self.run(self.image[None]))[0]

    def _made(self) -> Run:
        entry, path = self.entry, self.network.convolutional
        if entry.engine == "torch":
            return run_torch(replace(self.network, module=self.module), entry.precision, 1, entry.threads)
        assert path is not None
        if entry.engine == "onnxruntime":
            import onnxruntime

            return onnxruntime_file(onnxruntime, path, 1, entry.threads, entry.image)
        return openvino_file(path, entry.precision, (1, 3, entry.image, entry.image), entry.threads)


RUNS: dict[tuple[str, str], Callable[[Network, str, int, int], Run]] = {
    ("torch", "float32"): run_torch,
    ("onnxruntime", "float32"): run_onnxruntime,
    ("openvino", "float32"): run_openvino,
    ("torch", "bfloat16"): run_torch,
    ("openvino", "bfloat16"): run_openvino,
}


def installed(package: str) -> bool:
    return importlib.util.find_spec(package) is not None
