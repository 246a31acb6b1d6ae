"""Well-known architectures: the scan equals the crops, tile by tile, at an even step and an odd one."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from fullfield.geometry.region import Pair
from tests.architectures import ARCHITECTURES, build
from tests.oracle import Scan, captured, crops, difference


@pytest.fixture(scope="module", params=list(ARCHITECTURES))
def scan(request: pytest.FixtureRequest) -> Scan:
    module, window = build(request.param)
    return Scan(captured(module, window))


@pytest.mark.parametrize("step", [(8, 16), (5, 7)], ids=["even", "odd"])
@torch.no_grad()
def test_an_architecture_scans_exactly(scan: Scan, step: Pair) -> None:
    (h, w), (sy, sx) = scan.net.window, step
    image = torch.randn(1, 3, h + 2 * sy + 3, w + 3 * sx + 1, dtype=torch.float64)
    wanted = crops(scan.net, image, step)
    assert wanted.shape[:2] == (3, 4)
    assert difference(scan(image, step), wanted) <= 1e-9
    assert difference(scan(image, step, (2, 3)), wanted) <= 1e-9
    assert scan.executed == scan.predicted


@pytest.mark.parametrize(("groups", "dilation"), [(2, 1), (4, 1), (4, 3), (1, 3)])
@pytest.mark.parametrize("fragments", [False, True], ids=["atrous", "fragments"])
@torch.no_grad()
def test_a_head_of_one_kernel_a_channel_runs_the_macs_it_predicts(groups: int, dilation: int, fragments: bool) -> None:
    """Chen et al. 2018 (MobileFaceNet): the map's last layer before the vector is a depthwise convolution."""
    torch.manual_seed(1)
    stem, over = nn.Conv2d(3, 4, 4, 4), nn.Conv2d(4, 4, 3 // dilation + 1, dilation=dilation, groups=groups)
    module = nn.Sequential(stem, nn.ReLU(), over, nn.ReLU(), nn.Flatten(), nn.Linear(4, 3))
    scan = Scan(captured(module, 16), fragments=fragments)
    for step in ((1, 1), (6, 5)):
        image = torch.randn(1, 3, 16 + 3 * step[0], 16 + 2 * step[1], dtype=torch.float64)
        assert difference(scan(image, step, (2, 2)), crops(scan.net, image, step)) <= 1e-9
        assert scan.executed == scan.predicted


# At these windows: the padded ones share until borders meet, gates and attention end the sharing where they stand.
FIRST_UNSHARED = {
    "lenet5": None,
    "efficientnet": "mean",
    "vit": "cat",
    "mixer": "linear",
    "resnet-groupnorm": "group_norm",
    "tresnet": "mean",
    "hrnet": "mean",
    "unet": "mean",
}


@pytest.mark.parametrize("name", list(FIRST_UNSHARED))
def test_sharing_ends_where_an_operator_needs_the_window(name: str) -> None:
    module, window = build(name)
    found = Scan(captured(module, window))
    unshared = [n for n in found.network if n.inputs and not found.places[n.name].shared]
    assert (unshared[0].op if unshared else None) == FIRST_UNSHARED[name]
    assert all(found.places[n.name].reason for n in unshared)
