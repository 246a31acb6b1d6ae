"""Layers chosen as scores: what they give for a window as one vector, and how they are named."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from fullfield.errors import CaptureError
from fullfield.model.features import parse_score, vector_rule
from fullfield.model.torch_export import capture_module
from tests.architectures import VisionTransformer


class Block(nn.Module):
    """A residual block whose activation runs twice."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first, self.second = (nn.Conv2d(channels, channels, 3, padding=1) for _ in range(2))
        self.act = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        return self.act(x + self.second(self.act(self.first(x))))


class Network(nn.Module):
    """Two stages, a mean by hand, and a head; ``spare`` never runs."""

    def __init__(self, end: Any = lambda y: y) -> None:
        super().__init__()
        self.stem, self.stage = nn.Conv2d(3, 6, 3, stride=2, padding=1), nn.Sequential(Block(6), Block(6))
        self.last = nn.Sequential(nn.Conv2d(6, 9, 2, stride=2), nn.ReLU())
        self.drop, self.head, self.spare, self.end = nn.Dropout(), nn.Linear(9, 9), nn.Linear(2, 2), end

    def forward(self, x: Tensor) -> Any:
        return self.end(self.head(self.drop(self.last(self.stage(self.stem(x))).mean((2, 3)))))


def parts(net: Network, x: Tensor) -> dict[str, Tensor]:
    """What the layers give, step by step."""
    stem = net.stem(x)
    stage = net.stage(stem)
    last = net.last(stage)
    return {"stem": stem, "stage.0": net.stage[0](stem), "stage": stage, "last": last, "drop": last.mean((2, 3))}


WINDOWS = torch.randn(3, 3, 16, 20, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("name", ["stem", "stage.0", "stage", "last"])
def test_a_map_is_averaged_over_the_window_or_taken_whole(name: str) -> None:
    net = Network().eval()
    found, wanted = capture_module(net, window=(16, 20), score=name), parts(net, WINDOWS)[name]
    assert torch.equal(found(WINDOWS), wanted.mean((2, 3)))
    assert found.features == f"{name}, mean over {wanted.shape[2]}x{wanted.shape[3]} cells"
    whole = capture_module(net, window=(16, 20), score=f"{name}:map")
    assert torch.equal(whole(WINDOWS), wanted.flatten(1))
    assert whole.classes == wanted[0].numel()


def test_a_vector_is_taken_as_it_is_also_of_a_layer_that_does_nothing() -> None:
    net = Network().eval()
    found = capture_module(net, window=(16, 20), score="drop")
    assert torch.equal(found(WINDOWS), parts(net, WINDOWS)["drop"])
    assert found.features == "drop"
    assert "9 features" in repr(found)


def test_the_last_run_of_a_layer_counts() -> None:
    net = Network().eval()
    found = capture_module(net, window=(16, 20), score="stage.1.act")
    assert torch.equal(found(WINDOWS), parts(net, WINDOWS)["stage"].mean((2, 3)))


def test_operators_between_layers_have_the_names_that_inspect_prints() -> None:
    net = Network().eval()
    named = capture_module(net, window=(16, 20), score="mean")
    assert torch.equal(named(WINDOWS), parts(net, WINDOWS)["drop"])
    paths = [node.meta["path"] for node in named.graph.graph.nodes if node.op == "call_function"]
    assert paths[0] == "stem"
    assert "stage.1.second" in paths


def test_tokens_are_averaged_or_their_first_taken() -> None:
    net = VisionTransformer(16).eval()
    windows, seen = torch.randn(2, 3, 32, 32), []
    net.block.register_forward_hook(lambda m, x, y: seen.append(y))
    net(windows)
    tokens = seen[0]
    mean, first = (capture_module(net, window=32, score=f"block{part}") for part in ("", ":first"))
    torch.testing.assert_close(mean(windows), tokens.mean(1), rtol=0, atol=1e-6)
    torch.testing.assert_close(first(windows), tokens[:, 0], rtol=0, atol=1e-6)
    assert first.features == "block, first of 17 tokens"


class ChannelsLast(nn.Module):
    """A map in the order (n, h, w, c), as Swin transformers keep it."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm, self.head = nn.Conv2d(3, 7, 4, stride=4), nn.LayerNorm(7), nn.Linear(7, 5)

    def forward(self, x: Tensor) -> Tensor:
        scores: Tensor = self.head(self.norm(self.conv(x).permute(0, 2, 3, 1)).mean((1, 2)))
        return scores


@pytest.mark.parametrize("window", [(32, 32), (16, 32)])
def test_the_cells_of_a_map_with_its_channels_last_are_found_by_the_windows_sides(window: tuple[int, int]) -> None:
    net, windows = ChannelsLast().eval(), torch.randn(2, 3, *window)
    found = capture_module(net, window=window, score="norm")
    assert torch.equal(found(windows), net.norm(net.conv(windows).permute(0, 2, 3, 1)).mean((1, 2)))


class Several(nn.Module):
    """A layer that returns two tensors, one of them with the windows second."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 8, stride=8)
        self.lstm, self.head = nn.LSTM(4, 5, batch_first=True), nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        scores: Tensor = self.head(self.lstm(self.conv(x).flatten(2).transpose(1, 2))[0].mean(1))
        return scores


def test_a_layers_outputs_are_named_by_dots_and_have_one_row_a_window() -> None:
    net, windows = Several().eval(), torch.randn(2, 3, 16, 16)
    found = capture_module(net, window=16, score="lstm.0")
    wanted = net.lstm(net.conv(windows).flatten(2).transpose(1, 2))[0].mean(1)
    torch.testing.assert_close(found(windows), wanted, rtol=0, atol=1e-6)
    with pytest.raises(CaptureError, match=r"lstm.1.0: gives \(1, n, 5\) for n windows, not one row a window"):
        capture_module(net, window=16, score="lstm.1.0")
    with pytest.raises(CaptureError, match=r"lstm returns 3: 0 \(.*1.0"):
        capture_module(net, window=16, score="lstm")


@pytest.mark.parametrize("end", [lambda y: y, lambda y: y.softmax(1), torch.sigmoid], ids=["", "softmax", "sigmoid"])
def test_a_layer_whose_softmax_the_network_returns_gives_scores_with_names(end: Any) -> None:
    net = Network(end).eval()
    net.pretrained_cfg = {"label_names": [f"c{k}" for k in range(9)], "input_size": (3, 16, 20)}
    scores, features = capture_module(net, score="head"), capture_module(net, score="drop")
    assert (scores.features, scores.class_names) == (None, tuple(f"c{k}" for k in range(9)))
    assert (features.classes, features.class_names) == (9, None)  # nine as well, but no classes
    assert torch.equal(scores(WINDOWS), net.head(parts(net, WINDOWS)["drop"]))


def test_an_output_that_is_a_map_is_averaged_only_where_it_is_chosen() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU()).eval()
    assert capture_module(net, window=9, score=0).features == "output 0, mean over 7x7 cells"
    with pytest.raises(CaptureError, match=r"not \(2, K\)\n  fix: .*average a map over the window: score=0"):
        capture_module(net, window=9)


