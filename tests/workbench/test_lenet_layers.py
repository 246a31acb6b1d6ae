"""Connection tables, trained subsampling, distances to codes: results, gradients, graphs, files, matrices."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from torch import nn
from torch.autograd import gradcheck
from torch.nn import functional as F

import fullfield
from fullfield import workbench
from fullfield.errors import GeometryError, UnsupportedError
from fullfield.workbench.lenet_layers import TABLES, RadialBasis, Subsample2d, TableConv2d
from tests.layers.networks import error_of_scan, network, operators

TABLE = ((0, 1), (1, 2, 3), (5,), (0, 5), (4, 3, 2))
LAYERS = {
    "table": lambda: TableConv2d(6, 5, (3, 2), table=TABLE, padding=1),
    "strided table": lambda: TableConv2d(6, 5, 3, table=TABLE, stride=2, dilation=2, padding=2, bias=False),
    "subsampling": lambda: Subsample2d(6, (2, 3), (2, 1)),
}


@pytest.fixture(params=LAYERS, ids=str)
def layer(request: pytest.FixtureRequest) -> Any:
    """One of the layers, in float64."""
    torch.manual_seed(1)
    return LAYERS[request.param]().double()


def test_lenet_s_table_has_the_paper_s_connections() -> None:
    """LeCun et al. 1998, table I: six rows of 10 crosses; columns of 3, 4 and 6."""
    table = TABLES["lenet"]
    assert [sum(row in maps for maps in table) for row in range(6)] == [10] * 6
    assert [len(maps) for maps in table] == [3] * 6 + [4] * 9 + [6]
    assert len(set(table)) == 16


def test_a_map_reads_what_its_row_says() -> None:
    layer = LAYERS["table"]().double()
    x = torch.randn(2, 6, 7, 8, dtype=torch.float64)
    link = 0
    for row, maps in enumerate(TABLE):
        kernel = layer.weight[None, link : link + len(maps)]
        wanted = F.conv2d(x[:, sorted(maps)], kernel, layer.bias[row : row + 1], padding=1)
        assert torch.allclose(layer(x)[:, row : row + 1], wanted, rtol=0, atol=1e-12)
        link += len(maps)


def test_subsampling_is_a_sum_a_factor_and_a_bias() -> None:
    layer = LAYERS["subsampling"]().double()
    x = torch.randn(2, 6, 8, 9, dtype=torch.float64)
    total = F.avg_pool2d(x, (2, 3), (2, 1), divisor_override=1)
    wanted = total * layer.weight[:, None, None] + layer.bias[:, None, None]
    assert torch.allclose(layer(x), wanted, rtol=0, atol=1e-12)


def test_codes_are_their_own_nearest() -> None:
    layer = RadialBasis(84, 10)
    assert layer.codes.abs().eq(1).all()
    x = torch.randn(5, 84)
    assert torch.allclose(layer(x), -(torch.cdist(x, layer.codes) ** 2), atol=1e-3)
    assert layer(layer.codes).argmax(1).tolist() == list(range(10))


def test_gradients(layer: Any) -> None:
    x = torch.randn(2, 6, 6, 5, dtype=torch.float64, requires_grad=True)
    assert gradcheck(layer, (x,))
    parameters = tuple(layer.parameters())

    def of_parameters(*values: torch.Tensor) -> torch.Tensor:
        names = [name for name, _ in layer.named_parameters()]
        found: torch.Tensor = torch.func.functional_call(layer, dict(zip(names, values, strict=True)), (x.detach(),))
        return found

    assert gradcheck(of_parameters, parameters)


def test_distances_have_gradients() -> None:
    assert gradcheck(RadialBasis(7, 3).double(), (torch.randn(2, 7, dtype=torch.float64, requires_grad=True),))


def test_it_is_one_convolution_in_graphs_and_scans_exactly(layer: Any) -> None:
    net = network(layer.float())
    assert [name for name in operators(net) if "conv" in name] == ["conv2d"] * 3
    assert error_of_scan(net, 2) <= 1e-9
    row = fullfield.inspect(net)["2"]
    assert row.parameters == sum(p.numel() for p in layer.parameters())


def test_onnx_carries_it(layer: Any, tmp_path: Path) -> None:
    net = network(layer.float()).to(torch.float32)
    path = fullfield.save(net, tmp_path / "net.onnx")
    x = torch.randn(3, 3, 16, 16)
    wanted = net(x).detach()
    found = onnxruntime.InferenceSession(path).run(None, {"image": x.numpy()})[0]
    assert np.abs(found - wanted.numpy()).max() <= 1e-5
    assert (fullfield.load(path)(x) - wanted).abs().max() <= 1e-5


def test_it_is_a_convolution_and_a_matrix(layer: Any) -> None:
    x = torch.randn(1, 6, 7, 8, dtype=torch.float64)
    wanted = layer(x)
    assert torch.allclose(layer.to_conv()(x), wanted, rtol=0, atol=1e-12)
    matrix, bias = workbench.unroll(layer, (6, 7, 8))
    assert np.abs(matrix @ x.numpy().ravel() + bias - wanted.detach().numpy().ravel()).max() <= 1e-12


def test_lenet5_goes_through_onnx(tmp_path: Path) -> None:
    net = workbench.build("LeNet-5").eval()
    path = fullfield.save(fullfield.load(net), tmp_path / "net.onnx")
    x = torch.randn(2, 1, 32, 32)
    found = onnxruntime.InferenceSession(path).run(None, {"image": x.numpy()})[0]
    assert np.abs(found - net(x).detach().numpy()).max() <= 1e-4


@pytest.mark.parametrize(
    ("table", "what"),
    [
        ("other", "'other' is not known"),
        ("lenet", "connects 6 maps to 16, not 6 to 5"),
        (TABLE[1:], "4 rows for 5 output maps"),
        ((*TABLE[1:], ()), r"row 4 is \[\], of 6"),
        ((*TABLE[1:], (1, 1)), r"row 4 is \[1, 1\]"),
        ((*TABLE[1:], (6,)), r"row 4 is \[6\], of 6 input maps"),
    ],
)
def test_tables_that_do_not_fit_are_refused(table: Any, what: str) -> None:
    with pytest.raises((GeometryError, UnsupportedError), match=what):
        TableConv2d(6, 5, 3, table=table)


def test_layers_live_on_any_device_and_in_copies() -> None:
    with torch.device("meta"):
        assert nn.Sequential(TableConv2d(6, 16, 5, table="lenet"))[0].weight.is_meta
    layer = TableConv2d(6, 16, 5, table="lenet")
    again = TableConv2d(6, 16, 5, table="lenet")
    again.load_state_dict(layer.state_dict())
    x = torch.randn(1, 6, 6, 6)
    assert torch.equal(again(x), layer(x))
