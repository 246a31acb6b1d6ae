"""The plan as a table: its multiply-adds against a count by hand, against the tiles, and against those executed."""

import json
import math
import re

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

import fullfield
from fullfield.geometry.axis import Op
from fullfield.geometry.network import Network, NodeSpec
from fullfield.jobs.in_memory import compute_scores
from fullfield.jobs.job import ScanJob
from fullfield.planning import Borders, Plan, make_plan
from fullfield.planning.table import FamilyCounts
from tests.oracle import crops, difference, shaken
from tests.requests import job_of

CONV3 = (Op(3, low=1, high=1), Op(3, low=1, high=1))


def network(*, whole: bool = False, path: str = "conv") -> Network:
    """A padded convolution of 10 multiply-adds a cell on windows of 8x8 px, and a layer of 7 for the whole window."""
    nodes = [
        NodeSpec("x", "x", "input", "input", (), shape=(1, 8, 8)),
        NodeSpec("c", path, "conv2d", "windowed", ("x",), CONV3, (2, 8, 8), 10),
        NodeSpec("r", path, "relu", "cell", ("c",), shape=(2, 8, 8)),
    ]
    if whole:
        nodes.append(NodeSpec("w", "head", "attention", "whole", ("r",), shape=(5,), macs=7, reason="looks around"))
    return Network(tuple(nodes), (8, 8))


def plan(net: Network, *, image: tuple[int, int] = (12, 12), borders: Borders | None = None, **more: object) -> Plan:
    return make_plan(net, image=image, step=(4, 4), borders=borders or Borders(), **more)  # type: ignore[arg-type]


def test_parts_are_products_of_the_axes_families() -> None:
    # Along each axis two windows: 10 cells of interior (1 to 11 px), and 2 windows of 2 border cells.
    table = plan(network(whole=True), tile=(2, 2)).table
    conv, head = table.layers
    assert conv.scan == conv.tile == FamilyCounts(10 * 10 * 10, 10 * 2 * (10 * 4), 10 * 4 * 4, 0)
    assert head.scan == FamilyCounts(windows=4 * 7)
    assert (conv.crops, head.crops) == (4 * 64 * 10, 4 * 7)
    assert table.scan == FamilyCounts(1000, 800, 160, 28)
    assert (table.scan.total, table.crops) == (1988, 2588)
    assert table.mac_ratio == 2588 / 1988


def test_a_layer_says_where_it_runs_and_why() -> None:
    conv, head = plan(network(whole=True), tile=(2, 2)).table.layers
    assert (conv.name, conv.ops, conv.shared, conv.reason) == ("conv", ("conv2d", "relu"), True, "")
    assert conv.axes is not None
    assert (conv.axes[0].low, conv.axes[1].high) == (1, 1)
    assert (head.name, head.shared, head.reason, head.axes) == ("head", False, "looks around", None)


def test_context_has_one_map_and_no_borders() -> None:
    table = plan(network(), borders=Borders(0), tile=(2, 2)).table
    assert table.scan == FamilyCounts(12 * 12 * 10)
    assert table.layers[0].axes is not None
    assert table.layers[0].axes[0].low == 0


@pytest.mark.parametrize("borders", [Borders(), Borders(0), Borders(1), Borders(1, 8)])
@pytest.mark.parametrize("tile", [(1, 1), (2, 3), (4, 2), (9, 9)])
def test_the_scan_is_the_sum_over_its_tiles(borders: Borders, tile: tuple[int, int]) -> None:
    made = plan(network(whole=True), image=(27, 41), borders=borders, tile=tile)
    wanted = 0
    for layout in map(made.layout, made.tiles()):
        for node in made.network:
            own = math.prod(layout.windows) * node.window_macs
            wanted += layout.cells(node.name) * node.macs if node.name in layout.y else own
    assert made.table.scan.total == wanted


