"""Operators on signals, and on turned maps, are shared as those on images are; scores are the original network's."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fullfield.canonical.pipeline import canonical
from fullfield.importers.load import load
from tests.oracle import Scan, captured, crops, difference
from tests.signal_networks import ready, signal_crops

WINDOW = 24
Body = Callable[[nn.Module, Tensor], Tensor]


class Signals(nn.Module):
    """A convolution to four channels, a body under test, and a head that keeps every cell apart."""

    def __init__(self, body: Body) -> None:
        super().__init__()
        self.stem, self.body = nn.Conv1d(2, 4, 3), body
        self.kernel, self.grouped = nn.Parameter(torch.randn(4, 4, 3)), nn.Parameter(torch.randn(6, 2, 2))
        self.back, self.batch = nn.Parameter(torch.randn(4, 3, 4)), nn.BatchNorm1d(4)
        self.norm, self.slopes = nn.LayerNorm(4), nn.PReLU(4)
        self.plane = nn.Parameter(torch.randn(3, 4, 1, 3))
        self.head = nn.LazyLinear(3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.body(self, torch.tanh(self.stem(x)))
        return self.head(x.flatten(1))


SHARED: dict[str, Body] = {
    "conv1d": lambda n, x: F.conv1d(x, n.kernel, padding=1),
    "conv1d, strided and dilated": lambda n, x: F.conv1d(x, n.kernel, stride=2, dilation=3),
    "conv1d, same": lambda n, x: F.conv1d(x, n.kernel, padding="same"),
    "conv1d, same with an even kernel": lambda n, x: F.conv1d(x, n.grouped, padding="same", groups=2),
    "conv_transpose1d": lambda n, x: F.conv_transpose1d(F.max_pool1d(x, 2), n.back, stride=2, padding=1),
    "max_pool1d": lambda n, x: F.max_pool1d(x, 3, stride=2, padding=1, dilation=1),
    "max_pool1d, rounded up": lambda n, x: F.max_pool1d(x, 4, ceil_mode=True),
    "avg_pool1d": lambda n, x: F.avg_pool1d(x, 3, stride=2, padding=1),
    "avg_pool1d, padding not counted": lambda n, x: F.avg_pool1d(x, 3, 2, 1, count_include_pad=False),
    "adaptive_avg_pool1d": lambda n, x: F.adaptive_avg_pool1d(x, 1),
    "adaptive_avg_pool1d to several": lambda n, x: F.adaptive_avg_pool1d(x, 2),
    "adaptive_max_pool1d": lambda n, x: F.adaptive_max_pool1d(x, 11),
    "batch norm": lambda n, x: n.batch(x),
    "layer norm": lambda n, x: n.norm(x.transpose(1, 2)).transpose(1, 2),
    "one slope a channel": lambda n, x: n.slopes(x),
    "constant padding": lambda n, x: F.conv1d(F.pad(x, (3, 1)), n.kernel),
    "reflection": lambda n, x: F.conv1d(F.pad(x, (2, 1), mode="reflect"), n.kernel),
    "replication": lambda n, x: F.conv1d(F.pad(x, (0, 2), mode="replicate"), n.kernel),
    "nearest upsampling": lambda n, x: F.interpolate(F.avg_pool1d(x, 2), scale_factor=2),
    "linear upsampling": lambda n, x: F.interpolate(F.avg_pool1d(x, 2), scale_factor=2, mode="linear"),
    "linear, made coarser": lambda n, x: F.interpolate(x, scale_factor=0.5, mode="linear"),
    "mean and largest": lambda n, x: torch.cat([x.mean(-1), x.amax(-1)], 1),
    "gates over channels": lambda n, x: F.glu(x, 1) * x.softmax(1)[:, :2],
    "an image of height one inside": lambda n, x: F.conv2d(x.unsqueeze(2), n.plane, padding=(0, 1)),
    "an image of width one inside": lambda n, x: F.conv2d(x.unsqueeze(3), n.plane.transpose(2, 3), padding=(1, 0)),
    "a kernel along channels": lambda n, x: F.conv1d(x.mean(-1, keepdim=True).transpose(1, 2), n.kernel[:1, :1]),
}


@pytest.mark.filterwarnings("ignore:Using padding='same'")
@pytest.mark.parametrize("name", list(SHARED))
def test_an_operator_on_signals_is_shared_and_gives_the_crops_scores(name: str) -> None:
    module = Signals(SHARED[name])
    module(torch.zeros(2, 2, WINDOW))
    module = ready(lambda: module)
    net = load(module, window=WINDOW)
    assert canonical(net).refused == ()
    scan, signal = Scan(net), torch.randn(2, 61, dtype=torch.float64)
    for step in (2, 3):
        found = scan(signal[None, :, None], (1, step))[0].T
        assert difference(found, signal_crops(module, signal, WINDOW, step)) <= 1e-9


def test_a_signal_that_is_normalised_over_its_length_runs_per_window() -> None:
    module = Signals(lambda n, x: F.instance_norm(x))
    module(torch.zeros(2, 2, WINDOW))
    module = ready(lambda: module)
    net = load(module, window=WINDOW)
    assert [each.op for each in canonical(net).refused] == ["instance_norm"]
    signal = torch.randn(2, 61, dtype=torch.float64)
    found = Scan(net)(signal[None, :, None], (1, 5))[0].T
    assert difference(found, signal_crops(module, signal, WINDOW, 5)) <= 1e-9


class Turned(nn.Module):
    """Layers on a map whose rows and columns are exchanged, and on the columns of a map of one row."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.turned = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, (3, 2), padding=(1, 0), stride=(1, 2))
        self.line, self.head = nn.Conv1d(4, 5, 2), nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.tanh(self.turned(torch.tanh(self.stem(x)).transpose(2, 3))).transpose(2, 3)
        x = F.max_pool2d(x.transpose(2, 3), (2, 1)).transpose(2, 3)
        return self.head(self.line(x.amax(2)).mean(2))


