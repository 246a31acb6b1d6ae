"""Every pass of the pipeline is shown and checked: what does not hold names the pass and the node."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.fx import Graph, Node

from fullfield.canonical import pipeline
from fullfield.canonical.form import Canonical
from fullfield.canonical.pipeline import Pass, canonical, run_passes, stages
from fullfield.canonical.specification import check_constants, check_form, check_network, check_norms
from fullfield.errors import InternalError
from fullfield.geometry.axis import Op
from fullfield.geometry.network import Network
from fullfield.model.model import Model
from tests.oracle import captured

aten = torch.ops.aten


class Standardised(nn.Conv2d):
    """A convolution whose kernel has no mean."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return nn.functional.conv2d(x, self.weight - self.weight.mean((1, 2, 3), keepdim=True), self.bias)


def net() -> Model:
    torch.manual_seed(0)
    layers = [Standardised(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 5, 3), nn.BatchNorm2d(5), nn.AdaptiveAvgPool2d(1)]
    return captured(nn.Sequential(*layers, nn.Flatten(), nn.Linear(5, 2)), 9)


def node(form: Canonical, target: object) -> Node:
    return next(n for n in form.graph.graph.nodes if n.target is target)


def test_the_network_is_shown_after_each_pass() -> None:
    texts = {stage.name: str(stage) for stage in stages(net())}
    names = ["canonical form", "fold constants", "fold batch norms", "merge activations"]
    names += ["narrow pools", "early pools", "to integers"]
    assert list(texts) == names
    assert "const mean(" in texts["canonical form"]
    assert "const mean(" not in texts["fold constants"]
    assert "conv2d_default_1: windowed conv2d(relu_default, " in texts["canonical form"]
    assert "batch_norm" in texts["fold constants"]
    assert "batch_norm" not in texts["fold batch norms"]
    assert "Op(kernel=3" in texts["to integers"]


def test_a_pass_that_breaks_the_form_is_named_with_the_node(monkeypatch: pytest.MonkeyPatch) -> None:
    def unnamed(form: Canonical) -> Canonical:
        del node(form, aten.relu.default).meta["kind"]
        return form

    monkeypatch.setattr(pipeline, "PASSES", (Pass("fold nothing", unnamed, check_constants),))
    with pytest.raises(InternalError, match=r"fold nothing: relu_default: is of kind None") as error:
        run_passes(net())
    assert "report it" in error.value.fix


def with_second_map(form: Canonical) -> None:
    conv = node(form, aten.conv2d.default)
    conv.args = (*conv.args[:2], node(form, aten.relu.default), *conv.args[3:])


def without_emission(form: Canonical) -> None:
    node(form, aten.relu.default).meta["kind"] = "windowed"


def reading_scores(form: Canonical) -> None:
    node(form, aten.relu.default).meta["kind"] = "whole"


def without_image(form: Canonical) -> None:
    with form.graph.graph.inserting_before(next(iter(form.graph.graph.nodes))):
        form.graph.graph.placeholder("second").meta = {"path": "", "op": "", "kind": "input"}


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (with_second_map, "conv2d_default: is windowed and reads 2 maps"),
        (without_emission, r"relu_default: is windowed, but aten\.relu\.default has no emission"),
        (reading_scores, "conv2d_default_1: is windowed and reads relu_default, which is whole"),
        (without_image, "graph: does not lead from one image to one output"),
    ],
)
def test_a_form_that_the_next_pass_cannot_take_is_refused(change: Callable[[Canonical], None], text: str) -> None:
    form = canonical(net())
    check_form(form, "canonical form")
    change(form)
    with pytest.raises(InternalError, match=f"canonical form: {text}"):
        check_form(form, "canonical form")


def test_constants_and_norms_that_were_not_folded_are_refused() -> None:
    form = canonical(net())
    with pytest.raises(InternalError, match=r"late: conv2d_default: reads .*, which is computed from weights"):
        check_constants(form, "late")
    with pytest.raises(InternalError, match="late: batch_norm_default: could be folded"):
        check_norms(form, "late")


def test_integers_that_are_not_the_networks_own_are_refused() -> None:
    _, network = run_passes(net())
    first, *others = network
    with pytest.raises(InternalError, match="comes before x, which it reads"):
        check_network(Network((*others, first), network.window), "to integers")
    wrong = [replace(n, ops=(Op(2), Op(3))) if n.name == "conv2d_default" else n for n in network]
    with pytest.raises(
        InternalError, match=r"conv2d_default: has \(7, 7\) cells, its geometry makes \(8, 7\) of \(9, 9\)"
    ):
        check_network(Network(tuple(wrong), network.window), "to integers")


def test_no_code_is_made_of_the_graphs_of_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    model, made = net(), []
    write = Graph.python_code
    monkeypatch.setattr(Graph, "python_code", lambda *args, **kwargs: made.append(args) or write(*args, **kwargs))
    form, _ = run_passes(model)
    assert made == []
    pixels = torch.rand(1, 3, 9, 9, dtype=torch.float64)
    assert torch.allclose(
        form.graph(pixels).flatten(1), model.graph(pixels), rtol=0, atol=1e-9
    )  # made when it is called
    assert len(made) == 1
