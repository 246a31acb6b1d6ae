"""Compiles and runs tiles' programs in ONNX Runtime, on CPUs."""

from __future__ import annotations

import functools
from collections.abc import Callable, Hashable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.fx import GraphModule

from fullfield.canonical.form import Canonical
from fullfield.engine.engines.chain import Run, UncompiledPart
from fullfield.engine.engines.emission.table import write
from fullfield.engine.engines.onnxruntime.writer import OnnxWriter
from fullfield.engine.engines.packages import import_engine
from fullfield.engine.engines.tiles import ChainedTiles
from fullfield.engine.protocols import Program
from fullfield.errors import FullfieldError, UnsupportedError, first_line
from fullfield.geometry.tile import TileLayout
from fullfield.planning import Plan

_ERRORS_ONLY = 3


@functools.cache
def onnxruntime() -> Any:
    """The package, which reports nothing.

    Raises:
        UnsupportedError: it is not installed, or does not import.
    """
    package = import_engine("onnxruntime")
    package.disable_telemetry_events()  # Windows alone has them
    return package


class OnnxRuntimeEngine:
    """Runs the programs of a network's tiles in ONNX Runtime.

    Args:
        net: the network in canonical form, in float32 on a CPU.
        threads: to compute with; as many as torch uses by default.
        precision: ``float32``, the only type that its operators for CPUs compute in.

    Raises:
        UnsupportedError: ONNX Runtime is not installed, another precision, or a network of another type or on another
            device.
    """

    name = "onnxruntime"

    def __init__(self, net: Canonical, *, threads: int | None = None, precision: str | None = None) -> None:
        self.version: str = onnxruntime().__version__
        if precision not in (None, "float32"):
            fix = 'use engine="openvino" or "torch", or precision="float32"'
            raise UnsupportedError("precision", f"ONNX Runtime does not compute in {precision} on CPUs", fix=fix)
        threads = threads or torch.get_num_threads()
        run = partial(compile_part, threads=threads)
        self.tiles = ChainedTiles(net, self.name, key=threads, compile_part=run)

    def layout(self, kind: Hashable, make: Callable[[], TileLayout]) -> TileLayout:
        """The layout of a kind of tile: that of its program, if there is one; else what ``make`` returns."""
        return self.tiles.layout(kind, make)

    def compile(self, plan: Plan, layout: TileLayout) -> Program:
        """The program of tiles with this layout.

        Raises:
            FullfieldError: ONNX Runtime cannot compile it.
        """
        return self.tiles.compile(plan, layout)

    def compile_graph(self, graph: GraphModule, shape: tuple[int, ...]) -> GraphModule:
        """A graph of canonical operators as its programs run it, for an input of a shape."""
        return self.tiles.compile_graph(graph, shape)


def compile_part(source: UncompiledPart, threads: int) -> Run:
    """ONNX Runtime's program of a part.

    Raises:
        FullfieldError: it does not compile.
    """
    writer = OnnxWriter()
    write(source.part, source.values, source.constants, writer)
    package = onnxruntime()
    held = {name: package.OrtValue.ortvalue_from_numpy(tensor.numpy()) for name, tensor in writer.held.items()}
    options = _options(threads)
    options.add_external_initializers(list(held), list(held.values()))
    try:
        session = package.InferenceSession(writer.model(), options, providers=["CPUExecutionProvider"])
    except (RuntimeError, MemoryError) as error:
        fix = "use a smaller tile or budget, or another engine"
        what = f"cannot compile a tile's program ({first_line(error)})"
        raise FullfieldError("onnxruntime", what, fix=fix) from error
    return Session(session, writer.held).run


def _options(threads: int) -> Any:
    """How sessions compute: no memory is kept between tiles, and no thread waits for the next part by spinning.

    Values take memory of the heap one by one: all in one piece would get fresh pages of the system in every call.
    """
    options = onnxruntime().SessionOptions()
    options.enable_cpu_mem_arena = False
    options.enable_mem_pattern = False
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = _ERRORS_ONLY
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return options


class Session:
    """Runs a compiled program, also in several threads at once.

    Args:
        session: the program.
        held: tensors whose memory it reads.
    """

    def __init__(self, session: Any, held: Mapping[str, Tensor]) -> None:
        self.session, self.held = session, tuple(held.values())
        self.inputs = [port.name for port in session.get_inputs()]
        self.outputs = [port.name for port in session.get_outputs()]

    def run(self, inputs: Sequence[Tensor], outputs: Sequence[Tensor]) -> None:
        """Computes the outputs, in their memory."""
        binding = self.session.io_binding()
        for bind, names, tensors in (
            (binding.bind_input, self.inputs, inputs),
            (binding.bind_output, self.outputs, outputs),
        ):
            for name, tensor in zip(names, tensors, strict=True):
                array = tensor.numpy()
                bind(name, "cpu", 0, array.dtype, list(array.shape), array.ctypes.data)
        self.session.run_with_iobinding(binding)
