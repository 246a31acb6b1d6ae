"""Networks written as patterns: folding, and what cannot be written."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from fullfield import workbench
from fullfield.errors import CaptureError, FullfieldError, GeometryError, UnsupportedError
from fullfield.layers import MaxPool2d
from fullfield.workbench.lenet_layers import TableConv2d

LAYERS = st.sampled_from(
    [
        *("CONV(2)", "CONV(4)", "CONV(4, 5, p=1)", "CONV(4, g=2)", "CONV(2, s=2, round=floor)", "RELU", "TANH", "BN"),
        *("POOL", "POOL(3, s=2, round=ceil)", "AVGPOOL(2, s=1)", "L2POOL(2, s=1)", "LRN", "PRELU"),
        *("LOCAL(2, s=3, round=floor)", "CONV(4, 3, fft=auto)", "CONV(4, fft=yes)", "SUBSAMPLE", "SUBSAMPLE(3, s=1)"),
    ]
)


def items(chain: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    times = st.sampled_from(["*2", "*3", "?", "?(yes|no)*2", "*2"])
    return st.builds(lambda parts, n: f"[{' -> '.join(parts)}]{n}", st.lists(chain, min_size=1, max_size=3), times)


PATTERNS = st.lists(st.recursive(LAYERS, items, max_leaves=6), min_size=1, max_size=5).map(
    lambda parts: " -> ".join([f"INPUT(2x{24}x{21})", *parts])
)


@settings(max_examples=150)
@given(PATTERNS)
def test_any_network_that_builds_is_described_and_built_again(pattern: str) -> None:
    try:
        net = workbench.build(pattern)
    except (GeometryError, CaptureError):  # random patterns may not fit, or have no layer
        return
    text = workbench.describe(net)
    assert repr(workbench.build(text)) == repr(net)


@given(st.lists(st.sampled_from([1, 2, 3]), min_size=1, max_size=5), st.data())
def test_blocks_of_any_depth_and_width_survive(depths: list[int], data: st.DataObject) -> None:
    widths = [data.draw(st.integers(1, 4)) for _ in depths]
    parts = [p for d, k in zip(depths, widths, strict=True) for p in [*[f"CONV({k})", "RELU"] * d, "BN"]]
    pattern = " -> ".join(["INPUT(1x4x4)", *parts])
    net = workbench.build(pattern)
    text = workbench.describe(net)
    assert len(text) <= len(pattern)
    assert repr(workbench.build(text)) == repr(net)


@pytest.mark.parametrize(
    ("written", "folded"),
    [
        ("CONV(4) -> RELU -> CONV(4) -> RELU -> POOL", "[CONV(4) -> RELU]*2 -> POOL"),
        ("FC(5) -> FC(5) -> FC(6)", "FC(5|5|6)*3"),
        ("CONV(4) -> CONV(4) -> POOL -> CONV(5) -> CONV(5) -> POOL", "[CONV(4|5)*2 -> POOL]*2"),
        ("CONV(4) -> POOL -> CONV(5) -> CONV(5) -> POOL", "[CONV(4|5)*(1|2) -> POOL]*2"),
        ("CONV(4) -> CONV(5) -> POOL -> CONV(6) -> CONV(7) -> POOL", "[CONV(4|5|6|7)*2 -> POOL]*2"),
        ("CONV(4, 3, p=1) -> FLATTEN -> FC(3)", "CONV(4) -> FC(3)"),
        ("CONV(4, 3, p=0) -> CONV(4, 3)", "CONV(4, p=0|1)*2"),
    ],
)
def test_repeats_are_folded_and_defaults_left_out(written: str, folded: str) -> None:
    assert workbench.describe(workbench.build(f"INPUT(3x8x8) -> {written}")) == f"INPUT(3x8x8) -> {folded}"


def test_a_table_of_ones_own_has_no_name() -> None:
    net = nn.Sequential(TableConv2d(2, 2, 3, table=((0,), (0, 1))))
    with pytest.raises(UnsupportedError, match="0: TableConv2d"):
        workbench.describe(net, window=8)


def test_networks_from_elsewhere_are_described() -> None:
    net = nn.Sequential(
        nn.Sequential(nn.Conv2d(1, 4, 3, padding="same"), nn.ReLU(inplace=True), nn.Identity()),
        MaxPool2d(3, 2, must_fit=False),
        nn.LocalResponseNorm(5),
        nn.Conv2d(4, 4, 2, padding="valid"),
        nn.Flatten(),
        nn.Linear(16, 3),
    )
    wanted = (
        "INPUT(1x8x8) -> CONV(4) -> RELU -> POOL(3, s=2, round=floor) -> LRN(alpha=0.0001, k=1) -> CONV(4, 2) -> FC(3)"
    )
    assert workbench.describe(net, window=8) == wanted


@pytest.mark.parametrize(
    ("layer", "says"),
    [
        (nn.Conv2d(1, 4, 3, padding_mode="reflect"), "0: Conv2d"),
        (nn.Conv2d(1, 4, 2, padding="same"), "0: Conv2d"),
        (nn.MaxPool2d(2, return_indices=True), "0: MaxPool2d"),
        (nn.AvgPool2d(2, divisor_override=3), "0: AvgPool2d"),
        (nn.AdaptiveAvgPool2d(2), "0: AdaptiveAvgPool2d"),
        (nn.BatchNorm2d(1, track_running_stats=False), "0: BatchNorm2d"),
        (nn.Softmax(dim=2), "0: Softmax"),
        (nn.GELU("tanh"), "0: GELU"),
        (nn.Softplus(2), "0: Softplus"),
        (nn.Flatten(2), "0: Flatten"),
        (nn.ConvTranspose2d(1, 2, 3), "0: ConvTranspose2d"),
    ],
)
def test_what_the_language_lacks_is_refused_by_name(layer: nn.Module, says: str) -> None:
    with pytest.raises(UnsupportedError, match="cannot be written as a pattern") as caught:
        workbench.describe(nn.Sequential(layer), window=8, channels=1)
    assert str(caught.value).startswith(says)


@pytest.mark.parametrize(
    ("net", "arguments", "kind", "says"),
    [
        (nn.Sequential(nn.ReLU()), {}, CaptureError, "window: is not given"),
        (nn.Conv2d(3, 4, 3), {"window": 8}, UnsupportedError, "Conv2d is not nn.Sequential"),
        (nn.Sequential(nn.Conv2d(3, 4, 3)), {"window": 8, "channels": 1}, GeometryError, "0: takes 3 channels, not 1"),
        (nn.Sequential(nn.Conv2d(3, 4, 9)), {"window": 8}, GeometryError, "0: kernel 9, stride 1"),
        (nn.Sequential(nn.Conv2d(3, 4, 3), nn.Linear(4, 2)), {"window": 8}, GeometryError, "1: FC takes a vector"),
        (nn.Sequential(nn.Flatten(), nn.MaxPool2d(2)), {"window": 8}, GeometryError, "1: POOL takes a map"),
    ],
)
def test_networks_that_do_not_go_together_are_refused(
    net: nn.Sequential, arguments: dict[str, Any], kind: type[FullfieldError], says: str
) -> None:
    with pytest.raises(kind) as caught:
        workbench.describe(net, **arguments)
    assert says in str(caught.value)
