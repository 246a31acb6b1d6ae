"""Modules to models: what is captured, what is not changed, what is refused and why."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from fullfield.errors import CaptureError
from fullfield.layers import LocalResponseNorm2d
from fullfield.model.batch_independence import check_batch_independence
from fullfield.model.preprocessing import PRESETS
from fullfield.model.torch_export import capture_module, parse_window


class Small(nn.Module):
    """A network whose output can be wrapped in any way."""

    def __init__(self, wrap: object = lambda y: y, channels: int = 3) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(channels, 4, 3), nn.BatchNorm2d(4), nn.Dropout())
        self.head, self.wrap = nn.Linear(4, 6), wrap

    def forward(self, x: Tensor) -> object:
        return self.wrap(self.head(self.features(x).mean((2, 3))))  # type: ignore[operator]


def test_a_captured_network_takes_any_batch_and_gives_the_modules_scores() -> None:
    module = Small().eval()
    net = capture_module(module, window=(9, 7))
    assert (net.window, net.channels, net.classes, net.name) == ((9, 7), 3, 6, "Small")
    for batch in (1, 2, 5):
        windows = torch.randn(batch, 3, 9, 7)
        assert torch.equal(net(windows), module(windows))


def test_training_flags_and_parameters_stay_the_modules_own() -> None:
    module = Small()
    module.features[1].eval()
    flags = [m.training for m in module.modules()]
    net = capture_module(module, window=9)
    assert [m.training for m in module.modules()] == flags
    assert {p.data_ptr() for p in net.graph.parameters()} == {p.data_ptr() for p in module.parameters()}


def test_flags_are_restored_when_the_export_fails_too() -> None:
    module = Small(wrap=lambda y: y if float(y.sum()) > 0 else -y)
    with pytest.raises(CaptureError, match="Small: cannot be exported") as caught:
        capture_module(module, window=9)
    assert module.training
    assert "control flow" in caught.value.fix


def test_nodes_carry_their_layers_names() -> None:
    graph = capture_module(Small(), window=9).graph.graph
    paths = {str(n.target): n.meta["path"] for n in graph.nodes if n.op == "call_function"}
    assert paths["aten.conv2d.default"] == "features.0"
    assert paths["aten.linear.default"] == "head"


@pytest.mark.parametrize(
    ("wrap", "output"),
    [
        (lambda y: (y, y + 1), 0),
        (lambda y: {"scores": y, "other": y + 1}, "scores"),
        (lambda y: y[:, :, None, None], None),
    ],
    ids=["tuple", "dict", "1x1 map"],
)
def test_scores_are_found_in_a_tuple_a_dict_or_a_map(wrap: object, output: int | str | None) -> None:
    module = Small(wrap).eval()
    windows = torch.randn(2, 3, 9, 9)
    plain = module.head(module.features(windows).mean((2, 3)))
    assert torch.equal(capture_module(module, window=9, score=output)(windows), plain)


@pytest.mark.parametrize(
    ("wrap", "message"),
    [
        (lambda y: (y, y), "a collection of 2: .*Tensor, .*Tensor"),
        (lambda y: {"scores": y, "boxes": y}, "a collection of 2: scores, boxes"),
        (lambda y: None, "NoneType"),
        (lambda y: y.reshape(-1), r"an output of shape \(12,\), not \(2, K\)"),
        (lambda y: y[:, :, None], r"an output of shape \(2, 6, 1\)"),
    ],
    ids=["tuple", "dict", "nothing", "flat", "three dimensions"],
)
def test_an_output_that_is_not_one_score_vector_a_window_is_refused(wrap: object, message: str) -> None:
    with pytest.raises(CaptureError, match=message):
        capture_module(Small(wrap), window=9)


@pytest.mark.parametrize("window", [0, -3, (3,), (3, 4, 5), (3, 0), (2.5, 3)])
def test_a_window_is_one_or_two_positive_integers(window: object) -> None:
    with pytest.raises(CaptureError, match="is not one or two positive integers"):
        parse_window(window)  # type: ignore[arg-type]


def test_a_window_smaller_than_a_kernel_is_one_clear_error() -> None:
    with pytest.raises(CaptureError, match="cannot be exported"):
        capture_module(Small(), window=2)


def test_the_window_must_be_known() -> None:
    with pytest.raises(CaptureError, match="is not given and the module does not state it"):
        capture_module(Small())


def test_a_pretrained_cfg_says_window_preprocessing_and_names() -> None:
    module = Small()
    names = list("abcdef")
    module.pretrained_cfg = {"input_size": (3, 9, 8), "mean": (0.5,) * 3, "std": (0.25,) * 3, "label_names": names}  # type: ignore[assignment]
    net = capture_module(module)
    assert net.window == (9, 8)
    assert net.preprocessing.std == (0.25,) * 3
    assert net.class_names == tuple(names)
    assert capture_module(module, preprocessing="unit").preprocessing == PRESETS["unit"]


def test_channels_are_those_of_the_first_convolution_or_as_said() -> None:
    assert capture_module(Small(channels=1), window=9).channels == 1
    flat = nn.Sequential(nn.Flatten(), nn.Linear(2 * 9, 3))
    assert capture_module(flat, window=3, channels=2).channels == 2


def test_pixels_may_be_rearranged_before_the_first_convolution() -> None:
    module = nn.Sequential(nn.PixelUnshuffle(2), nn.Conv2d(12, 4, 3), nn.Flatten(), nn.LazyLinear(3))
    module(torch.zeros(2, 3, 8, 8))
    module.pretrained_cfg = {"input_size": (3, 8, 8)}  # type: ignore[assignment]
    assert capture_module(module).channels == 3


def test_names_must_be_as_many_as_scores() -> None:
    with pytest.raises(CaptureError, match="2 names for 6 scores"):
        capture_module(Small(), window=9, class_names=["a", "b"])


@pytest.mark.parametrize(
    "wrap",
    [
        lambda y: (y @ y.transpose(0, 1)).softmax(-1) @ y,
        lambda y: y - y.mean(0),
        lambda y: y / y.norm(),
        lambda y: y.softmax(0),
        lambda y: torch.einsum("nk,mk->mk", y, y),
        lambda y: y.transpose(0, 1).softmax(1).transpose(0, 1),
        lambda y: y + y.flip(0),
        lambda y: y.cumsum(0),
        lambda y: y / y.max(),
        lambda y: y + y.roll(1, 0),
        lambda y: y + y.roll(1),
        lambda y: y + y[:1],
        lambda y: y + y[-1],
        lambda y: y + y.reshape(6, -1).softmax(0).reshape(-1, 6),
        lambda y: nn.functional.batch_norm(y, None, None, training=True),
        lambda y: (y[:, None] - y[None]).abs().sum(1),
        lambda y: torch.cat([y, -y]).reshape(-1, 2, 6).sum(1),
        lambda y: y.reshape(-1, 3).cumsum(0).reshape(-1, 6),
        lambda y: y.transpose(0, 1).reshape(-1, 6),
        lambda y: torch.einsum("nk,nl->nl", y, y.flip(0)),
    ],
)
def test_a_network_that_mixes_the_windows_of_a_batch_is_refused(wrap: object) -> None:
    torch.manual_seed(0)
    with pytest.raises(CaptureError, match="it mixes the windows"):
        capture_module(Small(wrap).eval(), window=9)


@pytest.mark.parametrize(
    "wrap",
    [
        lambda y: y * y.shape[0],
        lambda y: y + torch.arange(y.shape[0] * 6).reshape(-1, 6).amax(),
        lambda y: y / y.numel(),
    ],
)
def test_a_network_that_computes_with_the_size_of_the_batch_is_refused(wrap: object) -> None:
    with pytest.raises(CaptureError, match="other scores in a batch of two than alone"):
        capture_module(Small(wrap).eval(), window=9)


@pytest.mark.parametrize(
    "wrap",
    [
        nn.functional.dropout,
        lambda y: nn.functional.rrelu(y - 10, training=True),
        lambda y: y + torch.randn_like(y),
        lambda y: y * torch.bernoulli(torch.full_like(y, 0.5)),
    ],
)
def test_a_network_that_draws_random_numbers_is_refused(wrap: object) -> None:
    with pytest.raises(CaptureError, match="it draws random numbers"):
        capture_module(Small(wrap).eval(), window=9)


@pytest.mark.parametrize(
    "wrap",
    [
        lambda y: nn.functional.rrelu(nn.functional.dropout(y, training=False)),
        lambda y: y.reshape(y.shape[0], 2, 3).flip(1).flatten(1),
        lambda y: y + torch.zeros(y.shape[0], 6),
        lambda y: y + torch.ones(1, 6).expand(y.shape[0], -1),
        lambda y: y[torch.arange(y.shape[0]), :],
        lambda y: y.reshape(3 * y.shape[0], 2).softmax(1).reshape(-1, 6),
        lambda y: y.reshape(6, -1).reshape(-1, 6),
    ],
)
def test_sizes_and_places_within_a_window_are_no_mixing(wrap: object) -> None:
    module = Small(wrap).eval()
    windows = torch.rand(3, 3, 9, 9)
    assert torch.allclose(capture_module(module, window=9)(windows), torch.cat([module(w[None]) for w in windows]))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "wrap",
    [
        lambda y: (y[:, :, None] @ y[:, None]).softmax(-1).sum(-1),
        lambda y: (y @ torch.ones(6, 4)).softmax(1),
        lambda y: y.transpose(0, 1).softmax(0).transpose(0, 1),
    ],
)
def test_products_within_a_window_are_no_mixing(wrap: object) -> None:
    net = capture_module(Small(wrap).eval(), window=9)
    assert net.window == (9, 9)


def test_nothing_is_run_to_see_that_windows_are_apart_where_operators_say_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def attention(y: Tensor) -> Tensor:
        y = LocalResponseNorm2d(3)(y[:, :, None, None]).flatten(1)
        rows = y.reshape(-1, 2, 3)
        rows = nn.functional.scaled_dot_product_attention(rows, rows, rows) + rows @ torch.ones(3, 3)
        rows = (rows @ rows.transpose(1, 2)).softmax(-1).reshape(-1, 2, 2, 1).transpose(1, 2)
        blocks = nn.functional.layer_norm(rows.reshape(-1, 2) @ torch.ones(2, 2), [2])  # two of each window
        blocks = torch.einsum("nij,njk->nik", blocks.reshape(-1, 2, 2), torch.ones(2, 2).expand(y.shape[0], 2, 2))
        two = torch.stack([blocks, blocks]).reshape(2, -1, 2)  # behind another dimension
        return two.unbind(0)[1].reshape(-1, 2, 2).roll((1, 1), (1, 2)).flatten(1)

    graph = capture_module(Small(attention).eval(), window=9).graph
    monkeypatch.setattr("torch.randn", None)
    check_batch_independence(graph, torch.zeros(2, 3, 9, 9), "Small")


def test_a_network_without_numbers_is_captured() -> None:
    net = capture_module(Small(lambda y: y.flip(1)).to("meta").eval(), window=9)
    assert net.device.type == "meta"


def test_a_failed_export_prints_nothing_of_its_own(capfd: pytest.CaptureFixture[str]) -> None:
    class Branching(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.flatten(1) if x.sum() > 0 else -x.flatten(1)

    with pytest.raises(CaptureError, match="cannot be exported"):
        capture_module(Branching(), window=5)
    assert capfd.readouterr() == ("", "")
