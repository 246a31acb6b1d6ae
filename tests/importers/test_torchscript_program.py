"""TorchScript programs run operator by operator, with the numbers that TorchScript gives, and are exported so."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import fullfield
from fullfield.errors import CaptureError
from fullfield.importers.torchscript_program import ScriptProgram, ScriptRefused


class Attentive(nn.Module):
    """Attention over cells as ``nn.MultiheadAttention`` takes them by default: sequence first."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.attention = nn.Conv2d(3, 16, 8, 8), nn.MultiheadAttention(16, 2)
        self.head = nn.Linear(16, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.stem(x).flatten(2).permute(2, 0, 1)
        y = y + self.attention(y, y, y, need_weights=False)[0]
        return self.head(y.mean(0))


class Encoded(nn.Module):
    """Layers of a transformer, which without gradients call operators of their own."""

    def __init__(self) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)
        self.stem, self.layers = nn.Conv2d(3, 16, 8, 8), nn.TransformerEncoder(layer, 2)
        self.head = nn.Linear(16, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.layers(self.stem(x).flatten(2).transpose(1, 2)).mean(1))


class Padded(nn.Module):
    """Pads to a multiple of 5 cells, as networks with windows of cells do, and has a branch, a loop and options."""

    def __init__(self) -> None:
        super().__init__()
        self.convs = nn.ModuleList([nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3)])
        self.norm, self.head = nn.BatchNorm2d(4), nn.Linear(4 * 25, 3)
        self.sizes = [5, 5]

    def forward(self, x: torch.Tensor, slope: float = 0.1, names: list[str] | None = None) -> torch.Tensor:
        for conv in self.convs:
            x = F.leaky_relu(conv(x), slope)
        x = self.norm(x) * x.size(1)
        n, c, height, width = x.shape
        side = self.sizes[0]
        x = F.pad(x, (0, (side - width % side) % side, 0, (side - height % side) % side))
        parts: list[torch.Tensor] = []
        for k in range(0, side, 1):
            parts.append(x[:, :, k::side].mean(2))  # noqa: PERF401 - TorchScript reads it as a loop
        while len(parts) > side:
            parts.pop()
        if len(parts) != side:
            raise ValueError(f"{len(parts)} parts, not {side}")
        y = torch.stack(parts, 2).reshape(n, c, side, -1, x.size(3) // side).mean(4)
        count = float(height * width) / 2 + int(c / 2) - 1
        return self.head(y.reshape(n, -1)) * (count / 100.0)


def saved(module: nn.Module, how: str, path: Path, side: int = 32) -> Path:
    """The file of a program that was traced, scripted, or traced and frozen."""
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # torch calls the format old, and tracing of sizes inexact
        x = torch.rand(1, 3, side, side)
        script = torch.jit.script(module) if how == "script" else torch.jit.trace(module, x)
        torch.jit.save(torch.jit.freeze(script) if how == "freeze" else script, path)
    return path


@pytest.mark.parametrize("how", ["script", "trace", "freeze"])
@pytest.mark.parametrize("kind", [Attentive, Encoded, Padded])
def test_programs_are_captured_with_the_scores_of_their_modules(
    kind: type[nn.Module], how: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    torch.manual_seed(0)
    module = kind().eval()
    model = fullfield.load(saved(module, how, tmp_path / "net.pt"), window=32, trust=True)
    windows = torch.randn(5, 3, 32, 32)
    with torch.no_grad():
        assert torch.allclose(model(windows), module(windows), rtol=0, atol=1e-6)
    assert tuple(capfd.readouterr()) == ("", "")


class Convolutions(nn.Module):
    """One of each kind, for images and for signals."""

    def __init__(self) -> None:
        super().__init__()
        self.same = nn.Conv2d(3, 4, (3, 2), padding="same")
        self.strided = nn.Conv2d(4, 6, 3, stride=2, padding=1, dilation=2, groups=2, bias=False)
        self.larger = nn.ConvTranspose2d(6, 4, 2, stride=2)
        self.line = nn.Conv1d(4, 5, 3)
        self.longer = nn.ConvTranspose1d(5, 3, 3, stride=2, output_padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.longer(self.line(self.larger(self.strided(self.same(x))).mean(2))).mean(2)


@pytest.mark.parametrize("how", ["script", "trace", "freeze"])
def test_convolutions_of_programs_are_shared_as_those_of_modules(how: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    module = Convolutions().eval()
    wanted = fullfield.inspect(fullfield.load(module, window=32)).rows
    model = fullfield.load(saved(module, how, tmp_path / "net.pt"), window=32, trust=True)
    found = fullfield.inspect(model).rows
    assert [(row.type, row.shared) for row in found] == [(row.type, row.shared) for row in wanted]
    assert any(row.type == "conv2d" and row.shared for row in found)
    windows = torch.randn(5, 3, 32, 32)
    with torch.no_grad():
        assert torch.allclose(model(windows), module(windows), rtol=0, atol=1e-6)


def program(module: nn.Module) -> ScriptProgram:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch calls the format old
        return ScriptProgram(torch.jit.script(module.eval()))


class Words(nn.Module):
    """What programs do beside networks: words, tuples, dictionaries, numbers of every kind."""

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        print("words")  # noqa: T201 - a program may print
        kept: list[int] = [1, 2, 3]
        copied = kept[1:]
        copied.append(int(x.size(0)))
        pair = (x.sum(), -copied[-1])
        what = f"{len(copied)}{x.dtype}"
        scale = 2.0 if what in ["36"] and x.is_floating_point() else 3.0
        whole = int(torch.tensor(7) // 2) + int(x.size(1) / 2)
        return {"sum": pair[0] * scale + float(pair[1]), "whole": x.new_full((1,), whole)}


def test_values_beside_tensors_are_computed_as_torchscript_computes_them(capfd: pytest.CaptureFixture[str]) -> None:
    run = program(Words())
    x = torch.rand(2, 5)
    wanted = run(x)
    capfd.readouterr()  # of print
    found = run.interpret(x)
    assert capfd.readouterr().out == ""
    assert wanted.keys() == found.keys()
    assert all(torch.equal(wanted[name], found[name]) for name in wanted)


class Counting(nn.Module):
    """Raises where a batch is large."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if x.size(0) > 3:
            raise ValueError("too many windows")
        return x.mean((2, 3))


def test_what_a_program_raises_is_told() -> None:
    run = program(Counting())
    assert run.interpret(torch.zeros(3, 3, 4, 4)).shape == (3, 3)
    with pytest.raises(ScriptRefused, match=r"the program raises: .*too many windows"):
        run.interpret(torch.zeros(4, 3, 4, 4))


class Waiting(nn.Module):
    """Starts another thread."""

    def forward(self, x: torch.Tensor) -> Any:
        return torch.jit.wait(torch.jit.fork(torch.mean, x)) + x.mean((2, 3))


def test_what_only_torchscript_runs_is_named(tmp_path: Path) -> None:
    with pytest.raises(CaptureError, match=r"does not run at 3x32x32 \(has the operator prim::fork"):
        fullfield.load(saved(Waiting(), "script", tmp_path / "net.pt"), window=32, trust=True)
