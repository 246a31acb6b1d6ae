"""Branches that meet on images of any size: the fully convolutional module is what a scan in context computes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import fullfield
from fullfield.canonical.align_branches import crop_to_common_size
from fullfield.canonical.integers import network
from fullfield.canonical.pipeline import canonical
from fullfield.model.save import export_onnx
from tests.architectures import HighResolution
from tests.oracle import difference, shaken


class Twofold(nn.Module):
    """One branch halved and doubled, one divided and multiplied by three: either can be the larger one."""

    def __init__(self) -> None:
        super().__init__()
        self.two, self.three = nn.Conv2d(3, 4, 3, 2, 1), nn.Conv2d(3, 4, 3, 3, 1)
        self.head = nn.Linear(4, 5)

    def forward(self, x: Tensor) -> Tensor:
        two = F.interpolate(self.two(x), scale_factor=2.0)
        three = F.interpolate(self.three(x), scale_factor=3.0)
        return self.head((two * three).mean((2, 3)))


class Joined(nn.Module):
    """Three branches side by side."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.twos, self.fours = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 4, 2, 2), nn.MaxPool2d(4)
        self.head = nn.Linear(12, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        ways = [x, F.interpolate(self.twos(x), scale_factor=2.0), F.interpolate(self.fours(x), scale_factor=4.0)]
        return self.head(torch.cat(ways, 1).mean((2, 3)))


class Spread(nn.Module):
    """A map made finer by transposed convolutions, along both axes and along one."""

    def __init__(self) -> None:
        super().__init__()
        self.down, self.up = nn.Conv2d(3, 4, 3, (4, 2), 1), nn.ConvTranspose2d(4, 4, 3, 2, 1, 1, groups=2)
        self.rows, self.head = nn.ConvTranspose2d(4, 4, (2, 1), (2, 1)), nn.Linear(4, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.tanh(self.rows(torch.tanh(self.up(self.down(x))))).mean((2, 3)))


MAKES: list[Callable[[], nn.Module]] = [HighResolution, Twofold, Joined]
WINDOW = 48
SIZES = [(48, 48), (55, 61), (58, 97)]


def made(make: Callable[[], nn.Module], dtype: torch.dtype = torch.float64) -> fullfield.Model:
    torch.manual_seed(0)
    return fullfield.load(shaken(make()).to(dtype), window=WINDOW)


@pytest.mark.parametrize(("make", "every"), [(HighResolution, 3), (Twofold, 12), (Joined, 12), (Spread, 12)])
def test_the_module_gives_what_a_scan_in_context_gives(make: Callable[[], nn.Module], every: int) -> None:
    net = made(make)
    module = fullfield.convert(net)
    for size in SIZES:
        x = torch.randn(1, 3, *size, dtype=torch.float64)
        scores = torch.from_numpy(fullfield.scan(net, x[0].permute(1, 2, 0).numpy(), mode="context", step=12).array)
        with torch.no_grad():
            found = module(x)[0, :, ::every, ::every][:, : scores.shape[1], : scores.shape[2]]
        assert difference(found, scores) <= 1e-12


@pytest.mark.parametrize("make", [HighResolution, Joined, Spread])
def test_onnxruntime_runs_it_at_any_size(make: Callable[[], nn.Module], tmp_path: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    module = fullfield.convert(made(make, torch.float32))
    path = export_onnx(module, (3, WINDOW, WINDOW), tmp_path / "net.onnx")
    session = onnxruntime.InferenceSession(path)
    for size in SIZES:
        x = torch.randn(2, 3, *size)
        with torch.no_grad():
            wanted = module(x)
        found = torch.from_numpy(session.run(None, {"image": x.numpy()})[0])
        assert found.shape == wanted.shape
        assert difference(found, wanted) <= 1e-5


@pytest.mark.parametrize("make", MAKES)
def test_uncut_branches_do_not_meet_beyond_the_window(make: Callable[[], nn.Module]) -> None:
    form = canonical(made(make))
    x = torch.randn(1, 3, *SIZES[1], dtype=torch.float64)
    with pytest.raises(RuntimeError, match=r"must match"):
        form.graph(x)
    crop_to_common_size(form.graph, network(form, torch.float64))(x)


def test_branches_of_one_size_stay_as_they_are() -> None:
    class Same(nn.Module):
        """Two convolutions that keep the size."""

        def __init__(self) -> None:
            super().__init__()
            self.one, self.two, self.head = nn.Conv2d(3, 4, 3, 2, 1), nn.Conv2d(3, 4, 1, 2), nn.Linear(4, 5)

        def forward(self, x: Tensor) -> Tensor:
            return self.head((self.one(x) + self.two(x)).mean((2, 3)))

    form = canonical(made(Same))
    assert crop_to_common_size(form.graph, network(form, torch.float64)) is form.graph
