"""Activations that are written as several operators become one, and only those."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import fullfield
from fullfield.canonical.pipeline import run_passes
from fullfield.canonical.specification import check_activations
from fullfield.errors import InternalError
from tests.oracle import difference

F = Callable[[Tensor], Tensor]
ROOT = math.sqrt(2)
MERGED: dict[str, tuple[F, str]] = {
    "silu": (lambda x: x * torch.sigmoid(x), "silu"),
    "silu, gate first": (lambda x: torch.sigmoid(x) * x, "silu"),
    "hardswish": (lambda x: x * functional.hardsigmoid(x), "hardswish"),
    "hardswish of a clamp": (lambda x: x * torch.clamp(x + 3, 0, 6) / 6, "hardswish"),
    "hardswish of relu6": (lambda x: x * (functional.relu6(x + 3) / 6), "hardswish"),
    "mish": (lambda x: x * torch.tanh(functional.softplus(x)), "mish"),
    "gelu": (lambda x: x * 0.5 * (1 + torch.erf(x / ROOT)), "gelu"),
    "gelu, half last": (lambda x: x * (torch.erf(x * (1 / ROOT)) + 1) * 0.5, "gelu"),
    "gelu, halved": (lambda x: x * (torch.erf(x / ROOT) + 1) / 2, "gelu"),
}
KEPT: dict[str, F] = {
    "another gate": lambda x: x * torch.sigmoid(x + 1),
    "quick gelu": lambda x: x * torch.sigmoid(1.702 * x),
    "scaled": lambda x: 2 * x * torch.sigmoid(x),
    "clamp to another number": lambda x: x * torch.clamp(x + 3, 0, 5) / 6,
    "another shift": lambda x: x * torch.clamp(x + 2, 0, 6) / 6,
    "sharper softplus": lambda x: x * torch.tanh(functional.softplus(x, 2.0)),
    "erf of another scale": lambda x: x * 0.5 * (1 + torch.erf(x / 1.5)),
    "not halved": lambda x: x * (1 + torch.erf(x / ROOT)),
    "divided by the gate": lambda x: x / (torch.sigmoid(x) + 1),
    "square": lambda x: x * x,
}


class Net(nn.Module):
    """A convolution on either side of an activation."""

    def __init__(self, activation: F) -> None:
        super().__init__()
        self.first, self.last, self.activation = nn.Conv2d(3, 6, 3, padding=1), nn.Conv2d(6, 4, 3), activation

    def forward(self, x: Tensor) -> Tensor:
        """Scores."""
        result: Tensor = self.last(self.activation(self.first(x))).mean((2, 3))
        return result


def operators(model: fullfield.Model) -> list[str]:
    form, _ = run_passes(model)
    return [str(n.target).split(".")[1] for n in form.graph.graph.nodes if n.op == "call_function"]


def model_of(activation: F, dtype: torch.dtype = torch.float64) -> fullfield.Model:
    torch.manual_seed(0)
    return fullfield.load(Net(activation).to(dtype).eval(), window=12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", MERGED)
def test_an_activation_of_several_operators_becomes_one(name: str, dtype: torch.dtype) -> None:
    activation, operator = MERGED[name]
    found = operators(model_of(activation, dtype))
    assert found[:3] == ["conv2d", operator, "conv2d"]


@pytest.mark.parametrize("name", MERGED)
def test_merged_activations_give_the_scores_of_the_crops(name: str) -> None:
    activation, _ = MERGED[name]
    model, image = model_of(activation), torch.rand(3, 30, 26, dtype=torch.float64)
    scores = torch.from_numpy(fullfield.scan(model, image, step=3).array)
    crops = torch.stack(
        [
            torch.stack([model(image[None, :, i : i + 12, j : j + 12])[0] for j in range(0, 15, 3)], -1)
            for i in range(0, 19, 3)
        ],
        -2,
    )
    assert difference(scores, crops.detach()) <= 1e-9


@pytest.mark.parametrize("name", KEPT)
def test_what_only_resembles_an_activation_stays(name: str) -> None:
    assert not {"silu", "hardswish", "mish", "gelu"} & set(operators(model_of(KEPT[name])))


def test_numbers_of_a_file_are_those_of_the_activation_up_to_the_rounding_of_the_network() -> None:
    rounded = 1.4142135381698608  # as float32 has the root of two
    activation: F = lambda x: x * 0.5 * (1 + torch.erf(x / rounded))  # noqa: E731
    assert "gelu" in operators(model_of(activation, torch.float32))
    assert "gelu" not in operators(model_of(activation, torch.float64))


def test_a_gate_that_is_read_elsewhere_too_stays_for_that_reader() -> None:
    model = model_of(lambda x: x * torch.sigmoid(x) + torch.sigmoid(x).square())
    image = torch.rand(3, 30, 26, dtype=torch.float64)
    scores = fullfield.scan(model, image, step=6, verify=8)
    assert scores.certificate is not None
    assert scores.certificate.verdict == "EXACT"


def test_an_activation_that_was_not_merged_is_found() -> None:
    form, _ = run_passes(model_of(MERGED["silu"][0]))
    check_activations(form, "pass")
    graph = form.graph.graph
    node = next(n for n in graph.nodes if n.target == torch.ops.aten.silu.default)
    (x,) = node.args
    with graph.inserting_before(node):
        gate = graph.call_function(torch.ops.aten.sigmoid.default, (x,))
        product = graph.call_function(torch.ops.aten.mul.Tensor, (x, gate))
    gate.meta = product.meta = dict(node.meta)
    node.replace_all_uses_with(product)
    with pytest.raises(InternalError, match="is an activation written as several operators"):
        check_activations(form, "pass")
