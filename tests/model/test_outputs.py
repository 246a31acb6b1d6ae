"""Scores among a network's outputs: every shape of one vector a window; tensors in collections by index or name."""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor

import fullfield
from fullfield.errors import CaptureError
from fullfield.model.torch_export import capture_module
from tests.model.networks import Small


class Both(NamedTuple):
    """Two outputs."""

    logits: Tensor
    features: Tensor


@dataclass
class Record:
    """Two outputs, of which one is missing."""

    logits: Tensor
    loss: Tensor | None = None


One = namedtuple("One", ["logits"])

SHAPES: dict[str, Callable[[Tensor], Tensor]] = {
    "(n, k)": lambda y: y,
    "(n, k, 1, 1)": lambda y: y[:, :, None, None],
    "(n, 1, 1, k)": lambda y: y[:, None, None],
    "(n, 1, k)": lambda y: y[:, None],
    "(n, k, 1)": lambda y: y[:, :, None],
    "(n, 1, 1, k, 1)": lambda y: y[:, None, None, :, None],
    "squeezed": lambda y: y[:, :, None, None].squeeze(),
    "the windows squeezed": lambda y: y.squeeze(0),
    "the windows squeezed, with others": lambda y: y[:, :, None].squeeze((0, 2)),
    "squeezed in place": lambda y: y[:, :, None, None].clone().squeeze_(),
}
SINGLE: dict[str, Callable[[Tensor], Tensor]] = {
    "(n,)": lambda y: y[:, 0],
    "(n, 1)": lambda y: y[:, :1],
    "(n, 1, 1, 1)": lambda y: y[:, :1, None, None],
    "all squeezed": lambda y: y[:, :1, None, None].squeeze(),
    "a sum": lambda y: y[:, :1].sum(-1),
    "flat": lambda y: y[:, :1].reshape(-1),
}


@pytest.mark.parametrize("change", [*SHAPES.values(), *SINGLE.values()], ids=[*SHAPES, *SINGLE])
def test_every_shape_of_one_vector_a_window_gives_its_numbers(change: Callable[[Tensor], Tensor]) -> None:
    module = Small(change).eval()
    net = capture_module(module, window=9)
    windows = torch.randn(4, 3, 9, 9)
    assert torch.equal(net(windows), module(windows).reshape(4, -1))
    for window in windows:
        assert net(window[None]).shape == (1, net.classes)
        torch.testing.assert_close(net(window[None]), module(window[None]).reshape(1, -1), rtol=0, atol=1e-6)


@pytest.mark.parametrize("change", [SHAPES["squeezed"], *SINGLE.values()], ids=["squeezed", *SINGLE])
@pytest.mark.parametrize(("width", "samples"), [(9, 64), (26, 17), (26, 1)])
def test_scans_are_verified_and_tuned_where_a_batch_holds_one_window(
    change: Callable[[Tensor], Tensor], width: int, samples: int
) -> None:
    net = fullfield.load(Small(change).eval(), window=9, preprocessing="unit")
    image = np.random.default_rng(0).integers(0, 255, (9, width, 3), dtype=np.uint8)
    assert fullfield.scan(net, image, step=1, verify=samples).certificate.verdict == "EXACT"
    assert fullfield.verify(net, image, step=1, samples=samples).verdict == "EXACT"
    assert fullfield.tune(net, image, step=1, samples=samples).best.error < 1e-4


