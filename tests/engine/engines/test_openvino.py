"""OpenVINO: its settings, its memory, and what is said where it cannot run."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from fullfield.canonical.form import Canonical
from fullfield.engine.engines.chain import EnginePart
from fullfield.engine.engines.openvino import engine, package
from fullfield.engine.engines.openvino.engine import OpenVinoEngine, Request
from fullfield.engine.engines.openvino.writer import OpenVinoWriter
from fullfield.errors import FullfieldError, UnsupportedError
from tests.engine.engines.scans import EngineScan, in_float32
from tests.oracle import Scan, captured, crops, difference

pytest.importorskip("openvino")


class Residual(nn.Module):
    """A sum that reads its own input again, and a hidden layer."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.body, self.head = nn.Conv2d(3, 8, 3, 2), nn.Conv2d(8, 8, 3, 1, 1), nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.stem(x))
        x = torch.relu(self.body(x) + x)
        scores: Tensor = self.head((self.body(x) + x).mean((2, 3)))
        return scores


@pytest.fixture(scope="module")
def scan() -> Scan:
    return Scan(captured(Residual(), 24))


@pytest.fixture
def net(scan: Scan) -> Canonical:
    return in_float32(scan.canonical)


def program_of(scan: Scan, engine: OpenVinoEngine) -> tuple[Any, Any]:
    """The program of a tile, which has run once, and its pixels."""
    image = torch.randn(1, 3, 40, 40, dtype=torch.float64)
    ((_, layout, pixels),) = scan.tiles(image, (8, 8), None)
    plan: Any = SimpleNamespace(network=scan.network, batch=4, programs=16)
    program, read = engine.compile(plan, layout), pixels[0].float().numpy()
    program(read)
    return program, read