def test_turned_maps_and_lines_of_images_are_shared() -> None:
    torch.manual_seed(3)
    net = captured(Turned(), (10, 12))
    assert canonical(net).refused == ()
    image = torch.randn(1, 3, 17, 19, dtype=torch.float64)
    assert difference(Scan(net)(image, (2, 3)), crops(net, image, (2, 3))) <= 1e-9


class Electrodes(nn.Module):
    """A signal of several channels as an image of one band: a body, and a head that keeps every cell apart."""

    def __init__(self, body: Body, *, turned: bool = False) -> None:
        super().__init__()
        self.body, self.turned = body, turned
        self.time, self.square = nn.Conv2d(1, 3, (1, 5), padding=(0, 2)), nn.Parameter(torch.randn(4, 1, 3, 3))
        self.space, self.batch = nn.Parameter(torch.randn(6, 1, 6, 1)), nn.BatchNorm2d(3)
        self.head = nn.LazyLinear(3)

    def forward(self, x: Tensor) -> Tensor:
        x = x.unsqueeze(1)
        x = self.body(self, x.transpose(2, 3) if self.turned else x)
        return self.head(x.flatten(1))


def over_time(n: nn.Module, x: Tensor) -> Tensor:
    return torch.tanh(n.batch(n.time(x)))


ROWS: dict[str, Body] = {
    "along time, then over all electrodes": lambda n, x: F.avg_pool2d(
        F.conv2d(over_time(n, x), n.space, groups=3).square(), (1, 7), (1, 3)
    ),
    "over both, padded": lambda n, x: F.conv2d(x, n.square, torch.ones(4, dtype=x.dtype), padding=1),
    "over both, strided and dilated": lambda n, x: F.conv2d(x, n.square, stride=(2, 1), dilation=(1, 2)),
    "same padding": lambda n, x: F.conv2d(x, n.square[:, :, :, :2], padding="same"),
    "pools over both": lambda n, x: F.max_pool2d(over_time(n, x), (3, 2), (1, 2)) + 0,
    "averages over both": lambda n, x: F.avg_pool2d(over_time(n, x), 2, padding=(0, 1), count_include_pad=False),
    "an average over all": lambda n, x: F.adaptive_avg_pool2d(over_time(n, x), 1),
    "maxima of parts": lambda n, x: F.adaptive_max_pool2d(over_time(n, x), (3, 4)),
}


@pytest.mark.filterwarnings("ignore:Using padding='same'")
@pytest.mark.parametrize("name", list(ROWS))
def test_channels_that_count_as_rows_are_shared(name: str) -> None:
    module = Electrodes(ROWS[name])
    module(torch.zeros(2, 6, WINDOW))
    module = ready(lambda: module)
    net = load(module, window=WINDOW, channels=6)
    assert canonical(net).refused == ()
    signal = torch.randn(6, 61, dtype=torch.float64)
    found = Scan(net)(signal[None, :, None], (1, 3))[0].T
    assert difference(found, signal_crops(module, signal, WINDOW, 3)) <= 1e-9


def test_channels_that_count_as_columns_are_shared() -> None:
    def body(n: nn.Module, x: Tensor) -> Tensor:
        x = F.conv2d(x, n.square.transpose(2, 3), padding=(2, 1), stride=(2, 1))
        return F.avg_pool2d(F.conv2d(x[:, :3], n.space.transpose(2, 3), groups=3), (4, 1), (2, 1))

    module = Electrodes(body, turned=True)
    module(torch.zeros(2, 6, WINDOW))
    module = ready(lambda: module)
    net = load(module, window=WINDOW, channels=6)
    assert canonical(net).refused == ()
    signal = torch.randn(6, 61, dtype=torch.float64)
    found = Scan(net)(signal[None, :, None], (1, 4))[0].T
    assert difference(found, signal_crops(module, signal, WINDOW, 4)) <= 1e-9


@pytest.mark.parametrize(
    "body",
    [lambda n, x: F.max_pool2d(x, 3, padding=1), lambda n, x: F.avg_pool2d(x, 4, ceil_mode=True)],
)
def test_pools_that_pad_or_round_up_over_channels_run_per_window(body: Body) -> None:
    module = Electrodes(body)
    module(torch.zeros(2, 6, WINDOW))
    module = ready(lambda: module)
    net = load(module, window=WINDOW, channels=6)
    assert canonical(net).refused[0].reason == "pads or rounds up dimensions that are not (y, x)"
    signal = torch.randn(6, 61, dtype=torch.float64)
    found = Scan(net)(signal[None, :, None], (1, 4))[0].T
    assert difference(found, signal_crops(module, signal, WINDOW, 4)) <= 1e-9
