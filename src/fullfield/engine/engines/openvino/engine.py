"""Compiles and runs tiles' programs in OpenVINO, on CPUs."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.fx import GraphModule

from fullfield.canonical.form import Canonical
from fullfield.engine.engines.blobs import Blobs, Signature
from fullfield.engine.engines.chain import Run, UncompiledPart
from fullfield.engine.engines.emission.table import write
from fullfield.engine.engines.openvino.package import core, cpu_facts, openvino
from fullfield.engine.engines.openvino.writer import OpenVinoWriter
from fullfield.engine.engines.tiles import ChainedTiles
from fullfield.engine.protocols import Program
from fullfield.errors import FullfieldError, UnsupportedError, first_line
from fullfield.geometry.tile import TileLayout
from fullfield.planning import Plan

_CAPABILITIES = {"float32": "FP32", "bfloat16": "BF16", "float16": "FP16"}
_HINTS = {"float32": "f32", "bfloat16": "bf16", "float16": "f16"}
# Time to compile a program over that to read its weights for the key, from which on it is kept. ResNet-18's per-window
# program took 3 to 4: kept, it is read in the time that compiling takes, and keeping it takes three times as long.
# MobileNetV2's took 8 to 15, and is read in half the time; those of shared layers 100 and more.
_WORTH_KEEPING = 5


class OpenVinoEngine:
    """Runs the programs of a network's tiles in OpenVINO.

    Args:
        net: the network in canonical form, in float32 on a CPU.
        threads: to compute with; as many as torch uses by default.
        precision: type that convolutions and products compute in: ``float32`` by default.

    Raises:
        UnsupportedError: OpenVINO is not installed, the CPU lacks the precision, or the network is of another type or
            on another device.
    """

    name = "openvino"

    def __init__(self, net: Canonical, *, threads: int | None = None, precision: str | None = None) -> None:
        self.version: str = openvino().__version__
        threads = threads or torch.get_num_threads()
        settings = {
            "INFERENCE_PRECISION_HINT": _hint(precision or "float32"),  # it would lower the precision by itself
            "INFERENCE_NUM_THREADS": threads,
            "NUM_STREAMS": 1,
            "ENABLE_CPU_PINNING": False,  # every process would bind its first thread to the first core
        }
        key = tuple(settings.items())
        run = partial(compile_part, settings=settings)
        self.tiles = ChainedTiles(net, self.name, key=key, compile_part=run)

    def layout(self, kind: Hashable, make: Callable[[], TileLayout]) -> TileLayout:
        """The layout of a kind of tile: that of its program, if there is one; else what ``make`` returns."""
        return self.tiles.layout(kind, make)

    def compile(self, plan: Plan, layout: TileLayout) -> Program:
        """The program of tiles with this layout.

        Raises:
            FullfieldError: OpenVINO cannot compile it.
        """
        return self.tiles.compile(plan, layout)

    def compile_graph(self, graph: GraphModule, shape: tuple[int, ...]) -> GraphModule:
        """A graph of canonical operators as its programs run it, for an input of a shape."""
        return self.tiles.compile_graph(graph, shape)


def _hint(precision: str) -> str:
    """OpenVINO's name of a type that the CPU has."""
    if precision not in _HINTS or _CAPABILITIES[precision] not in cpu_facts()[1]:
        fix = 'use precision="float32" (--precision float32)'
        raise UnsupportedError("precision", f"OpenVINO does not compute in {precision} on this CPU", fix=fix)
    return _HINTS[precision]


def compile_part(source: UncompiledPart, settings: Mapping[str, Any]) -> Run:
    """OpenVINO's program of a part: the one kept, or a new one, which is kept if compiling took long.

    Raises:
        FullfieldError: it does not compile.
    """
    blobs, signature = Blobs("openvino"), _signature(source, settings)
    key = signature.key()
    if (blob := blobs.read(key)) is not None:
        try:
            return Request(
                core().import_model(openvino().Tensor(blob, shared_memory=True), "CPU", settings), [blob]
            ).run
        except (RuntimeError, MemoryError) as error:
            blobs.drop(key, _reason(error))
    writer = OpenVinoWriter()
    write(source.part, source.values, source.constants, writer)
    try:
        started = time.process_time()
        compiled = core().compile_model(writer.model(), "CPU", settings)
        compile_s = time.process_time() - started
        if blobs.folder is not None and compile_s > _WORTH_KEEPING * signature.read_s:
            blobs.write(key, compiled.export_model().getbuffer())
        return Request(compiled, writer.held).run
    except (RuntimeError, MemoryError) as error:
        fix = "use a smaller tile or budget, or another engine"
        raise FullfieldError("openvino", f"cannot compile a tile's program ({_reason(error)})", fix=fix) from error


def _reason(error: BaseException) -> str:
    """The first line of an error's text that says more than where in OpenVINO it was raised."""
    lines = [line for line in str(error).splitlines() if line.strip() and not line.startswith("Exception from")]
    return first_line(RuntimeError("\n".join(lines)))


def _signature(source: UncompiledPart, settings: Mapping[str, Any]) -> Signature:
    """What a part's program depends on: parts whose signatures have equal keys compile to equal programs."""
    signature = Signature("openvino", openvino().__version__, cpu_facts(), sorted(settings.items()))
    write(source.part, source.values, source.constants, signature)
    return signature


class Request:
    """Runs a compiled program; one thread at a time.

    Args:
        compiled: the program.
        held: memory that it reads.
    """

    def __init__(self, compiled: Any, held: Sequence[Tensor | NDArray[np.uint8]]) -> None:
        self.lock, self.held = threading.Lock(), tuple(held)
        self.request = compiled.create_infer_request()
        self.inputs, self.outputs = compiled.inputs, compiled.outputs

    def run(self, inputs: Sequence[Tensor], outputs: Sequence[Tensor]) -> None:
        """Computes the outputs, in their memory."""
        with self.lock:
            for ports, tensors in ((self.inputs, inputs), (self.outputs, outputs)):
                for port, tensor in zip(ports, tensors, strict=True):
                    shared = openvino().Tensor(tensor.numpy(), shared_memory=True)
                    self.request.set_tensor(port, shared)
            self.request.infer()
