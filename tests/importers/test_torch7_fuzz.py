"""Damaged Torch7 files end in one of fullfield's errors or in a network; never in another exception, or slowly."""

from __future__ import annotations

import resource
import time
from pathlib import Path

import numpy as np
import pytest

from fullfield.errors import FullfieldError
from fullfield.importers.load import load
from fullfield.importers.torch7.importer import read_module

from .mutations import mutations  # noqa: TID252 - tests are no package
from .t7_writer import Obj, dumps, longs, sequential  # noqa: TID252


def network() -> Obj:
    conv = Obj("nn.SpatialConvolution", nInputPlane=2, nOutputPlane=3, kW=3, kH=3, dW=1, dH=1, padW=1, padH=1,
               weight=np.ones((3, 2, 3, 3), "f4"), bias=np.ones(3, "f4"))  # fmt: skip
    pool = Obj("nn.SpatialMaxPooling", kW=2, kH=2, dW=2, dH=2, padW=0, padH=0, ceil_mode=True)
    norm = Obj("nn.SpatialBatchNormalization", 2, eps=1e-5, momentum=0.1, running_mean=np.zeros(3, "f4"),
               running_var=np.ones(3, "f4"))  # fmt: skip
    both = Obj("nn.Concat", dimension=2, modules=[conv, sequential(conv, Obj("nn.Tanh"), norm)])
    linear = Obj("nn.Linear", weight=np.ones((3, 54), "f4"), bias=np.ones(3, "f4"))
    view = Obj("nn.View", size=longs(54), numElements=54)
    return sequential(both, Obj("nn.ReLU"), pool, view, Obj("nn.Dropout", p=0.5), linear, Obj("nn.LogSoftMax"))


def fuzz(folder: Path, count: int) -> tuple[int, int]:
    """Damaged binary and ASCII files in turn; how many were refused and how many read."""
    path = folder / "bad.t7"
    refused = read = 0
    for ascii in (False, True):
        for number, data in enumerate(mutations(dumps(network(), ascii=ascii), count // 2, 4 + ascii)):
            path.write_bytes(data)
            started = time.process_time()
            try:
                if number % 100 == 0:
                    load(path, window=6)
                else:
                    read_module(path, window=6)
                read += 1
            except FullfieldError:
                refused += 1
            assert time.process_time() - started < 20
    return refused, read


def test_the_network_itself_is_read(tmp_path: Path) -> None:
    (tmp_path / "net.t7").write_bytes(dumps(network()))
    assert load(tmp_path / "net.t7", window=6).classes == 3


def test_damaged_files_end_in_clear_errors(tmp_path: Path) -> None:
    refused, read = fuzz(tmp_path, 400)
    assert refused > 80
    assert read > 40


@pytest.mark.slow
def test_20000_damaged_files_end_in_clear_errors_in_bounded_memory(tmp_path: Path) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    refused, read = fuzz(tmp_path, 20_000)
    assert refused + read == 20_000
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 6 * 2**20
