"""Patterns that build: what they mean, layer by layer."""

from __future__ import annotations

import warnings

import pytest
import torch
from torch import nn

import fullfield
from fullfield import workbench
from fullfield.layers import L2Pool2d, LocallyConnected2d, LocalResponseNorm2d
from fullfield.workbench.pattern.builder import plan_layers


def volumes(pattern: str) -> list[tuple[str, tuple[int, ...]]]:
    return [(step.kind.name, step.after) for step in plan_layers(pattern)[1]]


def settings(pattern: str, name: str, key: str) -> list[object]:
    return [step.settings[key] for step in plan_layers(pattern)[1] if step.kind.name == name]


GOOD = {
    "INPUT(3x8x8) -> FC(2)": [("FLATTEN", (192,)), ("FC", (2,))],
    "input(3x8x8)->conv(4)→Pool": [("CONV", (4, 8, 8)), ("POOL", (4, 4, 4))],
    "INPUT(3 x 8 x 9)\n  -> CONV(4, 3, p=0)  # no padding\n  -> RELU": [("CONV", (4, 6, 7)), ("RELU", (4, 6, 7))],
    "INPUT(3, 8, 8) -> CONV(4, 5)": [("CONV", (4, 8, 8))],
    "INPUT(3x227x227) -> CONV(96, 11, s=4)": [("CONV", (96, 55, 55))],
    "INPUT(3x227x227) -> CONV(96, 11, 4, 0)": [("CONV", (96, 55, 55))],
    "INPUT(4x9x9) -> CONV(k=6, f=3x5, s=2x1, p=0x2, d=1, g=2, bias=no)": [("CONV", (6, 4, 9))],
    "INPUT(3x9x9) -> CONV(4, d=2)": [("CONV", (4, 9, 9))],
    "INPUT(3x12x12) -> MAXPOOL(3) -> AVGPOOL": [("POOL", (3, 4, 4)), ("AVGPOOL", (3, 2, 2))],
    "INPUT(3x7x7) -> POOL(3, s=2, p=1)": [("POOL", (3, 4, 4))],
    "INPUT(3x8x8) -> POOL(3, s=2, round=floor) -> L2POOL(3)": [("POOL", (3, 3, 3)), ("L2POOL", (3, 1, 1))],
    "INPUT(3x8x8) -> POOL(3, s=2, round=ceil)": [("POOL", (3, 4, 4))],
    "INPUT(3x8x8) -> LOCAL(4) -> BN -> TANH": [("LOCAL", (4, 8, 8)), ("BN", (4, 8, 8)), ("TANH", (4, 8, 8))],
    "INPUT(3x8x8) -> LRN -> LRN(3, within=yes)": [("LRN", (3, 8, 8)), ("LRN", (3, 8, 8))],
    "INPUT(6x8x8) -> CONV(16, 5, p=0, table=lenet) -> SUBSAMPLE -> FLATTEN -> RBF(3)": [
        *[("CONV", (16, 4, 4)), ("SUBSAMPLE", (16, 2, 2)), ("FLATTEN", (64,)), ("RBF", (3,))],
    ],
    "INPUT(3x8x8) -> SUBSAMPLE(3, s=2, round=floor) -> CONV(4, 7, fft=auto)": [
        *[("SUBSAMPLE", (3, 3, 3)), ("CONV", (4, 3, 3))],
    ],
    "INPUT(3x8x8) -> GLOBALPOOL -> FLATTEN -> SOFTMAX": [
        ("GLOBALPOOL", (3, 1, 1)),
        ("FLATTEN", (3,)),
        ("SOFTMAX", (3,)),
    ],
    "INPUT(3x8x8) -> [CONV(4) -> RELU]*0 -> FC(2)": [("FLATTEN", (192,)), ("FC", (2,))],
    "INPUT(3x8x8) -> FC(5)*2": [("FLATTEN", (192,)), ("FC", (5,)), ("FC", (5,))],
    "INPUT(3x8x8) -> [POOL -> CONV(4|5|6)]*3": [
        *[("POOL", (3, 4, 4)), ("CONV", (4, 4, 4)), ("POOL", (4, 2, 2)), ("CONV", (5, 2, 2))],
        *[("POOL", (5, 1, 1)), ("CONV", (6, 1, 1))],
    ],
    "INPUT(3x6x6) -> POOL?*3": [("POOL", (3, 3, 3))],
    "INPUT(3x8x8) -> [CONV(4) -> POOL?(no|yes)]*2": [("CONV", (4, 8, 8)), ("CONV", (4, 8, 8)), ("POOL", (4, 4, 4))],
    "INPUT(3x8x8) -> [[CONV(4) -> RELU]*(1|2) -> POOL]*2": [
        *[("CONV", (4, 8, 8)), ("RELU", (4, 8, 8)), ("POOL", (4, 4, 4))],
        *[("CONV", (4, 4, 4)), ("RELU", (4, 4, 4)), ("CONV", (4, 4, 4)), ("RELU", (4, 4, 4)), ("POOL", (4, 2, 2))],
    ],
    "INPUT(3x6x6) -> [POOL -> CONV(4)]? -> [POOL -> CONV(5)]? -> FC(2)": [
        *[("POOL", (3, 3, 3)), ("CONV", (4, 3, 3)), ("FLATTEN", (36,)), ("FC", (2,))],
    ],
}


