"""Numbers from lectures and papers that anyone can look up."""

import pytest
from torch import nn

from fullfield.geometry.axis import Axis, Op
from fullfield.importers.load import load
from fullfield.report.measure import measure
from fullfield.report.report import Report
from fullfield.report.row import Row

from . import classics  # noqa: TID252 - tests are no package


def field(row: Row) -> tuple[int, int]:
    """Size and jump, the same on both axes."""
    assert row.axes is not None
    assert row.axes[0] == row.axes[1]
    return row.axes[0].size, row.axes[0].jump


def one_conv(window: int, channels: int, *args: int, **kwargs: int) -> Row:
    conv = nn.Conv2d(channels, *args, **kwargs)
    module = nn.Sequential(conv, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(conv.out_channels, 2))
    return measure(load(module, window=window))["0"]


@pytest.mark.parametrize(("stride", "cells", "lost"), [(1, 5, 0), (2, 3, 0), (3, 2, 1)])
def test_a_kernel_of_3_on_7_pixels_fits_strides_1_and_2_but_not_3(stride: int, cells: int, lost: int) -> None:
    row = one_conv(7, 1, 1, 3, stride=stride)
    assert row.shape == (1, cells, cells)
    assert row.lost == (lost, lost)
    assert row.fits == (lost == 0)


def test_ten_5x5_filters_with_padding_2_keep_the_size_with_760_parameters() -> None:
    row = one_conv(32, 3, 10, 5, padding=2)
    assert row.volume == "32×32×10"
    assert row.parameters == 760


def test_alexnet_conv1_shares_105_million_parameters_into_34_944() -> None:
    row = one_conv(227, 3, 96, 11, stride=4)
    assert row.volume == "55×55×96"
    assert (row.parameters, row.unshared) == (34_944, 105_705_600)
    assert row.macs == 55 * 55 * 96 * 11 * 11 * 3
    assert row.flops == 2 * row.macs
    assert row.activation_bytes == 55 * 55 * 96 * 4


def test_a_full_connection_of_200x200_pixels_to_40000_units_has_1_6_billion_weights() -> None:
    build = lambda: nn.Sequential(nn.Flatten(), nn.Linear(40_000, 40_000, bias=False))  # noqa: E731
    report = measure(classics.weightless(build, 200, channels=1))
    assert report["1"].parameters == report.parameters == 1_600_000_000
    assert report["1"].macs == 1_600_000_000


@pytest.mark.parametrize(("kernel", "pool"), [(3, 2), (5, 3), (11, 2)])
def test_a_pool_after_a_convolution_sees_p_plus_k_minus_1_pixels(kernel: int, pool: int) -> None:
    module = nn.Sequential(
        nn.Conv2d(1, 1, kernel), nn.MaxPool2d(pool), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(1, 2)
    )
    assert field(measure(load(module, window=31))["1"]) == (pool + kernel - 1, pool)


NETWORKS = {
    "alexnet": (classics.alexnet, "features.12", (195, 32), 61_100_840, (6, 6, 256)),
    "vgg16": (classics.vgg16, "features.30", (212, 32), 138_357_544, (7, 7, 512)),
    "resnet18": (classics.resnet18, None, (435, 32), 11_689_512, (7, 7, 512)),
    "resnet50": (classics.resnet50, None, (483, 32), 25_557_032, (7, 7, 2048)),
    "resnet50_v15": (classics.resnet50_v15, None, (427, 32), 25_557_032, (7, 7, 2048)),
}
REPORTS: dict[str, Report] = {}


def report_of(name: str) -> Report:
    if name not in REPORTS:
        REPORTS[name] = measure(classics.weightless(NETWORKS[name][0], 224), at=(384, 384))
    return REPORTS[name]


@pytest.mark.parametrize("name", NETWORKS)
def test_features_have_the_published_receptive_field_and_parameters(name: str) -> None:
    _, layer, size_and_jump, parameters, (x, y, depth) = NETWORKS[name]
    report = report_of(name)
    row = report.features if layer is None else report[layer]
    assert field(row) == size_and_jump
    assert row.shape == (depth, y, x)
    assert report.parameters == parameters
    assert report.stride == (32, 32)
    assert row.volume == report.features.volume


@pytest.mark.parametrize(
    ("name", "gmacs"),
    [("alexnet", 0.714), ("vgg16", 15.47), ("resnet18", 1.814), ("resnet50", 3.858), ("resnet50_v15", 4.089)],
)
def test_multiply_adds_are_those_published(name: str, gmacs: float) -> None:
    assert report_of(name).macs / 1e9 == pytest.approx(gmacs, rel=2e-3)


@pytest.mark.parametrize("name", ["alexnet", "vgg16"])
def test_fully_convolutional_at_384_gives_6_by_6_by_1000(name: str) -> None:
    report = report_of(name)
    assert report.rows[-1].shape == (1000, 1, 1)
    assert report.rows[-1].at == (1000, 6, 6)
    assert report["classifier.1"].type == "linear"
    assert report["classifier.1"].ops[0].kernel == report.features.shape[-1]
    assert report["classifier.4"].ops == (Op(1), Op(1))


def test_vgg16_at_384_has_12_by_12_by_512_before_the_head() -> None:
    assert report_of("vgg16")["features.30"].at == (512, 12, 12)


def test_padding_reaches_the_middle_of_the_last_maps() -> None:
    axes = report_of("resnet18").features.axes
    assert axes is not None
    assert not axes[0].shared
    assert axes[0] == Axis(435, 32, -217, 7, axes[0].low, axes[0].high)
    assert "Padding:" in str(report_of("resnet18"))


def test_a_fully_connected_layer_has_the_field_of_the_padded_window() -> None:
    axes = report_of("vgg16")["classifier.1"].axes
    assert axes is not None
    assert (axes[0].count, axes[0].size) == (1, 212 + 6 * 32)
