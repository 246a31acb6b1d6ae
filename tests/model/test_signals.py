"""Modules that take signals are captured as networks on images of height one; the module itself stays as it is."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from fullfield.errors import CaptureError
from fullfield.importers.load import load
from tests.oracle import difference
from tests.signal_networks import M5, Recurrent, ready


class SamplesFirst(nn.Module):
    """Takes ``(n, t, c)``."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn, self.fc = nn.GRU(3, 4, batch_first=True), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.rnn(x)[0][:, -1])


class NoChannels(nn.Module):
    """Takes ``(n, t)``."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.fc = nn.Conv1d(1, 4, 5, stride=2), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        assert x.dim() == 2
        return self.fc(torch.relu(self.conv(x.unsqueeze(1))).mean(-1))


class Electrodes(nn.Module):
    """Takes ``(n, c, t)`` and convolves it as an image of one band, as networks for EEG do."""

    def __init__(self) -> None:
        super().__init__()
        self.n_chans = 5
        self.time, self.space, self.fc = nn.Conv2d(1, 3, (1, 7)), nn.Conv2d(3, 4, (5, 1)), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.space(self.time(x.unsqueeze(1))).square().mean((2, 3)))


@pytest.mark.parametrize(
    ("make", "channels", "given"),
    [
        (lambda: Recurrent(nn.LSTM), 2, lambda x: x),
        (SamplesFirst, 3, lambda x: x.transpose(1, 2)),
        (NoChannels, 1, lambda x: x[:, 0]),
        (Electrodes, 5, lambda x: x),
    ],
)
def test_the_order_of_axes_is_found(make: type[nn.Module], channels: int, given: object) -> None:
    module = ready(make)
    model = load(module, window=48)
    assert (model.of_signals, model.window, model.channels) == (True, (1, 48), channels)
    windows = torch.randn(3, channels, 48, dtype=torch.float64)
    with torch.no_grad():
        assert difference(model(windows[:, :, None]), module(given(windows))) <= 1e-12  # type: ignore[operator]


def test_the_module_takes_signals_as_before() -> None:
    module = ready(M5)
    load(module, window=2000)
    assert not module._forward_pre_hooks
    with pytest.raises(RuntimeError, match="3D"):
        module(torch.zeros(2, 1, 1, 2000, dtype=torch.float64))


def test_a_network_of_images_that_are_one_row_high_stays_one_of_images() -> None:
    module = nn.Sequential(nn.Conv2d(3, 4, (1, 5)), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))
    model = load(module, window=(1, 20))
    assert not model.of_signals
    assert load(module, window=9).window == (9, 9)


def test_the_features_of_a_layer_are_means_over_its_cells() -> None:
    module = ready(M5)
    model = load(module, window=2000, score="pool2")
    assert model.features == "pool2, mean over 7 cells"
    windows = torch.randn(2, 1, 2000, dtype=torch.float64)
    found: list[Tensor] = []
    hook = module.pool2.register_forward_hook(lambda m, x, y: found.append(y))  # type: ignore[union-attr]
    with torch.no_grad():
        module(windows)
        hook.remove()
        assert difference(model(windows[:, :, None]), found[0].mean(2)) <= 1e-12


def test_a_model_of_signals_is_taken_with_its_own_window() -> None:
    model = load(ready(M5), window=2000)
    assert load(model, window=2000) is model
    with pytest.raises(CaptureError, match="window: 1600 is not"):
        load(model, window=1600)


def test_layers_keep_their_names() -> None:
    paths = {node.meta["path"] for node in load(ready(M5), window=2000).graph.graph.nodes}
    assert {"conv1", "pool2", "fc1"} <= paths


def test_windows_that_are_too_short_are_named_in_samples() -> None:
    with pytest.raises(
        CaptureError, match=r"M5: does not run on signals of 40 samples with 1 channel .*Kernel size: \(80\)"
    ):
        load(M5(), window=40)


def test_a_window_with_rows_is_refused_for_a_network_of_signals() -> None:
    with pytest.raises(CaptureError, match="M5: takes signals"):
        load(M5(), window=(224, 224))


def test_networks_of_volumes_are_refused_by_name() -> None:
    module = nn.Sequential(nn.Conv3d(1, 4, 3), nn.AdaptiveAvgPool3d(1), nn.Flatten(), nn.Linear(4, 2))
    with pytest.raises(CaptureError, match=r"takes volumes \(n, c, z, y, x\): its first convolution, 0, is a Conv3d"):
        load(module, window=16)