@pytest.mark.parametrize(("pattern", "wanted"), GOOD.items(), ids=range(len(GOOD)))
def test_a_pattern_gives_its_volumes_and_torch_agrees(pattern: str, wanted: list[tuple[str, tuple[int, ...]]]) -> None:
    assert volumes(pattern) == wanted
    net = workbench.build(pattern).eval()
    x = torch.randn(2, *net.pretrained_cfg["input_size"])
    for module, (_, volume) in zip(net, wanted, strict=True):
        x = module(x)
        assert tuple(x.shape[1:]) == volume


@pytest.mark.parametrize(("pattern", "wanted"), GOOD.items(), ids=range(len(GOOD)))
def test_a_network_described_and_built_again_is_the_same(pattern: str, wanted: object) -> None:
    net = workbench.build(pattern)
    again = workbench.build(workbench.describe(net))
    assert repr(again) == repr(net)
    assert again.pretrained_cfg == net.pretrained_cfg
    assert workbench.describe(again) == workbench.describe(net)


def test_defaults_are_those_of_the_notes() -> None:
    conv, pool, average, dropout = list(workbench.build("INPUT(3x8x8) -> CONV(64) -> POOL -> AVGPOOL -> DROPOUT"))
    assert (conv.kernel_size, conv.stride, conv.padding, conv.groups) == ((3, 3), (1, 1), (1, 1), 1)
    assert conv.bias is not None
    assert (pool.kernel_size, pool.stride, pool.padding) == ((2, 2), (2, 2), (0, 0))
    assert (average.kernel_size, average.stride) == ((2, 2), (2, 2))
    assert dropout.p == 0.5


@pytest.mark.parametrize(
    ("layer", "padding"),
    [
        *[("CONV(4, 5)", (2, 2)), ("CONV(4, 1)", (0, 0)), ("CONV(4, 3x7)", (1, 3)), ("CONV(4, 3, d=3)", (3, 3))],
        *[("CONV(4, 2)", (0, 0)), ("CONV(4, 3, s=3)", (0, 0)), ("CONV(4, 3, s=3x1)", (0, 1))],
    ],
)
def test_padding_keeps_the_size_unless_the_layer_has_a_stride_or_no_middle(
    layer: str, padding: tuple[int, int]
) -> None:
    assert settings(f"INPUT(3x12x12) -> {layer}", "CONV", "p") == [padding]


@pytest.mark.parametrize(
    "layer",
    [
        *("CONV(4, 5)", "CONV(4, k=5)", "CONV(4, f=5)", "CONV(k=4, f=5)", "CONV(filters=4, k=5)", "CONV(f=5, k=4)"),
        *("conv(4, 5x5)", "CONV(4, kernel=5, stride=1, pad=2, dilation=1, groups=1)", "LOCAL(4, k=5)"),
    ],
)
def test_the_kernel_goes_by_both_of_its_letters(layer: str) -> None:
    (step,) = plan_layers(f"INPUT(3x12x12) -> {layer}")[1]
    assert (step.settings["k"], step.settings["f"], step.settings["p"]) == (4, (5, 5), (2, 2))


