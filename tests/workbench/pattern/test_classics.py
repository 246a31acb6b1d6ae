"""The classics, layer by layer against the tables of their papers; on the meta device, without memory."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import fullfield
from fullfield import workbench
from fullfield.workbench.pattern.builder import LayerStep, build_modules, plan_layers
from fullfield.workbench.pattern.classics import CLASSICS, find

# ParamKind, volume, parameters, of every layer that a paper's table lists.
Rows = list[tuple[str, tuple[int, ...], int]]


def table(name: str, *kinds: str) -> Rows:
    steps = plan_layers(CLASSICS[name])[1]
    return [(s.kind.name, s.after, parameters(s)) for s in steps if s.kind.name in kinds]


def parameters(step: LayerStep) -> int:
    with torch.device("meta"):
        return sum(p.numel() for p in step.module().parameters())


def total(name: str) -> int:
    with torch.device("meta"):
        return sum(p.numel() for p in workbench.build(name).parameters())


def test_lenet5_is_that_of_the_paper() -> None:
    """LeCun et al. 1998, section II.B: 60,000 trained parameters; C1's and C3's connections too."""
    assert table("LeNet-5", "CONV", "SUBSAMPLE", "FC", "RBF") == [
        ("CONV", (6, 28, 28), 156),
        ("SUBSAMPLE", (6, 14, 14), 12),
        ("CONV", (16, 10, 10), 1_516),
        ("SUBSAMPLE", (16, 5, 5), 32),
        ("CONV", (120, 1, 1), 48_120),
        ("FC", (84,), 10_164),
        ("RBF", (10,), 0),
    ]
    assert total("LeNet-5") == 60_000
    rows = fullfield.inspect(workbench.build("LeNet-5"))
    assert [rows[name].unshared for name in ("conv1", "conv2")] == [122_304, 151_600]


# Krizhevsky et al. 2012, section 3.5 and figure 2; neurons 253,440, 186,624, 64,896, 64,896, 43,264, 4096, 4096, 1000.
# The figure's first number, 253,440, is 48*48*55*2: the arithmetic gives 55*55*96 = 290,400, and later ones agree.
ALEXNET: list[tuple[tuple[int, ...], int, int]] = [
    ((96, 55, 55), 34_944, 34_944),
    ((256, 27, 27), 307_456, 614_656),
    ((384, 13, 13), 885_120, 885_120),
    ((384, 13, 13), 663_936, 1_327_488),
    ((256, 13, 13), 442_624, 884_992),
    ((4096,), 37_752_832, 37_752_832),
    ((4096,), 16_781_312, 16_781_312),
    ((1000,), 4_097_000, 4_097_000),
]


@pytest.mark.parametrize(
    ("name", "column", "sum_"), [("AlexNet", 1, 60_965_224), ("AlexNet one-column", 2, 62_378_344)]
)
def test_alexnet_is_that_of_the_paper(name: str, column: int, sum_: int) -> None:
    rows = table(name, "CONV", "FC")
    assert [(volume, count) for _, volume, count in rows] == [(row[0], row[column]) for row in ALEXNET]
    assert [volume for _, volume, _ in table(name, "POOL")] == [(96, 27, 27), (256, 13, 13), (256, 6, 6)]
    assert [volume for _, volume, _ in table(name, "LRN")] == [(96, 55, 55), (256, 27, 27)]
    assert total(name) == sum_
    numbers = [torch.Size(volume).numel() for _, volume, _ in rows]
    assert numbers[1:] == [186_624, 64_896, 64_896, 43_264, 4096, 4096, 1000]


def test_zfnet_is_that_of_the_paper() -> None:
    """Zeiler & Fergus 2014, figure 3: maps of 110, 55, 26, 13, 13, 13, 13, 6 cells."""
    assert table("ZFNet", "CONV", "POOL", "FC") == [
        ("CONV", (96, 110, 110), 14_208),
        ("POOL", (96, 55, 55), 0),
        ("CONV", (256, 26, 26), 614_656),
        ("POOL", (256, 13, 13), 0),
        ("CONV", (384, 13, 13), 885_120),
        ("CONV", (384, 13, 13), 1_327_488),
        ("CONV", (256, 13, 13), 884_992),
        ("POOL", (256, 6, 6), 0),
        ("FC", (4096,), 37_752_832),
        ("FC", (4096,), 16_781_312),
        ("FC", (1000,), 4_097_000),
    ]
    assert total("ZFNet") == 62_357_608


# Simonyan & Zisserman 2015, table 1 (layers of each block) and table 2 (millions of parameters).
VGG = {
    "VGG-11": ((1, 1, 2, 2, 2), 133, 132_863_336),
    "VGG-13": ((2, 2, 2, 2, 2), 133, 133_047_848),
    "VGG-16": ((2, 2, 3, 3, 3), 138, 138_357_544),
    "VGG-19": ((2, 2, 4, 4, 4), 144, 143_667_240),
}


@pytest.mark.parametrize("name", VGG)
def test_vgg_is_that_of_the_paper(name: str) -> None:
    depths, millions, exact = VGG[name]
    wanted: Rows = []
    inputs = 3
    for width, depth, size in zip((64, 128, 256, 512, 512), depths, (224, 112, 56, 28, 14), strict=True):
        for _ in range(depth):
            wanted.append(("CONV", (width, size, size), width * (9 * inputs + 1)))
            inputs = width
        wanted.append(("POOL", (width, size // 2, size // 2), 0))
    wanted += [("FC", (4096,), 102_764_544), ("FC", (4096,), 16_781_312), ("FC", (1000,), 4_097_000)]
    assert table(name, "CONV", "POOL", "FC") == wanted
    assert sum(depths) + 3 == int(name.removeprefix("VGG-"))
    assert total(name) == exact
    assert round(exact / 1e6) == millions


@pytest.mark.parametrize("name", CLASSICS)
def test_a_classic_survives_description(name: str) -> None:
    with torch.device("meta"):
        net = workbench.build(name)
        again = workbench.build(workbench.describe(net))
    assert repr(again) == repr(net)


def test_vgg16_is_described_in_the_words_it_was_written_in() -> None:
    with torch.device("meta"):
        assert workbench.describe(workbench.build("VGG-16")) == CLASSICS["VGG-16"]


@pytest.mark.parametrize("name", ["vgg16", "VGG 16", "vgg_16", " Vgg-16 "])
def test_a_classic_is_found_however_it_is_spelt(name: str) -> None:
    assert find(name) == CLASSICS["VGG-16"]


def test_classics_are_inspected_as_they_are() -> None:
    """VGG-16: 15.5 billion multiply-adds a window; its features see 212 px."""
    volume, steps = plan_layers(CLASSICS["VGG-16"])
    with torch.device("meta"):
        net = build_modules(steps, budget_bytes=1)
    report = fullfield.inspect(net, window=volume[1])
    assert sum(row.macs for row in report.rows) == 15_470_264_320
    pool = next(row for row in report.rows if row.name == "pool5")
    assert (pool.axes[0].size, pool.axes[0].jump) == (212, 32)


@pytest.mark.parametrize("name", ["LeNet-5", "AlexNet", "ZFNet"])
def test_classics_run(name: str) -> None:
    net = workbench.build(name).eval()
    with torch.no_grad():
        y = net(torch.zeros(1, *net.pretrained_cfg["input_size"]))
    assert tuple(y.shape) == ((1, 10) if name == "LeNet-5" else (1, 1000))
    assert isinstance(net, nn.Sequential)
