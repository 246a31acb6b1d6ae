"""Torch7 modules equal torch's layers, or walks over the numbers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fullfield.importers.torch7.importer import read_module
from fullfield.layers.pools import L2Pool2d

from .t7_writer import Obj, dumps, longs, sequential  # noqa: TID252 - tests are no package

RNG = np.random.default_rng(7)


def numbers(*shape: int) -> np.ndarray:
    return (RNG.integers(-64, 65, shape) / 64).astype("f8")


def module(value: Obj, folder: Path, window: tuple[int, int] = (8, 7)) -> nn.Module:
    path = folder / "net.t7"
    path.write_bytes(dumps(value))
    return read_module(path, window=window)[0].eval()


def conv(inputs: int, outputs: int, kh: int, kw: int, kind: str = "nn.SpatialConvolution", **more: Any) -> Obj:
    fields = {"dW": 1, "dH": 1, "padW": 0, "padH": 0} | more
    weight = numbers(outputs, inputs // fields.get("groups", 1), kh, kw)
    if kind.endswith("MM"):
        weight = weight.reshape(outputs, -1)
    planes = {"nInputPlane": inputs, "nOutputPlane": outputs, "kW": kw, "kH": kh}
    return Obj(kind, **(planes | {"weight": weight, "bias": numbers(outputs)} | fields))


def w(o: Obj, name: str = "weight") -> Tensor:
    return torch.from_numpy(o.fields[name])


def conv_case(**more: Any) -> tuple[Obj, Callable[[Tensor], Tensor]]:
    o = conv(3, 6, 3, 2, **more)
    f = o.fields
    weight = w(o).reshape(6, -1, 3, 2)
    return o, lambda x: F.conv2d(
        x, weight, None if f["bias"] is None else w(o, "bias"), (f["dH"], f["dW"]), (f["padH"] or 0, f["padW"] or 0),
        (f.get("dilationH", 1), f.get("dilationW", 1)), f.get("groups", 1),
    )  # fmt: skip


def local_case(*, rows: bool = False) -> tuple[Obj, Callable[[Tensor], Tensor]]:
    weight, bias = numbers(4, 6, 2, 3, 3, 2), numbers(2, 4, 6)
    stored = weight.reshape(24, 2, 18) if rows else weight
    o = Obj("nn.SpatialConvolutionLocal", nInputPlane=3, nOutputPlane=2, kW=2, kH=3, iW=7, iH=8, oW=6, oH=4, dW=1,
            dH=2, padW=0, padH=1, weight=stored, bias=bias)  # fmt: skip

    def walk(x: Tensor) -> Tensor:
        x = F.pad(x, (0, 0, 1, 1))
        result = torch.empty(len(x), 2, 4, 6, dtype=x.dtype)
        for i in range(4):
            for j in range(6):
                part = x[:, :, 2 * i : 2 * i + 3, j : j + 2]
                result[:, :, i, j] = torch.einsum("ncyx,ocyx->no", part, torch.from_numpy(weight[i, j]))
        return result + torch.from_numpy(bias)

    return o, walk


def full_case() -> tuple[Obj, Callable[[Tensor], Tensor]]:
    o = Obj("nn.SpatialFullConvolution", nInputPlane=3, nOutputPlane=2, kW=3, kH=4, dW=2, dH=2, padW=1, padH=1, adjW=1,
            adjH=0, weight=numbers(3, 2, 4, 3), bias=numbers(2))  # fmt: skip
    return o, lambda x: F.conv_transpose2d(x, w(o), w(o, "bias"), 2, 1, (0, 1))


def norm_case(*, old: bool) -> tuple[Obj, Callable[[Tensor], Tensor]]:
    mean, variance = numbers(3), np.abs(numbers(3)) + 0.5
    stats = {"running_std": 1 / np.sqrt(variance + 1e-3)} if old else {"running_var": variance}
    o = Obj("nn.SpatialBatchNormalization", 1 if old else 2, eps=1e-3, momentum=0.1, affine=True, running_mean=mean,
            weight=numbers(3), bias=numbers(3), **stats)  # fmt: skip
    return o, lambda x: F.batch_norm(
        x, torch.from_numpy(mean), torch.from_numpy(variance), w(o), w(o, "bias"), eps=1e-3
    )


def lrn_case() -> tuple[Obj, Callable[[Tensor], Tensor]]:
    o = Obj("nn.SpatialCrossMapLRN", size=3, alpha=0.5, beta=0.75, k=2)
    return o, lambda x: F.local_response_norm(x, 3, 0.5, 0.75, 2)


def lp_case(power: float, *, legacy: bool = False) -> tuple[Obj, Callable[[Tensor], Tensor]]:
    pool = {"kW": 3, "kH": 2, "dW": 2, "dH": 2}
    average = pool if legacy else pool | {"padW": 0, "padH": 0, "ceil_mode": False, "count_include_pad": True}
    inner = [Obj("nn.Abs"), Obj("nn.Square") if power == 2 else Obj("nn.Power", pow=power)]
    inner.append(Obj("nn.SpatialAveragePooling", **average, **({} if legacy else {"divide": True})))
    inner += [] if legacy else [Obj("nn.MulConstant", constant_scalar=6)]
    inner.append(Obj("nn.Sqrt", eps=0) if power == 2 else Obj("nn.Power", pow=1 / power))
    lp = Obj("nn.SpatialLPPooling", modules=inner[1:], **pool)
    return sequential(inner[0], lp), lambda x: F.lp_pool2d(x.abs(), power, (2, 3), (2, 2))


def feature_case(power: float) -> tuple[Obj, Callable[[Tensor], Tensor]]:
    o = Obj("nn.FeatureLPPooling", width=2, stride=1, power=power, batch_mode=True)
    return sequential(Obj("nn.Abs"), o), lambda x: torch.stack(
        [(x[:, c : c + 2].abs() ** power).sum(1) ** (1 / power) for c in range(2)], 1
    )


def pool(kind: str, kh: int, kw: int, **more: Any) -> Obj:
    return Obj(f"nn.Spatial{kind}Pooling", **({"kW": kw, "kH": kh, "dW": 2, "dH": 3, "padW": 1, "padH": 0} | more))


CASES: dict[str, Callable[[], tuple[Obj, Callable[[Tensor], Tensor]]]] = {
    "conv": conv_case,
    "conv strided, padded": lambda: conv_case(dW=2, dH=3, padW=1, padH=2),
    "conv as rows": lambda: conv_case(kind="nn.SpatialConvolutionMM", padW=1),
    "conv of cudnn in groups": lambda: conv_case(kind="cudnn.SpatialConvolution", groups=3),
    "conv dilated": lambda: conv_case(kind="nn.SpatialDilatedConvolution", dilationW=2, dilationH=1),
    "conv without bias": lambda: conv_case(bias=None),
    "conv of old files": lambda: (conv_case(padW=None, padH=None)),
    "local": local_case,
    "local as rows": lambda: local_case(rows=True),
    "transposed": full_case,
    "max": lambda: (pool("Max", 3, 2, ceil_mode=False), lambda x: F.max_pool2d(x, (3, 2), (3, 2), (0, 1))),
    "max ceil": lambda: (
        pool("Max", 3, 2, ceil_mode=True), lambda x: F.max_pool2d(x, (3, 2), (3, 2), (0, 1), ceil_mode=True)),
    "max of old files": lambda: (
        Obj("nn.SpatialMaxPooling", kW=2, kH=3, dW=1, dH=2), lambda x: F.max_pool2d(x, (3, 2), (2, 1))),
    "mean": lambda: (
        pool("Average", 3, 2, ceil_mode=True, count_include_pad=True, divide=True),
        lambda x: F.avg_pool2d(x, (3, 2), (3, 2), (0, 1), True, True)),
    "mean without padding": lambda: (
        pool("Average", 3, 2, ceil_mode=False, count_include_pad=False, divide=True),
        lambda x: F.avg_pool2d(x, (3, 2), (3, 2), (0, 1), False, False)),
    "sum": lambda: (
        Obj("nn.SpatialAveragePooling", kW=2, kH=3, dW=1, dH=1), lambda x: F.avg_pool2d(x, (3, 2), 1) * 6),
    "mean of cudnn": lambda: (
        Obj("cudnn.SpatialAveragePooling", kW=2, kH=3, dW=1, dH=1, padW=0, padH=0, ceil_mode=False),
        lambda x: F.avg_pool2d(x, (3, 2), 1)),
    "adaptive": lambda: (
        Obj("nn.SpatialAdaptiveMaxPooling", W=3, H=2), lambda x: F.adaptive_max_pool2d(x, (2, 3))),
    "subsampling": lambda: (
        Obj("nn.SpatialSubSampling", nInputPlane=3, kW=2, kH=2, dW=2, dH=2, weight=np.array([1.0, 2.0, -1.0]),
            bias=np.array([0.5, 0.0, 1.0])),
        lambda x: F.avg_pool2d(x, 2, divisor_override=1) * torch.tensor([1.0, 2, -1]).double()[:, None, None]
        + torch.tensor([0.5, 0, 1]).double()[:, None, None]),
    "root of squares": lambda: lp_case(2.0),
    "root of squares, old": lambda: lp_case(2.0, legacy=True),
    "cubes": lambda: lp_case(3.0),
    "features": lambda: feature_case(2.0),
    "features, cubes": lambda: feature_case(3.0),
    "lrn": lrn_case,
    "batch norm": lambda: norm_case(old=False),
    "batch norm, old": lambda: norm_case(old=True),
    "zero padding": lambda: (
        Obj("nn.SpatialZeroPadding", pad_l=1, pad_r=-2, pad_t=0, pad_b=3), lambda x: F.pad(x, (1, -2, 0, 3))),
    "reflection": lambda: (
        Obj("nn.SpatialReflectionPadding", pad_l=1, pad_r=2, pad_t=0, pad_b=3),
        lambda x: F.pad(x, (1, 2, 0, 3), "reflect")),
    "threshold": lambda: (Obj("nn.Threshold", threshold=0.25, val=-1), lambda x: F.threshold(x, 0.25, -1)),
    "relu": lambda: (Obj("cudnn.ReLU", inplace=True, mode="x"), F.relu),
    "tanh": lambda: (Obj("nn.Tanh"), torch.tanh),
    "sigmoid": lambda: (Obj("nn.Sigmoid"), torch.sigmoid),
    "leaky": lambda: (Obj("nn.LeakyReLU", negval=0.2), lambda x: F.leaky_relu(x, 0.2)),
    "elu": lambda: (Obj("nn.ELU", alpha=0.5), lambda x: F.elu(x, 0.5)),
    "hard tanh": lambda: (Obj("nn.HardTanh", min_val=-0.5, max_val=0.25), lambda x: x.clamp(-0.5, 0.25)),
    "prelu": lambda: (
        Obj("nn.PReLU", nOutputPlane=3, weight=np.array([0.1, 0.2, 0.3])),
        lambda x: F.prelu(x, torch.tensor([0.1, 0.2, 0.3]).double())),
    "softmax over maps": lambda: (Obj("nn.SpatialSoftMax"), lambda x: F.softmax(x, 1)),
    "dropout": lambda: (Obj("nn.Dropout", p=0.25, v2=True), lambda x: x),
    "dropout of the first version": lambda: (Obj("nn.Dropout", p=0.25), lambda x: x * 0.75),
    "dropout of maps": lambda: (Obj("nn.SpatialDropout", p=0.25), lambda x: x * 0.75),
    "transpose": lambda: (Obj("nn.Transpose", permutations=[[2, 3], [3, 4]]), lambda x: x.permute(0, 2, 3, 1)),
    "mean of a dimension": lambda: (Obj("nn.Mean", dimension=2, nInputDims=3, squeeze=True), lambda x: x.mean(2)),
    "part": lambda: (Obj("nn.Narrow", dimension=3, index=2, length=-2), lambda x: x[:, :, 1:7]),
    "slice": lambda: (Obj("nn.Select", dimension=2, index=-1), lambda x: x[:, -1]),
    "per map": lambda: (
        Obj("nn.CMul", size=longs(1, 3, 1, 1), weight=np.array([1.0, 2, 3]).reshape(1, 3, 1, 1)),
        lambda x: x * torch.tensor([1.0, 2, 3]).double()[:, None, None]),
    "larger": lambda: (
        Obj("nn.SpatialUpSamplingNearest", scale_factor=2), lambda x: F.interpolate(x, scale_factor=2)),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_a_module_equals_its_definition(case: str, tmp_path: Path) -> None:
    value, wanted = CASES[case]()
    if case == "conv of old files":
        value.fields |= {"padding": 1, "padW": None, "padH": None}
        plain = wanted

        def wanted(x: Tensor) -> Tensor:
            return plain(F.pad(x, (1, 1, 1, 1)))

    x = torch.from_numpy(numbers(2, 3, 8, 7))
    found = module(value, tmp_path)(x)
    assert found.shape == wanted(x).shape
    assert torch.allclose(found.double(), wanted(x), atol=1e-9)


def test_the_pool_of_squares_is_one_layer_of_fullfields_own(tmp_path: Path) -> None:
    for legacy in (False, True):
        built = module(lp_case(2.0, legacy=legacy)[0], tmp_path)
        assert any(isinstance(part, L2Pool2d) for part in built.modules())


def test_tables_of_values_are_joined_and_combined(tmp_path: Path) -> None:
    a, b = conv(3, 4, 3, 3), conv(3, 4, 3, 3)
    x = torch.from_numpy(numbers(2, 3, 8, 7))
    left, right = (F.conv2d(x, w(o), w(o, "bias")) for o in (a, b))
    both = Obj("nn.ConcatTable", modules=[a, b])
    wanted = {
        "nn.CAddTable": left + right,
        "nn.CMulTable": left * right,
        "nn.CSubTable": left - right,
        "nn.CMaxTable": torch.maximum(left, right),
    }
    for kind, value in wanted.items():
        assert torch.allclose(module(sequential(both, Obj(kind)), tmp_path)(x), value)
    joined = torch.cat([left, right], 1)
    for fields in ({"dimension": 2}, {"dimension": 1, "nInputDims": 3}, {"dimension": -3}):
        assert torch.allclose(module(sequential(both, Obj("nn.JoinTable", **fields)), tmp_path)(x), joined)
    for dim in (1, 2):
        assert torch.allclose(module(Obj("nn.Concat", dimension=dim, modules=[a, b]), tmp_path)(x), joined)
    parallel = Obj("nn.ParallelTable", modules=[Obj("nn.ReLU"), Obj("nn.Tanh")])
    picked = module(sequential(both, parallel, Obj("nn.SelectTable", index=-1)), tmp_path)
    assert torch.allclose(picked(x), torch.tanh(right))


def test_maps_of_unequal_size_are_centred(tmp_path: Path) -> None:
    a, b = conv(3, 2, 1, 1), conv(3, 2, 3, 4)
    x = torch.from_numpy(numbers(2, 3, 8, 7))
    small = F.pad(F.conv2d(x, w(b), w(b, "bias")), (1, 2, 1, 1))
    wanted = torch.cat([F.conv2d(x, w(a), w(a, "bias")), small], 1)
    assert torch.allclose(module(Obj("nn.DepthConcat", dimension=2, modules=[a, b]), tmp_path)(x), wanted)


@pytest.mark.parametrize(
    "view",
    [
        Obj("nn.View", size=longs(168), numElements=168),
        Obj("nn.View", size=longs(-1), numElements=1, numInputDims=3),
        Obj("nn.View", size=longs(-1, 168), numElements=168),
        Obj("nn.Reshape", size=longs(168), nelement=168, batchMode=True),
        Obj("nn.Reshape", size=longs(1, 168), nelement=168),
    ],
)
def test_views_flatten_window_by_window(view: Obj, tmp_path: Path) -> None:
    x = torch.from_numpy(numbers(2, 3, 8, 7))
    assert torch.equal(module(sequential(view), tmp_path)(x), x.flatten(1))


def test_a_view_of_several_dimensions_keeps_the_batch(tmp_path: Path) -> None:
    x = torch.from_numpy(numbers(2, 3, 8, 7))
    built = module(sequential(Obj("nn.View", size=longs(12, -1), numElements=12, numInputDims=3)), tmp_path)
    assert torch.equal(built(x), x.reshape(2, 12, 14))


def test_slices_run_side_by_side_and_tables_are_split_and_flattened(tmp_path: Path) -> None:
    x = torch.from_numpy(numbers(2, 2, 8, 7))
    parts = [Obj("nn.Tanh"), Obj("nn.Abs")]
    first = conv(2, 2, 1, 1)
    y = F.conv2d(x, w(first), w(first, "bias"))
    parallel = Obj("nn.Parallel", inputDimension=2, outputDimension=2, modules=parts)
    wanted = torch.cat([torch.tanh(y[:, 0]), y[:, 1].abs()], 1)
    assert torch.allclose(module(sequential(first, parallel), tmp_path)(x), wanted)
    split = Obj("nn.SplitTable", dimension=1, nInputDims=3)
    nested = Obj("nn.ConcatTable", modules=[Obj("nn.Identity"), Obj("nn.NarrowTable", offset=2, length=1)])
    joined = Obj("nn.JoinTable", dimension=1, nInputDims=2)
    chain = sequential(first, split, nested, Obj("nn.FlattenTable"), joined)
    assert torch.allclose(module(chain, tmp_path)(x), torch.cat([y[:, 0], y[:, 1], y[:, 1]], 1))


def test_dimensions_of_one_come_and_go(tmp_path: Path) -> None:
    first = conv(3, 4, 8, 7)
    x = torch.from_numpy(numbers(2, 3, 8, 7))
    y = F.conv2d(x, w(first), w(first, "bias"))
    assert torch.allclose(module(sequential(first, Obj("nn.Squeeze")), tmp_path)(x), y[:, :, 0, 0])
    one = Obj("nn.Squeeze", dim=3, numInputDims=3)
    assert torch.allclose(module(sequential(first, one), tmp_path)(x), y[:, :, :, 0])
    more = Obj("nn.Unsqueeze", pos=1, numInputDims=3)
    assert torch.allclose(module(sequential(first, more), tmp_path)(x), y[:, None])
