"""What a type checker makes of the public names: `make lint` checks this file; it is not run."""

from typing import assert_type

import numpy as np
from torch import nn

import fullfield
import fullfield.model.model  # must not hide the verb of the same name
from fullfield import Model, Scores, load, scan


def verbs_have_their_types(module: nn.Module, image: np.ndarray) -> None:
    assert_type(fullfield.load(module, window=24), Model)
    assert_type(load(module, window=24), Model)
    assert_type(load("model.onnx"), Model)
    assert_type(scan(load("model.onnx"), image, step=32), Scores)
    assert_type(fullfield.verify(load("model.onnx"), image, step=32), fullfield.Certificate)
    assert_type(fullfield.inspect(load("model.onnx")), fullfield.Report)
    assert_type(fullfield.workbench.build("LeNet-5"), nn.Sequential)
    assert_type(fullfield.__version__, str)


def mistakes_are_found() -> None:
    # Each ignore is an error of its own (warn_unused_ignores) as soon as the mistake passes.
    fullfield.scann  # type: ignore[attr-defined]  # noqa: B018
    fullfield.load()  # type: ignore[call-arg]
