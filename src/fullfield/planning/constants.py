"""What the planner assumes of the machine. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace


@dataclass(frozen=True)
class CostConstants:
    """Times, in multiply-adds of one CPU core, and bytes that no operator states. Each names what measured it.

    Args:
        macs_per_byte: time to write one byte (``benchmarks/scan.py``, MobileNetV2 and ResNet-18).
        macs_per_fresh_byte: time to get a byte of the first tile's memory from the system: 0.07 ns in pages of 2 MB,
            0.35 in pages of 4 KB, 1 in a virtual machine (tensors of 64 MB filled, on fresh and on used memory).
        macs_per_call: time to call one operator, and to move the few cells of a family (tiles of one to 16 windows at
            several frontiers: MobileNetV2, ResNet-18 and small networks in torch and OpenVINO, 1e6 to 3e6; 1e6 gives
            tiles as fast as 2e6 or faster).
        pool_calls: operators called for a pool over whole windows, for each of its families (EfficientNet-B0, mode 2).
        macs_per_tile: time to prepare, hand over and write one tile (``benchmarks/stream.py``, LeNet).
        idle_heap: bytes of the heap that lie idle over those in use there, at most (``tests/engine/test_memory.py``):
            pieces that smaller values leave and later ones do not fit into.
        heap_bytes: size from which on glibc asks the system for pages of a value's own, which return at once.
        call_bytes: bytes of one operator in the programs of four kinds of tile (``tests/engine/test_memory.py``).
        batch_bytes: largest value of a batch of windows: larger ones than ``heap_bytes`` get fresh pages in every call,
            which take longer than a convolution of few channels (``benchmarks/rivals.py``, MobileNetV2, no overlap).
        least_batch: windows of a batch whatever its values take, if a tile has so many.
        most_batch_bytes: largest value of a batch that is larger because its weights are read from memory each time.
        cached_bytes: weights up to which they stay in the processor's caches from batch to batch (crops in OpenVINO, in
            batches of 1, 2, 4 and 8: VGG-16, 553 MB of weights, 137, 129, 124, 122 ms a window; ResNet-18, 47 MB, 14.6,
            14.4, 14.2, 13.9; MobileNetV2, 14 MB, 3.35, 3.37, 3.49, 3.96).
        weight_moves: times that a convolution moves its weights in every call: read, written in another order, read
            (ResNet-18 without overlap: 57 ms in tiles of one window, 35 in tiles of 4x2, the fastest crops 29).
        macs_per_prepared_call: time to prepare the call of one operator, for every kind of tile (the same: 0.4 ms where
            a multiply-add took 17 ps).
        macs_per_operator: time to compile one operator of a program, for every kind of tile (MobileNetV2, mode 2,
            OpenVINO: 14 s for six kinds of 500 operators).
        pointwise, depthwise, dilated, linear: time of a multiply-add of such a convolution, or of a linear layer, over
            that of one of a dense convolution.
        measured: whether they were measured on this machine (``planning.calibration``).
    """

    macs_per_byte: float = 4.0
    macs_per_fresh_byte: float = 10.0
    macs_per_call: float = 1e6
    pool_calls: int = 34
    macs_per_tile: float = 5e7
    idle_heap: float = 2.6
    heap_bytes: int = 32 << 20
    call_bytes: int = 40_000
    batch_bytes: int = 31 << 20
    least_batch: int = 1
    most_batch_bytes: int = 31 << 20
    cached_bytes: int = 32 << 20
    weight_moves: float = 3
    macs_per_operator: float = 2.5e8
    macs_per_prepared_call: float = 2e7
    pointwise: float = 1.0
    depthwise: float = 1.0
    dilated: float = 1.0
    linear: float = 1.0
    measured: bool = False


CONSTANTS = CostConstants()

# Engines that compile order weights once, and are fastest with values that stay in the processor's caches: crops in
# batches of 1, 2, 4, 8, 16 and 32, OpenVINO: MobileNetV2 7.5, 7.1, 7.7, 9.1, 9.4, 10.0 ms a window, EfficientNet-B0
# 12.9, 12.0, 12.4, 14.1, 15.0, 15.9, ResNet-18 within 4 %; ONNX Runtime alike. A tile passes through several programs
# (EfficientNet-B0, ONNX Runtime: 12.8 ms in tiles of 2x2 windows, 12.1 in tiles of 4x4).
_COMPILED = replace(CONSTANTS, batch_bytes=6 << 20, least_batch=2, weight_moves=0.5, macs_per_tile=2e8)
ENGINE_CONSTANTS: Mapping[str, CostConstants] = {
    "torch": CONSTANTS,
    "openvino": replace(_COMPILED, most_batch_bytes=128 << 20),  # it keeps the memory of its values
    "onnxruntime": _COMPILED,
}