CHOICES: dict[str, tuple[Callable[[Tensor], Any], int | str | None]] = {
    "a tuple of one": (lambda y: (y,), None),
    "a list of one": (lambda y: [y], None),
    "a dict of one": (lambda y: {"logits": y}, None),
    "a dict of a dict of one": (lambda y: {"head": {"logits": y}}, None),
    "a named tuple of one": (lambda y: One(y), None),
    "a record with one tensor": (lambda y: Record(y), None),
    "an object with one tensor": (lambda y: SimpleNamespace(logits=y, loss=None), None),
    "one tensor, by index": (lambda y: y, 0),
    "a tuple, by index": (lambda y: (y, y + 1), 0),
    "a tuple, by index from the end": (lambda y: (y + 1, y), -1),
    "a tuple, by the index as a name": (lambda y: (y + 1, y), "1"),
    "a dict, by key": (lambda y: {"scores": y, "other": y + 1}, "scores"),
    "a dict, by index": (lambda y: {"other": y + 1, "scores": y}, 1),
    "a dict with numbers for keys": (lambda y: {7: y + 1, 0: y}, 0),
    "a named tuple, by name": (lambda y: Both(features=y + 1, logits=y), "logits"),
    "a named tuple, by index": (lambda y: Both(y, y + 1), 0),
    "a record, by name": (lambda y: Record(y, y.sum()), "logits"),
    "two levels, by names": (lambda y: {"head": Both(y, y + 1)}, "head.logits"),
    "two levels, by names and index": (lambda y: {"head": [y + 1, y]}, "head.1"),
    "the only tensor of an output": (lambda y: (y + 1, {"logits": [y]}), 1),
}


@pytest.mark.parametrize(("change", "score"), CHOICES.values(), ids=CHOICES)
def test_scores_are_found_in_collections(change: Callable[[Tensor], Any], score: int | str | None) -> None:
    module = Small(change).eval()
    windows = torch.randn(2, 3, 9, 9)
    plain = module.head(module.features(windows).mean((2, 3)))
    assert torch.equal(capture_module(module, window=9, score=score)(windows), plain)


@pytest.mark.parametrize(
    ("change", "score", "message"),
    [
        (lambda y: (y, y[:, :2]), None, r"returns 2: 0 \(n, 6\), 1 \(n, 2\)\n  fix: .* score=0, say"),
        (lambda y: {"a": y, "b": {"c": y}}, None, r"returns 2: a \(n, 6\), b.c \(n, 6\)\n  fix: .* score='a', say"),
        (lambda y: (y, y), 2, r"2 is no output of Small, which returns 0 \(n, 6\), 1 \(n, 6\)"),
        (lambda y: {"a": y, "b": [y, y[:, 0]]}, "c", r"'c' is no .* a \(n, 6\), b.0 \(n, 6\), b.1 \(n,\)"),
        (lambda y: {"a": y, "b": [y, y]}, "b", r"returns 2: b.0 \(n, 6\), b.1 \(n, 6\)"),
        (
            lambda y: y,
            "logits",
            r"'logits' is no output and no layer of Small, which returns \(n, 6\)\n  fix: leave out score=",
        ),
        (lambda y: y, 1, "1 is no output of Small"),
        (lambda y: None, None, "returns a NoneType, which holds no tensor"),
        (lambda y: [], None, "returns an empty list, which holds no tensor"),
    ],
)
def test_a_choice_that_is_missing_or_wrong_is_refused_with_all_outputs(
    change: Callable[[Tensor], Any], score: int | str | None, message: str
) -> None:
    with pytest.raises(CaptureError, match=message):
        capture_module(Small(change), window=9, score=score)


@pytest.mark.parametrize(
    ("change", "shape"),
    [
        (lambda y: y.reshape(-1), r"\(12,\)"),
        (lambda y: y.sum(0), r"\(6,\)"),
        (lambda y: y.sum(), r"\(\)"),
        (lambda y: y.reshape(-1, 2, 3), r"\(2, 2, 3\)"),
        (lambda y: y[:, :, None, None].expand(-1, -1, 3, 3), r"\(2, 6, 3, 3\)"),
        (lambda y: y.t(), r"\(6, 2\)"),
    ],
)
def test_a_shape_that_is_not_one_vector_a_window_is_refused(change: Callable[[Tensor], Tensor], shape: str) -> None:
    with pytest.raises(CaptureError, match=rf"2 windows give an output of shape {shape}, not \(2, K\)"):
        capture_module(Small(change), window=9)


def test_as_many_numbers_as_windows_by_chance_are_no_scores() -> None:
    with pytest.raises(CaptureError, match=r"2 windows give an output of shape \(2,\)"):
        capture_module(Small(lambda y: y.sum(0)[:2]), window=9)