def test_layers_are_the_modules_that_they_name() -> None:
    net = workbench.build(
        "INPUT(3x8x8) -> LOCAL(4, s=1, g=1) -> L2POOL(2, mean=yes) -> LRN(3, alpha=1e-4, beta=0.5, k=1, within=yes)"
        " -> PRELU -> PRELU(shared=yes) -> LEAKYRELU(0.2) -> BN(affine=no)"
        " -> FC(6, bias=no) -> BN(momentum=0.01) -> LOGSOFTMAX"
    )
    local, pool, lrn, each, shared, leaky, norm, flat, fc, vector, soft = net
    assert isinstance(local, LocallyConnected2d)
    assert local.input_size == (8, 8)
    assert isinstance(pool, L2Pool2d)
    assert pool.mean
    assert isinstance(lrn, LocalResponseNorm2d)
    assert (lrn.size, lrn.alpha, lrn.beta, lrn.k, lrn.region) == (3, 1e-4, 0.5, 1.0, "within")
    assert (each.num_parameters, shared.num_parameters, leaky.negative_slope) == (4, 1, 0.2)
    assert isinstance(norm, nn.BatchNorm2d)
    assert not norm.affine
    assert isinstance(flat, nn.Flatten)
    assert fc.bias is None
    assert isinstance(vector, nn.BatchNorm1d)
    assert vector.momentum == 0.01
    assert soft.dim == 1


def test_lrn_has_the_numbers_of_alexnet() -> None:
    (lrn,) = workbench.build("INPUT(3x8x8) -> LRN")
    # alpha is over the sum of five maps: 1e-4 for each
    assert (lrn.size, lrn.alpha / lrn.size, lrn.beta, lrn.k, lrn.region) == (5, 1e-4, 0.75, 2.0, "across")


@pytest.mark.parametrize(
    ("pattern", "widths"),
    [
        ("[CONV(4|5)]*2", [4, 5]),
        ("CONV(4|5)*2", [4, 5]),
        ("[[CONV(4|5|6)]*2]*3", [4, 4, 5, 5, 6, 6]),
        ("[[CONV(4|5)]*2]*3", [4, 5] * 3),
        ("[[CONV(4|5)]*2]*2", [4, 4, 5, 5]),
        ("[[CONV(4|5|4|6)]*2]*2", [4, 5, 4, 6]),
        ("[[CONV(4|5|6)]*(1|2|3)]*3", [4, 5, 5, 6, 6, 6]),
        ("[[CONV(1|2|3|4|5)]*(2|3)]*2", [1, 2, 3, 4, 5]),
        ("[CONV(4|5)?(yes|no)]*2", [4]),
        ("[[CONV(4|5)]?(no|yes)*2]*2", [5, 5]),
        ("[[CONV(4|5)]*2]?(no|yes)*2", [5, 5]),
        ("[[CONV(1|2|3|4) -> POOL(5)]?*2]*2 -> CONV(9)", [9]),
    ],
)
def test_values_in_turn_go_with_their_rounds(pattern: str, widths: list[int]) -> None:
    assert settings(f"INPUT(3x4x4) -> {pattern}", "CONV", "k") == widths


def test_a_group_that_may_be_missing_leaves_nothing_behind() -> None:
    # the group's first layers fit, its last does not: the whole group is skipped, and names keep counting
    net = workbench.build("INPUT(3x4x4) -> CONV(4) -> [CONV(5) -> POOL -> POOL -> POOL]? -> CONV(6)")
    assert [name for name, _ in net.named_children()] == ["conv1", "conv2"]
    assert net.conv2.in_channels == 4


def test_the_cifar_pattern_of_the_notes_builds() -> None:
    net = workbench.build("INPUT(3x32x32) -> [[CONV(16) -> RELU]*2 -> POOL?]*3 -> [FC(64) -> RELU]*1 -> FC(10)")
    assert [type(m).__name__ for m in net].count("MaxPool2d") == 3
    assert net(torch.zeros(1, 3, 32, 32)).shape == (1, 10)


def test_a_network_says_its_window_to_every_verb() -> None:
    net = workbench.build("INPUT(3x16x12) -> CONV(4) -> RELU -> POOL -> FC(2)")
    assert fullfield.load(net).window == (16, 12)
    assert fullfield.inspect(net).window == (16, 12)
    image = torch.rand(3, 18, 14).numpy().transpose(1, 2, 0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert fullfield.scan(net, image, step=2).array.shape == (2, 2, 2)


def test_a_network_without_its_weights_needs_no_budget() -> None:
    with torch.device("meta"):
        net = workbench.build("INPUT(3x1000x1000) -> FC(10000)")
    assert sum(p.numel() for p in net.parameters()) == 3 * 10**10 + 10_000
