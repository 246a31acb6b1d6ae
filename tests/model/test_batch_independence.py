"""A window's scores depend on no other window, no place, no number of windows and no chance; each is refused."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from fullfield.errors import CaptureError
from fullfield.layers import LocalResponseNorm2d
from fullfield.model.batch_independence import check_batch_independence
from fullfield.model.torch_export import capture_module
from tests.model.networks import Small


def _masked(known: Tensor) -> Tensor:
    """A mask of no effect as transformers makes those of attention: by windows' places, joined with others."""
    own = known[torch.arange(known.shape[0])[:, None], torch.arange(6)[None]]
    return (torch.ones(1, 6, dtype=torch.bool) & own) | ~(own ^ own)


GRU, LSTM = nn.GRU(3, 3).eval(), nn.LSTM(3, 3, batch_first=True, bidirectional=True).eval()


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
        lambda y: GRU(y.reshape(-1, 2, 3))[0].reshape(-1, 6),  # the windows are its steps
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
        lambda y: y * (1 + 2e-4 * y.shape[0]),
        lambda y: y + y.new_ones(y.shape[0] + 1).sum(),
        lambda y: y + y.new_ones(1).expand(y.shape[0] // 2 + 1).sum(),
        lambda y: y + y.new_ones(1).repeat(y.shape[0] // 2 + 1).sum(),
        lambda y: y + torch.zeros(2 * y.shape[0] - 1).add(1).sum(),
    ],
)
def test_a_network_that_computes_with_the_size_of_the_batch_is_refused(wrap: object) -> None:
    with pytest.raises(CaptureError, match=r"other scores (in|at the end of) a batch of \w+ than alone") as caught:
        capture_module(Small(wrap).eval(), window=9)
    assert "x.shape[0]" in caught.value.fix


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