def test_float32_stays_float32_and_threads_are_the_engines_own_on_any_core(
    net: Canonical, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[dict[str, Any]] = []
    real = package.core()
    compile_model = real.compile_model

    class Core:
        def __getattr__(self, name: str) -> Any:
            return getattr(real, name)

        def compile_model(self, model: Any, device: str, settings: dict[str, Any]) -> Any:
            seen.append(settings)
            return compile_model(model, device, settings)

    monkeypatch.setattr("fullfield.engine.engines.openvino.engine.core", Core)
    monkeypatch.setenv("FULLFIELD_CACHE", "")
    program_of(Scan(captured(Residual(), 24)), OpenVinoEngine(net, threads=2))
    assert seen
    threads = {"INFERENCE_NUM_THREADS": 2, "NUM_STREAMS": 1, "ENABLE_CPU_PINNING": False}
    assert all(settings == {"INFERENCE_PRECISION_HINT": "f32"} | threads for settings in seen)


@torch.no_grad()
def test_bfloat16_is_computed_where_the_cpu_can_and_refused_elsewhere(
    scan: Scan, net: Canonical, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = torch.randn(1, 3, 40, 40, dtype=torch.float64)
    if "BF16" in package.core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        found = EngineScan(scan, lambda net: OpenVinoEngine(net, precision="bfloat16"))(image, (8, 8))
        assert 1e-5 < difference(found, crops(scan.net, image, (8, 8))) < 0.2
    old = SimpleNamespace(get_property=lambda *_: ["FP32", "INT8"])
    monkeypatch.setattr("fullfield.engine.engines.openvino.engine.core", lambda: old)
    with pytest.raises(UnsupportedError, match="bfloat16 on this CPU"):
        OpenVinoEngine(net, precision="bfloat16")


@torch.no_grad()
def test_a_program_leaves_its_inputs_and_the_weights_as_they_are(scan: Scan, net: Canonical) -> None:
    """OpenVINO writes some sums over one of their summands."""
    before = {name: weight.clone() for name, weight in net.graph.state_dict().items()}
    program, pixels = program_of(scan, OpenVinoEngine(net))
    first = program(pixels)
    assert (program(pixels) == first).all()
    assert all(torch.equal(weight, before[name]) for name, weight in net.graph.state_dict().items())


def test_programs_read_the_weights_where_they_lie(scan: Scan, net: Canonical, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FULLFIELD_CACHE", "")
    program, _ = program_of(scan, OpenVinoEngine(net))
    parts = [m for m in program.args[0].modules() if isinstance(m, EnginePart)]
    held = {tensor.data_ptr() for part in parts for tensor in part.compiled.__self__.held}  # type: ignore[union-attr]
    weights = {weight.data_ptr() for weight in net.graph.state_dict().values() if weight.dim() > 1}
    assert len(weights) == 3
    assert weights <= held


def test_convolutions_of_several_families_are_merged_with_their_bias_and_activation(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """OpenVINO merges no bias that several convolutions read."""
    layers = [nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU(), nn.Conv2d(8, 8, 3, 1, 1, groups=8), nn.ReLU6(), nn.Conv2d(8, 8, 3)]
    scan = Scan(captured(nn.Sequential(*layers, nn.ReLU(), nn.Flatten(), nn.Linear(8 * 10 * 10, 4)), 24))
    compiled: list[Any] = []

    class Recorded(Request):
        def __init__(self, program: Any, held: Any) -> None:
            compiled.append(program)
            super().__init__(program, held)

    monkeypatch.setenv("FULLFIELD_CACHE", "")
    monkeypatch.setattr(engine, "Request", Recorded)
    program_of(scan, OpenVinoEngine(in_float32(scan.canonical)))
    kinds = [
        operator.get_rt_info()["layerType"].astype(str)
        for program in compiled
        for operator in program.get_runtime_model().get_ops()
    ]
    assert kinds.count("Convolution") > len(layers)
    assert not {"Eltwise", "Subgraph"} & set(kinds)


def test_a_max_pool_of_spread_taps_is_computed_tap_by_tap(monkeypatch: pytest.MonkeyPatch) -> None:
    """OpenVINO's own is computed cell by cell."""
    layers = [nn.Conv2d(3, 8, 3), nn.MaxPool2d(3, 1, dilation=2), nn.MaxPool2d(2, 2), nn.Conv2d(8, 8, 3)]
    scan = Scan(captured(nn.Sequential(*layers, nn.Flatten(), nn.Linear(8 * 7 * 7, 4)), 24))
    written: list[Any] = []

    class Recorded(OpenVinoWriter):
        def model(self) -> Any:
            written.append(super().model())
            return written[-1]

    monkeypatch.setenv("FULLFIELD_CACHE", "")
    monkeypatch.setattr(engine, "OpenVinoWriter", Recorded)
    program_of(scan, OpenVinoEngine(in_float32(scan.canonical)))
    pools = [op for model in written for op in model.get_ops() if op.get_type_name() == "MaxPool"]
    assert pools
    assert all(max(pool.get_attributes()["dilations"]) == 1 for pool in pools)


def test_other_types_than_float32_are_refused(scan: Scan) -> None:
    with pytest.raises(UnsupportedError, match="float32, and this one is in float64"):
        OpenVinoEngine(scan.canonical)


def test_out_of_memory_while_compiling_is_a_clear_error(
    scan: Scan, net: Canonical, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> Any:
        raise MemoryError("std::bad_alloc")

    real = package.core()
    monkeypatch.setenv("FULLFIELD_CACHE", "")
    core = SimpleNamespace(get_property=real.get_property, compile_model=full)
    monkeypatch.setattr("fullfield.engine.engines.openvino.engine.core", lambda: core)
    with pytest.raises(
        FullfieldError, match="cannot compile a tile's program \\(std::bad_alloc\\)\n  fix: use a smaller"
    ):
        program_of(scan, OpenVinoEngine(net))


@pytest.fixture
def missing(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A machine without OpenVINO."""
    caches = package.openvino, package.core, package.operators
    for cache in caches:
        cache.cache_clear()
    monkeypatch.setitem(sys.modules, "openvino", None)
    yield
    for cache in caches:
        cache.cache_clear()


@pytest.mark.usefixtures("missing")
def test_without_the_package_the_error_names_the_extra(net: Canonical) -> None:
    with pytest.raises(UnsupportedError, match=r"pip install 'fullfield\[openvino\]'"):
        OpenVinoEngine(net)


def test_nothing_is_sent() -> None:
    """OpenVINO's converter reports its import by the telemetry package, if it can import it."""
    code = """
        import socket, sys
        def refuse(*_):
            raise AssertionError("connects")
        socket.socket.connect = socket.create_connection = socket.getaddrinfo = refuse
        from fullfield.engine.engines.openvino.package import core
        core()
        from openvino.tools.ovc import telemetry_utils
        assert telemetry_utils.tm.__name__ == "openvino.tools.ovc.telemetry_stub"
        assert not [name for name in sys.modules if name.startswith("openvino_telemetry")]
    """
    lines = "\n".join(line[8:] for line in code.splitlines())
    subprocess.run([sys.executable, "-c", lines], check=True, timeout=300)


def test_torch_alone_imports_no_openvino() -> None:
    code = "import fullfield.engine.run, sys; assert 'openvino' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=300)
