"""What the rows, totals and sentences of a report say of small networks that can be checked by hand."""

from __future__ import annotations

import json

import pytest
import torch
from torch import nn

from fullfield.errors import GeometryError
from fullfield.geometry.axis import Op
from fullfield.importers.load import load
from fullfield.operators.work import Work
from fullfield.report.measure import measure
from fullfield.report.report import Report


def head(channels: int) -> list[nn.Module]:
    return [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, 2)]


def report(*layers: nn.Module, window: int = 16, channels: int = 3, at: int | None = None) -> Report:
    classifier = load(nn.Sequential(*layers), window=window, channels=channels)
    return measure(classifier, at=None if at is None else (at, at))


class Residual(nn.Module):
    """``x + conv(x)`` and a gate, one of them or both."""

    def __init__(self, channels: int, *, gate: bool = False, kernel: int = 3) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, kernel, padding=kernel // 2)
        self.squeeze = nn.Conv2d(channels, channels, 1) if gate else None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.conv(x)
        if self.squeeze is not None:
            y = y * torch.sigmoid(self.squeeze(y.mean((2, 3), keepdim=True)))
        return x + y[:, :, : x.shape[2], : x.shape[3]]


def test_rows_carry_the_layers_own_names_and_types() -> None:
    found = report(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(), nn.MaxPool2d(2), *head(4))
    assert [(r.name, r.type) for r in found] == [
        ("image", "image"),
        ("0", "conv2d"),
        ("1", "batch_norm"),
        ("2", "relu"),
        ("4", "max_pool2d"),
        ("5", "adaptive_avg_pool2d"),
        ("7", "linear"),
    ]


