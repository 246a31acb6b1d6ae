"""A new operator is one record: captured, planned, counted, lowered and scanned like those that fullfield knows."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import fullfield
from fullfield.operators.emitter import Call, Emitter, Strips
from fullfield.operators.record import Operator, Windowed, kernel_geometry
from fullfield.operators.registry import register
from fullfield.operators.work import Work, per_number
from fullfield.report.measure import measure
from tests.oracle import Scan, captured, crops, difference

aten = torch.ops.aten


@torch.library.custom_op("laboratory::contrast", mutates_args=())
def contrast(x: Tensor, kernel_size: int, stride: int, padding: int) -> Tensor:
    """The largest minus the smallest of the cells under a kernel, zeros where it pads."""
    x = F.pad(x, [padding] * 4)
    return F.max_pool2d(x, kernel_size, stride) + F.max_pool2d(-x, kernel_size, stride)


@torch.library.custom_op("laboratory::bent_identity", mutates_args=())
def bent_identity(x: Tensor) -> Tensor:
    """Close to ``x`` above zero, to 0 below."""
    return 0.5 * ((x * x + 1).sqrt() - 1 + x)


contrast.register_fake(
    lambda x, kernel_size, stride, padding: F.max_pool2d(F.pad(x, [padding] * 4), kernel_size, stride)
)
bent_identity.register_fake(torch.empty_like)


def emit_contrast(to: Emitter, call: Call, strip: Any, strips: Strips) -> Any:
    """Two pools over the padded strip."""
    options = call.kernel, [s.slide.stride for s in strips], [0, 0], [s.slide.dilation for s in strips]
    high = to.call(aten.max_pool2d.default, strip, *options)
    low = to.call(aten.max_pool2d.default, to.call(aten.neg.default, strip), *options)
    return to.call(aten.add.Tensor, high, low)


register(
    Operator(
        (torch.ops.laboratory.contrast,),
        kind="windowed",
        windowed=Windowed(kernel_geometry, emit_contrast, slides=True),
        counts=lambda args, read, written: Work(comparisons=2 * (args["kernel_size"] ** 2 - 1), adds=1) * written,
        independent="first",
    )
)
register(
    Operator(
        (torch.ops.laboratory.bent_identity,), kind="pointwise", counts=per_number(multiplies=2, adds=3, functions=1)
    )
)


class Network(nn.Module):
    """Convolutions, between them the new operators."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.body = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 5, 3, padding=1)
        self.head = nn.Linear(5, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.ops.laboratory.contrast(torch.ops.laboratory.bent_identity(self.stem(x)), 3, 2, 1)
        return self.head(self.body(x).mean((2, 3)))


def network() -> fullfield.Model:
    torch.manual_seed(0)
    return captured(Network(), 15)


def test_they_are_captured_and_shared_between_windows() -> None:
    report = measure(network())
    assert report.convertible
    kinds = {row.type: (row.kind, row.shared) for row in report.rows}
    assert kinds["contrast"] == ("windowed", True)
    assert kinds["bent_identity"] == ("cell", True)
    (row,) = (row for row in report.rows if row.type == "contrast")
    assert [(op.kernel, op.stride, op.low, op.high) for op in row.ops] == [(3, 2, 1, 1)] * 2
    assert row.shape == (4, 8, 8)


def test_their_operations_are_counted() -> None:
    report = measure(network())
    work = {row.type: row.work for row in report.rows}
    assert work["contrast"] == Work(comparisons=16 * 4 * 8 * 8, adds=4 * 8 * 8)
    assert work["bent_identity"] == Work(multiplies=2 * 900, adds=3 * 900, functions=900)
    assert not report.uncounted


@pytest.mark.parametrize("step", [(4, 4), (3, 5)])
@pytest.mark.parametrize("fragments", [False, True])
def test_a_scan_equals_the_crops(step: tuple[int, int], fragments: bool) -> None:
    net = network()
    image = torch.randn(1, 3, 34, 37, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    scan = Scan(net, fragments=fragments)
    with torch.no_grad():
        assert difference(scan(image, step, (2, 3)), crops(net, image, step)) <= 1e-12
    assert scan.executed == scan.predicted
    assert any(n.meta.get("kind") == "windowed" for n in scan.canonical.graph.graph.nodes)


def test_the_public_scan_plans_and_runs_them() -> None:
    net = network()
    image = torch.randn(3, 40, 43, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    compute = fullfield.Compute(tile=(9, 9))  # of few windows crops would be faster
    found = np.asarray(fullfield.scan(net, image, step=4, compute=compute).array)
    with torch.no_grad():
        wanted = crops(net, image[None], (4, 4)).permute(2, 0, 1)
    assert difference(torch.from_numpy(found), wanted) <= 1e-12
    assert fullfield.plan(net, image, step=4, compute=compute).cost.shared_macs > 0
