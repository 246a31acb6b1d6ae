"""Chooses the engine that runs a scan, and makes it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import torch

from fullfield.canonical.form import Canonical
from fullfield.engine.engines.packages import check_engine
from fullfield.engine.engines.torch import TorchEngine
from fullfield.engine.protocols import GraphEngine
from fullfield.errors import ArgumentError
from fullfield.model.forks import check_threads
from fullfield.planning.compute import Compute, EngineName
from fullfield.text import number_of

# of engines besides torch, on CPUs that have them
PRECISIONS: Mapping[EngineName, tuple[str, ...]] = {
    "openvino": ("float32", "bfloat16", "float16"),
    "onnxruntime": ("float32",),
}


@dataclass(frozen=True)
class EngineChoice:
    """What runs a scan.

    Args:
        name: of the engine.
        precision: type to compute in.
        threads: of the engine; ``None`` for as many as torch uses.
        why: the reason, where there was a choice.
    """

    name: EngineName
    precision: str
    threads: int | None = None
    why: str = "asked for"

    @property
    def network_dtype(self) -> torch.dtype:
        """Type of the network that the engine is given: other engines than torch lower the precision by themselves."""
        lowered = self.name == "torch" and self.precision != "tf32"
        found: torch.dtype = getattr(torch, self.precision if lowered else "float32")
        return found

    @property
    def text(self) -> str:
        """Its name, precision and threads in words, and why it was chosen."""
        threads = "" if self.threads is None else f", {number_of(self.threads, 'thread')}"
        return f"{self.name}, {self.precision}{threads}; {self.why}"

    def make(self, net: Canonical) -> GraphEngine:
        """The engine for one network.

        Args:
            net: in canonical form, of ``network_dtype`` and on the device to compute with.

        Raises:
            UnsupportedError: the engine is not installed, or lacks the precision.
        """
        if self.name == "torch":
            return TorchEngine(net, threads=self.threads, tf32=self.precision == "tf32")
        if self.name == "openvino":
            from fullfield.engine.engines.openvino.engine import OpenVinoEngine

            return OpenVinoEngine(net, threads=self.threads, precision=self.precision)
        from fullfield.engine.engines.onnxruntime.engine import OnnxRuntimeEngine

        return OnnxRuntimeEngine(net, threads=self.threads, precision=self.precision)


def choose_engine(compute: Compute, dtype: torch.dtype, device: torch.device) -> EngineChoice:
    """The engine for a scan.

    Args:
        compute: what was asked for.
        dtype: of the model.
        device: on which it lies.

    Raises:
        ArgumentError: an engine that cannot compute in this type or on this device, a precision that the CPU lacks,
            threads that a forked process cannot start.
        UnsupportedError: an engine that is not installed.
    """
    check_threads(compute.threads)
    own = str(dtype).removeprefix("torch.")
    precision = compute.precision or own
    _check_precision(precision, own, device)
    if compute.engine == "auto":
        return EngineChoice("torch", precision, compute.threads, "compiles nothing")
    if compute.engine != "torch":
        if precision not in PRECISIONS[compute.engine]:
            fix = 'use engine="torch", or precision="float32"'
            raise ArgumentError("engine", f"{compute.engine} does not compute in {precision}", fix=fix)
        if device.type != "cpu":
            raise ArgumentError(
                "engine", f"{compute.engine} runs on CPUs here, not on {device}", fix='use engine="torch"'
            )
        check_engine(compute.engine)
    return EngineChoice(compute.engine, precision, compute.threads)


def has_bfloat16(engine: EngineName, device: torch.device) -> bool:
    """Whether a device has instructions for bfloat16 that an engine uses."""
    if "bfloat16" not in PRECISIONS.get(engine, ("bfloat16",)):
        return False
    return _cpu_has_bfloat16() if device.type == "cpu" else torch.cuda.is_bf16_supported()


def _check_precision(precision: str, own: str, device: torch.device) -> None:
    """Raises where a precision lower than the model's own would be imitated, slower than its own."""
    if precision == own:
        return
    if precision == "tf32" and device.type != "cuda":
        what = f"tf32 is a way to compute of NVIDIA's GPUs, and the model lies on {device}"
        raise ArgumentError("precision", what, fix='leave it out, or use device="cuda:0" (--device cuda:0)')
    checks: dict[tuple[str, str], Callable[[], bool]] = {
        ("cpu", "bfloat16"): _cpu_has_bfloat16,
        ("cpu", "float16"): _cpu_has_float16,
        ("cuda", "bfloat16"): partial(_gpu_is_ampere, device),
        ("cuda", "tf32"): partial(_gpu_is_ampere, device),
    }
    has = checks.get((device.type, precision))
    if has is not None and not has():
        where = "CPU" if device.type == "cpu" else "GPU"
        what = f"this {where} has no instructions for {precision}, which would be slower than {own}"
        raise ArgumentError("precision", what, fix="leave it out")


def _cpu_has_bfloat16() -> bool:
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def _gpu_is_ampere(device: torch.device) -> bool:
    """Whether a GPU is of NVIDIA's Ampere or a later kind."""
    return torch.cuda.get_device_capability(device) >= (8, 0)


def _cpu_has_float16() -> bool:
    return bool(torch.ops.mkldnn._is_mkldnn_fp16_supported())