def test_passes_add_up() -> None:
    strided = Network(
        (
            NodeSpec("x", "x", "input", "input", (), shape=(1, 8, 8)),
            NodeSpec("a", "a", "conv2d", "windowed", ("x",), (Op(2, 2), Op(2, 2)), (1, 4, 4), 3),
            NodeSpec("b", "b", "conv2d", "windowed", ("a",), (Op(4), Op(4)), (1, 1, 1), 5),
        ),
        (8, 8),
    )
    made = make_plan(strided, image=(17, 16), step=(1, 1), method="shifted", tile=(3, 3))
    table = made.table
    assert len(made.all_passes) == 4
    # Passes start at 0 and 1 px along each axis: 5 + 5 and 5 + 4 windows, whose maps overlap where tiles meet.
    # Two tiles of 3 windows are computed for 5, tiles of 3 and 1 for 4.
    assert table.crops == 90 * (16 * 3 + 5)
    assert table.layers[1].scan.interior == (6 + 6) * (6 + 4) * 5
    assert table.layers[0].scan.interior == 3 * sum(
        (6 + 6) * (6 + 6 if j < 1 else 6 + 4) for _ in (0, 1) for j in (0, 1)
    )
    assert "method    shifted" in str(table)
    assert "16 tiles in all" in str(table)


def test_the_tile_of_a_table_is_a_full_one() -> None:
    table = plan(network(whole=True), image=(28, 28), tile=(2, 4)).table  # 6x6 windows: 2x4 and 2x2
    assert table.tile == plan(network(whole=True), image=(12, 20), tile=(2, 4)).table.scan
    assert table.tile.windows == 8 * 7


def test_the_halo_is_what_context_reads_beside_the_windows() -> None:
    assert plan(network(), image=(28, 28), tile=(2, 2)).table.halo == (0, 0, 0, 0)
    assert plan(network(), image=(28, 28), tile=(2, 2), borders=Borders(0)).table.halo == (1, 1, 1, 1)
    assert plan(network(), image=(28, 12), tile=(2, 2), borders=Borders(0)).table.halo == (1, 1, 0, 0)


def test_time_follows_multiply_adds_and_numbers_written() -> None:
    table = plan(network(), tile=(2, 2)).table
    # 144 px and 2 x 2 channels of 14 x 14 cells, against 4 windows of 64 px and 2 x 2 x 64 cells
    assert table.numbers == (144 + 4 * 14 * 14, 4 * (64 + 4 * 64))
    work, crops = 1960 + 16 * (144 + 4 * 14 * 14), 2560 + 16 * 4 * (64 + 4 * 64)
    assert table.speedup == crops / work
    assert table.seconds(0.5) == pytest.approx(4 * 0.5 * work / crops)


def test_what_is_cut_out_for_windows_is_written_too() -> None:
    table = plan(network(whole=True), tile=(2, 2)).table
    assert table.numbers[0] == 144 + 4 * 14 * 14 + 4 * (2 * 64 + 5)


def test_the_text_has_a_line_a_layer_totals_and_facts() -> None:
    text = str(plan(network(whole=True), tile=(2, 2)).table)
    assert re.search(r"^conv +conv2d, relu +shared +1,1 +1\.00 k +800 +160 +2\.56 k +1\.3x$", text, re.MULTILINE)
    assert re.search(r"^head +attention +per window +28 +28 +1\.0x$", text, re.MULTILINE)
    assert re.search(r"^all layers +1\.00 k +800 +160 +28 +2\.59 k +1\.3x$", text, re.MULTILINE)
    assert "map       2x2 windows, step 4 px, of 12x12 px; exact\n" in text
    assert "frontier  head: looks around\n" in text
    assert "tile      2x2 windows, batches of 4 windows, 1.99 k MACs, 1 tile in all\n" in text
    assert text.endswith("work      1.99 k MACs, crop by crop 2.59 k: 1.3x fewer")
    assert max(map(len, text.splitlines())) <= 120


def test_the_text_names_the_dial_and_odd_shapes() -> None:
    made = make_plan(network(path="a" * 40), image=(28, 12), step=(4, 3), borders=Borders(1, 8), tile=(2, 1))
    text = str(made.table)
    assert "…" + "a" * 31 + " " in text
    assert "6x2 windows, step 4 x 3 px, of 28x12 px; border 1, maps of at most 8 cells whole\n" in text
    assert "frontier  none, windows share every layer\n" in text
    assert "6 tiles in all" in text
    assert "; border 1\n" in str(plan(network(), borders=Borders(1)).table)
    assert "; context\n" in str(plan(network(), borders=Borders(0)).table)