@pytest.mark.parametrize(
    "wrap",
    [
        lambda y: GRU(y.reshape(-1, 2, 3).transpose(0, 1))[0].transpose(0, 1).flatten(1),
        lambda y: LSTM(y.reshape(-1, 2, 3))[0].flatten(1),
        lambda y: LSTM(y.reshape(-1, 3)[:, None])[1][0][0].reshape(-1, 6),  # two rows of each window
        lambda y: y.repeat(1, 2) + torch.ones(1, 12).repeat(y.shape[0], 1) + torch.ones(2, 6).tile(1, 2)[0],
        lambda y: y + torch.ones(2, 3).repeat(y.shape[0], 1).reshape(-1, 6),
        lambda y: y + y.new_zeros(6) + torch.ones_like(y),
        lambda y: nn.functional.fold(nn.functional.unfold(y.reshape(-1, 1, 2, 3), 2), (2, 3), 2).flatten(1),
        lambda y: y[torch.arange(y.shape[0]), :],
        lambda y: y[torch.arange(y.shape[0])[:, None], torch.tensor([4, 2, 2, 0, 1, 3])],
        lambda y: y + y[torch.arange(y.shape[0]), (y[:, 0] > 0).long()][:, None],
        lambda y: y * _masked(torch.ones(y.shape[0], 6, dtype=torch.bool)),
    ],
)
def test_nothing_is_run_for_recurrent_layers_and_tables_of_one_number(
    wrap: Callable[[Tensor], Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    graph = capture_module(Small(wrap).eval(), window=9).graph
    monkeypatch.setattr("torch.randn", None)
    check_batch_independence(graph, torch.zeros(2, 3, 9, 9), "Small")


PLACES: dict[str, Callable[[nn.Module, Tensor], Tensor]] = {
    "a table of positions": lambda m, y: y + m.table[: y.shape[0]],
    "a table by index": lambda m, y: y + m.table[torch.arange(y.shape[0])],
    "an embedding of positions": lambda m, y: y + nn.functional.embedding(torch.arange(y.shape[0]), m.table),
    "the number of each window at its place": lambda m, y: (
        y.repeat(1, 2)[(p := torch.arange(y.shape[0])), p][:, None] + y
    ),
    "a place read and computed with": lambda m, y: y[(p := torch.arange(y.shape[0]))] + p[:, None],
    "places of places": lambda m, y: y + torch.arange(y.shape[0])[torch.arange(y.shape[0])][:, None],
    "a part of a table": lambda m, y: y + m.table.narrow(0, 3, y.shape[0]),
    "a split of a table": lambda m, y: y + m.table.split([y.shape[0], 20000 - y.shape[0]])[0],
    "the place itself": lambda m, y: y + torch.arange(y.shape[0])[:, None],
    "every other place": lambda m, y: y * torch.where(torch.arange(y.shape[0]) % 2 == 0, 1.0, 2.0)[:, None],
    "a place that few batches reach": lambda m, y: y + (torch.arange(y.shape[0]) > 9)[:, None],
    "a place far from the first": lambda m, y: y + (torch.arange(y.shape[0]) >= 100)[:, None],
    "a unit matrix": lambda m, y: y + torch.eye(y.shape[0], 6),
    "a triangle": lambda m, y: torch.tril(torch.ones(y.shape[0], y.shape[0])).sum(0)[:, None] * y,
    "a sum of ones": lambda m, y: y + torch.ones(y.shape[0], 1).cumsum(0),
}


@pytest.mark.parametrize("change", PLACES.values(), ids=PLACES)
def test_a_network_that_computes_with_a_windows_place_is_refused(change: Callable[..., Tensor]) -> None:
    torch.manual_seed(0)
    with pytest.raises(CaptureError, match=r"gives a window other scores at (another place of its|the end of a) batch"):
        capture_module(Small(change, state=True).eval(), window=9)


def test_positions_before_the_head_are_refused_too() -> None:
    """Tokens are batch first; the table is meant for positions first."""

    class Tokens(nn.Module):
        def __init__(self, rows: int) -> None:
            super().__init__()
            self.stem, self.head = nn.Conv2d(3, 8, 4, stride=4), nn.Linear(8, 5)
            self.register_buffer("table", torch.randn(rows, 1, 8))

        def forward(self, x: Tensor) -> Tensor:
            tokens = self.stem(x).flatten(2).transpose(1, 2)
            return self.head((tokens + self.table[: tokens.shape[0]]).relu().mean(1))

    with pytest.raises(
        CaptureError, match="Tokens: gives a window other scores at another place of its batch at slice"
    ):
        capture_module(Tokens(20000).eval(), window=16)
    with pytest.raises(CaptureError, match="Tokens: does not take batches of every size"):
        capture_module(Tokens(5000).eval(), window=16)


def test_a_batch_that_must_be_even_is_refused(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(CaptureError, match="does not take batches of every size: for 7919 windows, "):
        capture_module(Small(lambda y: y + torch.ones(2, 6).repeat(y.shape[0] // 2, 1)).eval(), window=9)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("change", "where", "fix"),
    [
        (lambda y: nn.functional.batch_norm(y, None, None, training=True), "batch_norm", "running statistics"),
        (lambda y: y / y.max(), "max", r"x\.amax\(\(1, 2, 3\)\)"),
        (lambda y: y - y.mean(0), "mean", r"x\.amax\(\(1, 2, 3\)\)"),
        (lambda y: y.softmax(0), "softmax", "takes the first dimension, that of the windows, for another"),
    ],
)
def test_the_operator_that_mixes_the_windows_is_named(change: Callable[..., Tensor], where: str, fix: str) -> None:
    with pytest.raises(CaptureError, match=rf"it mixes the windows at \S*{where}\S*\n  fix: .*{fix}"):
        capture_module(Small(change).eval(), window=9)


def test_the_layer_that_mixes_the_windows_is_named() -> None:
    class Always(nn.BatchNorm2d):
        """A norm with the batch's own statistics."""

        def __init__(self, maps: int) -> None:
            super().__init__(maps, track_running_stats=False)

    module = Small().eval()
    module.features[1] = Always(4)
    with pytest.raises(CaptureError, match=r"mixes the windows at features\.1 \(batch_norm\)"):
        capture_module(module, window=9)


def test_operators_with_a_state_are_refused() -> None:
    calls = []

    @torch.library.custom_op("fullfield_tests::counted", mutates_args=())
    def counted(x: Tensor) -> Tensor:
        calls.append(1)
        return x * len(calls)

    counted.register_fake(torch.empty_like)
    with pytest.raises(CaptureError, match="gives the same window other scores each time"):
        capture_module(Small(counted).eval(), window=9)
