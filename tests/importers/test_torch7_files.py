"""Torch7 files: values, refusals and their reasons, and whole networks through ``load``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from fullfield.errors import CaptureError
from fullfield.importers.load import load
from fullfield.importers.torch7.reader import LuaObject, read

from .t7_writer import Obj, Raw, Storage, Tensor, dumps, longs, sequential  # noqa: TID252 - tests are no package

RNG = np.random.default_rng(11)


def numbers(*shape: int, kind: str = "f4") -> np.ndarray:
    return (RNG.integers(-64, 65, shape) / 128).astype(kind)


def lenet(kind: str = "f4") -> Obj:
    """Window 12: convolution, tanh, L2 pool, locally connected layer, two linear layers, logarithm of softmax."""
    first = Obj("nn.SpatialConvolutionMM", nInputPlane=1, nOutputPlane=4, kW=3, kH=3, dW=1, dH=1, padW=0, padH=0,
                weight=numbers(4, 9, kind=kind), bias=numbers(4, kind=kind), gradInput=numbers(0))  # fmt: skip
    local = Obj("nn.SpatialConvolutionLocal", nInputPlane=4, nOutputPlane=3, kW=2, kH=2, iW=5, iH=5, oW=4, oH=4, dW=1,
                dH=1, padW=0, padH=0, weight=numbers(4, 4, 3, 4, 2, 2, kind=kind),
                bias=numbers(3, 4, 4, kind=kind))  # fmt: skip
    pool = Obj("nn.SpatialLPPooling", kW=2, kH=2, dW=2, dH=2, modules=[
        Obj("nn.Square"), Obj("nn.SpatialAveragePooling", kW=2, kH=2, dW=2, dH=2, padW=0, padH=0, ceil_mode=False,
                              count_include_pad=True, divide=True),
        Obj("nn.MulConstant", constant_scalar=4), Obj("nn.Sqrt", eps=0)])  # fmt: skip
    linear = Obj("nn.Linear", weight=numbers(5, 48, kind=kind), bias=numbers(5, kind=kind))
    view = Obj("nn.View", size=longs(48), numElements=48)
    return sequential(first, Obj("nn.Tanh"), pool, local, Obj("nn.Threshold", threshold=0, val=0), view,
                      Obj("nn.Dropout", p=0.5, v2=True), linear, Obj("nn.LogSoftMax"))  # fmt: skip


def write(folder: Path, value: Any, *, ascii: bool = False) -> Path:
    path = folder / "net.jpg"
    path.write_bytes(dumps(value, ascii=ascii))
    return path


def reason(path: Path, **options: Any) -> str:
    with pytest.raises(CaptureError) as caught:
        load(path, **options)
    return str(caught.value)


@pytest.mark.parametrize("ascii", [False, True])
@pytest.mark.parametrize("kind", ["f4", "f8"])
def test_a_network_is_loaded_whatever_its_name(ascii: bool, kind: str, tmp_path: Path) -> None:
    value = lenet(kind)
    network = load(write(tmp_path, value, ascii=ascii), window=12)
    assert (network.channels, network.classes) == (1, 5)
    assert network.dtype == (torch.float64 if kind == "f8" else torch.float32)
    x = torch.from_numpy(numbers(3, 1, 12, 12, kind=kind))
    first, local, linear = (value.fields["modules"][i].fields for i in (0, 3, 7))
    y = torch.tanh(F.conv2d(x, torch.from_numpy(first["weight"]).reshape(4, 1, 3, 3), torch.from_numpy(first["bias"])))
    y = F.lp_pool2d(y, 2.0, 2)
    patches = y.unfold(2, 2, 1).unfold(3, 2, 1)
    y = torch.einsum("ncijab,ijocab->noij", patches, torch.from_numpy(local["weight"])) + torch.from_numpy(
        local["bias"]
    )
    y = F.linear(F.relu(y).flatten(1), torch.from_numpy(linear["weight"]), torch.from_numpy(linear["bias"]))
    assert torch.allclose(network(x), F.log_softmax(y, 1), atol=1e-5 if kind == "f4" else 1e-12)
    assert {"1", "4", "8"} <= {node.meta["path"] for node in network.graph.graph.nodes}


def test_a_table_with_a_model_is_loaded(tmp_path: Path) -> None:
    assert load(write(tmp_path, {"epoch": 3, "model": lenet(), "opt": {"lr": 0.1}}), window=12).classes == 5


def test_tensors_of_one_storage_share_it_and_are_cut_out_rightly(tmp_path: Path) -> None:
    storage = Storage(np.arange(20, dtype="f8"))
    value = {"a": Tensor(storage, [2, 3], [3, 1], 3), "b": Tensor(storage, [3, 2], [1, 3], 3), "c": storage}
    path = tmp_path / "t.t7"
    path.write_bytes(dumps(value))
    found = read(path)
    assert found["a"].tolist() == [[2, 3, 4], [5, 6, 7]]
    assert torch.equal(found["b"], found["a"].T)
    assert found["a"].untyped_storage().data_ptr() == found["c"].untyped_storage().data_ptr()


def test_values_of_every_kind_come_back(tmp_path: Path) -> None:
    shared = {"x": 1.5}
    value = {"n": None, "t": True, "f": False, "s": "text\n", "l": [shared, shared], 7: numbers(2), "e": ""}
    for ascii in (False, True):
        path = tmp_path / "v.t7"
        path.write_bytes(dumps(value | {"o": Obj("nn.X", None, k=2)}, ascii=ascii))
        found = read(path)
        assert (found["n"], found["t"], found["f"], found["s"], found["e"]) == (None, True, False, "text\n", "")
        assert found["l"][1] is found["l"][2]
        assert torch.equal(found[7], torch.from_numpy(value[7]))
        assert isinstance(found["o"], LuaObject)
        assert (found["o"].kind, found["o"].version, found["o"].fields) == ("nn.X", 0, {"k": 2.0})


def test_every_kind_of_number_is_read(tmp_path: Path) -> None:
    for kind in ("Double", "Float", "Half", "Long", "Int", "Short", "Char", "Byte", "Cuda", "CudaDouble"):
        code = {"Double": "f8", "Half": "f2", "Long": "i8", "Int": "i4", "Short": "i2", "Char": "i1", "Byte": "u1"}
        array = np.array([1, 2, 3]).astype(code.get(kind.removeprefix("Cuda") or "Float", "f4"))
        path = tmp_path / "n.t7"
        path.write_bytes(dumps({"x": Tensor(Storage(array, kind), [3], [1])}))
        assert read(path)["x"].tolist() == [1, 2, 3]


def test_the_window_must_be_given(tmp_path: Path) -> None:
    assert "window" in reason(write(tmp_path, lenet()))
    assert "an input of" in reason(write(tmp_path, lenet()), window=14)


def test_all_unknown_modules_are_named_at_once(tmp_path: Path) -> None:
    value = sequential(
        Obj("nn.Tanh"), Obj("my.Layer"), Obj("nn.Concat", modules=[Obj("nn.LookupTable"), Obj("my.Layer")])
    )
    text = reason(write(tmp_path, value), window=12)
    assert "my.Layer (2), nn.LookupTable (1)" in text


@pytest.mark.parametrize("kind", [6, 7, 8])
def test_functions_are_refused(kind: int, tmp_path: Path) -> None:
    assert "Lua function" in reason(write(tmp_path, {"f": Raw(kind, 2, 0)}), window=12)


SMALL = Storage(np.zeros(6, "f4"))
DAMAGED: dict[str, tuple[Any, str]] = {
    "beyond the storage": (Tensor(SMALL, [2, 3], [4, 1]), "reaches number 7 of a storage of 6"),
    "before the storage": (Tensor(SMALL, [2], [1], 0), "offset 0"),
    "negative stride": (Tensor(SMALL, [2], [-1], 6), "strides"),
    "negative size": (Tensor(SMALL, [-2], [1]), "sizes"),
    "one number a billion times": (Tensor(SMALL, [10**9], [0]), "sizes"),
    "huge extent": (Tensor(SMALL, [2, 2], [2**62, 2**62]), "reaches"),
    "dimensions": (Obj("nn.X", a=Raw(4, 99, 3)), "damaged"),
    "table of too many": (Raw(3, 77, 2**31 - 1), "2147483647 entries"),
    "type": (Raw(17), "type 17"),
    "no fields": (Obj("nn.X"), "cannot read: nn.X"),
    "number": ({"model": 3.0}, "without a network"),
    "tensor": (SMALL, "a Tensor, not a network"),
}


@pytest.mark.parametrize("case", DAMAGED)
def test_what_is_wrong_is_said(case: str, tmp_path: Path) -> None:
    value, text = DAMAGED[case]
    value = value if isinstance(value, (Obj, dict)) else {"model": Obj("nn.Linear", weight=value)}
    if case == "tensor":
        value = Tensor(SMALL, [6], [1])
    assert text in reason(write(tmp_path, value), window=12)


def test_deep_nesting_and_modules_that_contain_themselves_are_refused(tmp_path: Path) -> None:
    deep: Any = {}
    for _ in range(300):
        deep = {"x": deep}
    assert "nested deeper" in reason(write(tmp_path, deep), window=12)
    loop = sequential(Obj("nn.Tanh"))
    loop.fields["modules"].append(loop)
    assert "contain themselves" in reason(write(tmp_path, loop), window=12)
    chain = sequential(Obj("nn.Tanh"))
    links = [chain]
    for _ in range(110):
        chain = sequential(chain)
        links.append(chain)
    assert "nested more than 100 deep" in reason(write(tmp_path, {"links": links, "model": chain}), window=12)


def test_a_module_that_occurs_twice_runs_twice_with_the_same_weights(tmp_path: Path) -> None:
    layer = Obj("nn.Linear", weight=numbers(4, 4), bias=numbers(4))
    block = sequential(layer, Obj("nn.Tanh"), layer)
    both = Obj("nn.ConcatTable", modules=[block, block, layer])
    root = sequential(Obj("nn.View", size=longs(4), numElements=4), both, Obj("nn.CAddTable"))
    network = load(write(tmp_path, root), window=2)
    weight, bias = (torch.from_numpy(layer.fields[name]) for name in ("weight", "bias"))
    x = torch.randn(3, 4, generator=torch.Generator().manual_seed(1))
    wanted = F.linear(torch.tanh(F.linear(x, weight, bias)), weight, bias)
    with torch.no_grad():
        assert torch.allclose(network(x.reshape(3, 1, 2, 2)), 2 * wanted + F.linear(x, weight, bias), rtol=0, atol=1e-6)
    assert sum(p.numel() for p in network.graph.parameters()) == 20


def test_shared_modules_that_multiply_are_counted_before_they_run(tmp_path: Path) -> None:
    module = Obj("nn.Tanh")
    for _ in range(12):
        module = sequential(*[module] * 10)
    path = write(tmp_path, module)
    assert path.stat().st_size < 10_000
    assert "runs 1,111,111,111,111 modules a window, more than the 2,052 of 13 modules" in reason(path, window=2)


def test_a_file_cut_short_anywhere_is_one_error(tmp_path: Path) -> None:
    for ascii in (False, True):
        whole = dumps(sequential(Obj("nn.Linear", weight=numbers(2, 3))), ascii=ascii)
        path = tmp_path / "cut.t7"
        for length in range(12, len(whole) - 2, 7):
            path.write_bytes(whole[:length])
            with pytest.raises(CaptureError):
                read(path)


FIELDS: dict[str, tuple[Obj, str]] = {
    "missing": (Obj("nn.SpatialMaxPooling", kW=2), "kH is missing, not a number"),
    "fraction": (Obj("nn.SpatialMaxPooling", kW=2.5, kH=2), "kW is 2.5, not a whole number"),
    "zero": (Obj("nn.SpatialMaxPooling", kW=0, kH=2), "whole number from 1 up"),
    "not finite": (Obj("nn.MulConstant", constant_scalar=float("nan")), "not a number"),
    "text": (Obj("nn.MulConstant", constant_scalar="2"), "constant_scalar is a str"),
    "weights": (
        Obj("nn.SpatialConvolution", nInputPlane=3, nOutputPlane=4, kW=3, kH=3, weight=numbers(4, 3, 3, 2)),
        "weight of 4x3x3x2 where the layer needs 4x3x3x3",
    ),
    "empty": (Obj("nn.Linear", weight=numbers(0)), "not a tensor with numbers"),
    "container": (Obj("nn.Sequential", modules=[]), "has no modules"),
    "padding": (sequential(Obj("nn.SpatialZeroPadding", pad_l=2**20)), "bytes allowed"),
    "view": (sequential(Obj("nn.View", size=longs(7))), "147 numbers per window in 7"),
    "table": (sequential(Obj("nn.CAddTable")), "takes a table"),
    "batch": (sequential(Obj("nn.Select", dimension=1, index=1)), "is the batch"),
    "lrn": (sequential(Obj("nn.SpatialCrossMapLRN", size=5, k=-1)), "not positive"),
    "no score": (sequential(Obj("nn.Tanh")), "score vector"),
}


@pytest.mark.parametrize("case", FIELDS)
def test_a_module_that_does_not_fit_says_why(case: str, tmp_path: Path) -> None:
    value, text = FIELDS[case]
    assert text in reason(write(tmp_path, value), window=7)