def test_unequal_borders_and_many_operators_are_shortened() -> None:
    ops = ("conv2d", "hardswish", "leaky_relu", "dropout")
    nodes = [NodeSpec("x", "x", "input", "input", (), shape=(1, 8, 8))]
    axes = (Op(3, low=1, high=1), Op(1))
    for k, op in enumerate(ops):
        kind = "cell" if k else "windowed"
        nodes.append(NodeSpec(f"n{k}", "a", op, kind, (nodes[-1].name,), (Op(1), Op(1)) if k else axes, (1, 8, 8)))  # type: ignore[arg-type]
    text = str(plan(Network(tuple(nodes), (8, 8)), tile=(2, 2)).table)
    assert re.search(r"^a +conv2d, hardswish, le… +shared +1,1 x 0$", text, re.MULTILINE)


def test_json_has_the_plan_and_every_layer() -> None:
    made = plan(network(whole=True), tile=(2, 2))
    facts = json.loads(json.dumps(made.table.to_dict()))
    assert set(made.to_dict()) <= set(facts)
    assert facts["scan_macs"] == {"interior": 1000, "strips": 800, "corners": 160, "windows": 28, "total": 1988}
    assert facts["halo"] == [0, 0, 0, 0]
    conv, head = facts["layers"]
    assert (conv["runs"], conv["axes"]["y"]["low"], conv["crop_macs"]) == ("shared", 1, 2560)
    assert (head["runs"], head["axes"], head["reason"]) == ("per window", None, "looks around")


class Residual(nn.Module):
    """Padding, a stride, a branch and a head: something in every part."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Conv2d(1, 4, 3, padding=1)
        self.b = nn.Conv2d(4, 4, 3, stride=2, padding=1, groups=2)
        self.c = nn.Conv2d(4, 4, 3, padding=1)
        self.head = nn.Linear(4 * 8 * 8, 3)

    def forward(self, x):  # type: ignore[no-untyped-def]
        x = self.b(self.a(x).relu())
        return self.head((x + self.c(x)).flatten(1))


def residual(**settings: object) -> ScanJob:
    image = np.random.default_rng(0).integers(0, 255, (27, 33), dtype=np.uint8)
    # in double precision: torch does not count the merged operators that run in single
    net = fullfield.load(Residual().double(), window=16, channels=1, preprocessing="unit-grey")
    return job_of(net, image, **settings)


@pytest.mark.parametrize("mode", ["exact", 0, 1, 2, (1, 8)])
@pytest.mark.parametrize("step", [1, 3, 4])
def test_predicted_multiply_adds_are_those_executed(mode: object, step: int) -> None:
    work = residual(mode=mode, step=step, tile=(5, 8))
    counter = FlopCounterMode(display=False)
    with counter:
        compute_scores(work)
    assert 2 * work.plan.table.scan.total == counter.get_total_flops()


class Computed(nn.Module):
    """Kernels and a norm's scale that are computed from weights, by matrix products too."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Parameter(torch.randn(4, 3)), nn.Parameter(torch.randn(3, 9))
        self.norms, self.head = nn.ModuleList([nn.BatchNorm2d(4), nn.BatchNorm2d(4)]), nn.Linear(4, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        kernel = (self.first @ self.second).reshape(4, 1, 3, 3)
        x = self.norms[0](torch.nn.functional.conv2d(x, kernel - kernel.mean()))
        x = self.norms[1](torch.nn.functional.conv2d(x, kernel.tanh(), groups=4, padding=1))
        mean = x.mean((2, 3), keepdim=True)
        return self.head((x * mean * (self.first @ self.first.T).sum(1)[:, None, None]).mean((2, 3)))


def test_what_is_computed_from_weights_alone_is_done_before_the_scan() -> None:
    torch.manual_seed(0)
    net = fullfield.load(shaken(Computed()), window=16, channels=1)
    image = torch.randn(1, 27, 33, dtype=torch.float64)
    work = job_of(net, image, step=3, tile=(2, 3))
    with FlopCounterMode(display=False) as counter:
        found = compute_scores(work).array
    assert 2 * work.plan.table.scan.total == counter.get_total_flops()
    with torch.no_grad():
        wanted = crops(net, image[None], (3, 3))
    assert difference(torch.as_tensor(found).permute(1, 2, 0), wanted) <= 1e-12


def test_every_part_has_work_in_the_network_that_is_counted() -> None:
    assert min(residual(step=4, tile=(3, 5)).plan.table.scan.counts) > 0