class Twice(nn.Module):
    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer, self.between = layer, nn.Conv2d(3, 3, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(self.between(self.layer(x)))


def test_a_name_used_twice_gets_a_number() -> None:
    found = report(Twice(nn.ReLU()), *head(3))
    assert [row.name for row in found][1:4] == ["0.layer", "0.between", "0.layer (2)"]


def test_a_layer_used_twice_has_two_rows_and_its_parameters_once() -> None:
    conv = nn.Conv2d(3, 3, 3)
    found = report(conv, nn.ReLU(), conv, *head(3))
    assert found["0"].parameters == 3 * 3 * 9 + 3
    assert found["2"].parameters == 0
    assert found["2"].shape == (3, 12, 12)
    assert found.parameters == sum(p.numel() for p in nn.Sequential(conv, *head(3)).parameters())


def test_an_unknown_row_is_a_key_error_that_names_the_rows() -> None:
    with pytest.raises(KeyError, match=r"'9' is not one of image, 0, 1, 3"):
        report(nn.Conv2d(3, 4, 3), *head(4))["9"]


def test_uneven_same_padding_is_one_row() -> None:
    row = report(nn.Conv2d(3, 4, (4, 3), padding="same"), *head(4))["0"]
    assert row.ops == (Op(4, 1, 1, 2), Op(3, 1, 1, 1))
    assert row.shape == (4, 16, 16)
    assert row.fits


def test_local_response_norm_is_one_row() -> None:
    found = report(nn.Conv2d(3, 8, 3), nn.LocalResponseNorm(5), *head(8))
    row = found["1"]
    assert (row.type, row.shape, row.macs, row.parameters) == ("local_response_norm", (8, 14, 14), 0, 0)
    assert row.work.adds >= 4 * row.shape[0] * 14 * 14


@pytest.mark.parametrize(
    ("layer", "work"),
    [
        (nn.ReLU(), Work(comparisons=4 * 14 * 14)),
        (nn.SiLU(), Work(functions=4 * 14 * 14, multiplies=4 * 14 * 14)),
        (nn.BatchNorm2d(4), Work(multiplies=4 * 14 * 14, adds=4 * 14 * 14)),
        (nn.MaxPool2d(2), Work(comparisons=3 * 4 * 7 * 7)),
        (nn.AvgPool2d(7), Work(adds=48 * 4 * 2 * 2, divisions=4 * 2 * 2)),
        (nn.Conv2d(4, 6, 3, groups=2), Work(macs=6 * 2 * 9 * 12 * 12)),
        (nn.Conv2d(4, 6, 3, padding=1, bias=False), Work(macs=6 * 4 * 9 * 14 * 14)),
    ],
    ids=lambda value: type(value).__name__,
)
def test_work_is_counted_by_kind(layer: nn.Module, work: Work) -> None:
    channels = 6 if isinstance(layer, nn.Conv2d) else 4
    assert report(nn.Conv2d(3, 4, 3), layer, *head(channels))["1"].work == work


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_attention_is_two_products_of_queries_keys_and_values(masked: bool, dtype: torch.dtype) -> None:
    class Attention(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            tokens = x.flatten(2).mT.unflatten(2, (3, 4)).transpose(1, 2)  # (windows, heads, 49, 4)
            mask = torch.zeros(49, 49, dtype=x.dtype) if masked else None
            mixed = nn.functional.scaled_dot_product_attention(tokens, tokens, tokens, attn_mask=mask)
            return mixed.transpose(1, 2).flatten(2).mean(1)

    layers = nn.Sequential(nn.Conv2d(3, 12, 2, 2), Attention(), nn.Linear(12, 2)).to(dtype)
    found = measure(load(layers, window=14))
    assert [row.macs for row in found.rows if row.type.startswith("attention")] == [2 * 3 * 49 * 49 * 4]


def test_flops_are_two_a_multiply_add() -> None:
    assert (Work(macs=5, adds=3) + Work(adds=1)).to_dict()["flops"] == 10
    assert (Work(macs=5, adds=3) * 2).other == 6


def test_totals_are_sums_over_rows() -> None:
    found = report(nn.Conv2d(3, 4, 3), nn.ReLU(), *head(4))
    assert found.macs == 4 * 27 * 14 * 14 + 8
    assert found.activation_bytes == 4 * (3 * 256 + 2 * 4 * 196 + 4 + 2)
    assert found.weight_bytes == 4 * (4 * 27 + 4 + 10)


def test_activations_take_the_networks_own_type() -> None:
    module = nn.Sequential(nn.Conv2d(3, 4, 3), *head(4)).double()
    assert measure(load(module, window=16))["0"].activation_bytes == 8 * 4 * 196


def test_peak_memory_is_the_fullest_moment_of_a_chain() -> None:
    found = report(nn.Conv2d(3, 4, 3), nn.Conv2d(4, 16, 1), nn.Conv2d(16, 1, 1), *head(1))
    assert found.peak_bytes == found.weight_bytes + 4 * 14 * 14 * (4 + 16)


def test_peak_memory_keeps_what_a_branch_still_needs() -> None:
    found = report(nn.Conv2d(3, 8, 1), Residual(8), *head(8))
    assert found.peak_bytes == found.weight_bytes + 4 * 256 * 8 * 3  # x, conv(x) and their sum


def test_a_gate_leaves_rows_with_geometry_parameters_and_work_behind_it() -> None:
    found = report(Residual(3, gate=True), nn.Conv2d(3, 5, 3, 2, padding=1), nn.BatchNorm2d(5), *head(5))
    row = found["1"]
    assert not row.shared
    assert row.axes is None
    assert (row.volume, row.parameters, row.macs) == ("8×8×5", 140, 5 * 27 * 64)
    assert row.ops == (Op(3, 2, 1, 1), Op(3, 2, 1, 1))
    assert found["2"].volume == "8×8×5"
    assert found.stride == (2, 2)
    assert not found.convertible
    assert "gate" in found.refused[0]
    assert "Context mode: not possible" in str(found)
    assert "Whole window: 0 (mul)" in str(found)


def test_misaligned_branches_are_reported_and_not_fatal() -> None:
    found = report(nn.Conv2d(3, 4, 3), Residual(4, kernel=4), *head(4))
    assert found.misaligned == ("1 (add): branches whose cells lie 0.5 px along y and 0.5 px along x apart",)
    assert "Misaligned: 1 (add)" in str(found)
    assert not report(nn.Conv2d(3, 4, 3), Residual(4, kernel=3), *head(4)).misaligned


def test_an_unpadded_network_is_said_to_be_the_same_in_both_modes() -> None:
    found = report(nn.Conv2d(3, 4, 3), nn.MaxPool2d(2), *head(4))
    text = str(found)
    assert "Padding: none." in text
    assert "it is the fully convolutional network itself" in text
    assert "Context mode: the same scores" in text


def test_layers_that_pad_are_named_and_context_is_said_to_differ() -> None:
    text = " ".join(str(report(nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 4, 3), *head(4))).split())
    assert "Padding: 0 pads." in text
    assert "its scores differ from the crops'" in text
    assert "Exact mode: from 2 on (adaptive_avg_pool2d: borders meet" in text


def test_a_pool_that_rounds_up_is_said_to_hang_over() -> None:
    found = report(nn.Conv2d(3, 4, 3), nn.MaxPool2d(3, 2, ceil_mode=True), *head(4))
    assert found["1"].lost == (-1, -1)
    assert found["1"].pads
    assert "1 rounds up: its last cell reaches beyond" in str(found)


def test_lost_cells_are_counted_but_not_those_of_padding() -> None:
    found = report(nn.Conv2d(3, 4, 3, 2, padding=1), nn.Conv2d(4, 4, 3, 2), *head(4))
    assert (found["0"].lost, found["0"].dropped) == ((1, 1), (0, 0))
    assert (found["1"].lost, found["1"].dropped) == ((1, 1), (1, 1))
    assert "1 leaves 1 cell unread" in " ".join(str(found).split())
    assert "0 leaves" not in str(found)


def test_operators_that_cannot_be_counted_are_said_so() -> None:
    class Sorted(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.flatten(1).sort(1).values[:, :3]

    found = report(nn.Conv2d(3, 1, 3), Sorted())
    assert "sort" in found.uncounted
    assert "not counted other work of" in str(found)


def test_a_larger_image_gives_larger_maps() -> None:
    found = report(nn.Conv2d(3, 4, 3, padding=1), nn.MaxPool2d(2), *head(4), at=32)
    assert [r.at for r in found] == [(3, 32, 32), (4, 32, 32), (4, 16, 16), (4, 9, 9), (2, 9, 9)]
    assert "at 32x32" in str(found)


def test_a_larger_image_must_hold_a_window() -> None:
    with pytest.raises(GeometryError, match="12x12 px is smaller than the window of 16x16 px"):
        report(nn.Conv2d(3, 4, 3), *head(4), at=12)


def test_the_report_is_plain_json() -> None:
    found = report(Residual(3, gate=True), nn.Conv2d(3, 4, 3), *head(4), at=32)
    read = json.loads(found.to_json())
    assert read == json.loads(json.dumps(found.to_dict()))
    assert read["totals"]["macs"] == found.macs
    assert [row["name"] for row in read["rows"]] == [row.name for row in found]
    assert read["rows"][1]["y"]["kernel"] == 3
    assert read["summary"] == list(found.summary)


def test_a_table_with_long_names_stays_within_160_columns() -> None:
    deep: nn.Module = nn.Sequential(nn.Conv2d(3, 64, 3, padding=1), nn.BatchNorm2d(64), nn.SiLU())
    for _ in range(3):
        deep = nn.Sequential(
            *[nn.Identity() for _ in range(3)], nn.ModuleDict({"a_rather_long_name": deep})["a_rather_long_name"]
        )
    wide = nn.Sequential()
    wide.add_module("features_of_the_first_stage", deep)
    found = report(wide, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 2), window=224, at=1000)
    assert max(map(len, str(found).splitlines())) <= 160


def test_the_short_form_fits_a_line() -> None:
    assert repr(report(nn.Conv2d(3, 4, 3), *head(4))) == (
        "Report('Sequential', 4 rows, window 16x16, 122 parameters, 21176 MACs)"
    )