@pytest.mark.parametrize(
    ("score", "message"),
    [
        ("stages", r"no output and no layer of Network, which returns \(n, 9\)\n  fix: did you mean 'stage'"),
        ("stage.3", "did you mean 'stage.1', 'stage.0', 'stage'"),
        ("spare", "'spare' does not run when Network scores windows"),
        ("stage:first", r"stage: gives 6x8x10 numbers a window, no tokens\n  fix: write stage:map"),
        (1.5, r"1.5 is no index and no name\n  fix: write score=0 or score=\"layer4\", say"),
        (True, "True is no index and no name"),
    ],
)
def test_what_is_no_layer_is_refused_with_the_nearest_names(score: Any, message: str) -> None:
    with pytest.raises(CaptureError, match=message):
        capture_module(Network().eval(), window=(16, 20), score=score)


def test_a_network_without_numbers_has_layers_too() -> None:
    with torch.device("meta"):
        net = Network().eval()
    assert capture_module(net, window=(16, 20), score="drop").features == "drop"
    assert capture_module(net, window=(16, 20), score="stem").classes == 6


def test_the_module_is_not_changed() -> None:
    net = Network().train()
    capture_module(net, window=(16, 20), score="stage")
    assert net.training
    assert all(not part._forward_hooks for part in net.modules())


def test_a_choice_is_parsed_from_text() -> None:
    assert (parse_score("a.b:map").name, parse_score("a.b:map").pooling) == ("a.b", "map")
    assert (parse_score("prob:0").name, parse_score("prob:0").pooling) == ("prob:0", None)
    assert (parse_score("1:mean").name, parse_score(-1).name) == ("1", -1)
    with pytest.raises(
        CaptureError, match=r"x: gives 2x3x4x5 numbers a window, no vector, map or tokens\n  fix: .*x:map"
    ):
        vector_rule((2, 3, 4, 5), None, (8, 8), "x")
