"""Random networks: hypothesis draws operators, ``Builder`` writes them as a graph and drops those that do not fit."""

from __future__ import annotations

from operator import getitem
from typing import Any

import hypothesis.strategies as st
import torch
from torch import nn
from torch.fx import Graph, GraphModule, Node

from fullfield.geometry.axis import Op
from fullfield.model.model import Model
from fullfield.model.preprocessing import Preprocessing
from fullfield.model.torch_export import checked_model

aten = torch.ops.aten
CHANNELS = 2
_RESIZES = (
    *(aten.upsample_bilinear2d, aten.upsample_bicubic2d, aten.upsample_nearest2d),
    *(aten._upsample_bilinear2d_aa, aten._upsample_bicubic2d_aa),
)


class Builder:
    """A graph under construction in the dialect of ``torch.export``; nodes hold their value for a window of zeros."""

    def __init__(self, window: tuple[int, int], *, integers: bool) -> None:
        self.graph, self.root, self.integers = Graph(), nn.Module(), integers
        self.window = window
        self.image = self.graph.placeholder("x")
        self.image.meta["val"] = torch.zeros(1, CHANNELS, *window, dtype=torch.float64)

    def call(self, target: Any, *args: Any, **kwargs: Any) -> Node | None:
        """The node of one operator, or ``None`` where it does not fit what it is given."""
        try:
            value = target(*torch.fx.node.map_arg(args, lambda n: n.meta["val"]), **kwargs)
        except RuntimeError:
            return None
        if isinstance(value, torch.Tensor) and (0 in value.shape or not value.isfinite().all()):
            return None  # nothing, or no numbers: a dilated pool may read nothing but its padding
        node = self.graph.call_function(target, args, kwargs)
        node.meta["val"] = value
        return node

    def tensor(self, *shape: int, positive: bool = False) -> Node:
        """A parameter drawn at random; small integers where the network is one of integers."""
        value = torch.randn(shape, dtype=torch.float64)
        if self.integers:
            value = torch.randint(-2, 3, shape).double()
        if positive:
            value = value.abs() + 0.5
        name = f"w{len(list(self.root.parameters()))}"
        self.root.register_parameter(name, nn.Parameter(value))
        node = self.graph.get_attr(name)
        node.meta["val"] = value
        return node

    def finish(self, result: Node) -> Model:
        """The checked_model whose scores are ``result``."""
        self.graph.output(result)
        graph = GraphModule(self.root, self.graph)
        for node in graph.graph.nodes:
            node.meta = {"path": node.name}
        options: dict[str, Any] = {"preprocessing": Preprocessing(), "class_names": None, "name": "drawn"}
        return checked_model(graph, window=self.window, channels=CHANNELS, **options)


def small(low: int, high: int) -> st.SearchStrategy[list[int]]:
    """Two small integers, along y and x."""
    return st.lists(st.integers(low, high), min_size=2, max_size=2)


def _channels(node: Node) -> int:
    return int(node.meta["val"].shape[1])


def conv(draw: Any, b: Builder, x: Node) -> Node | None:
    groups = draw(st.sampled_from([1, 1, _channels(x)]))
    out = groups * draw(st.integers(1, 3)) if groups > 1 else draw(st.integers(1, 4))
    kernel = draw(small(1, 4))
    weight = b.tensor(out, _channels(x) // groups, *kernel)
    bias = b.tensor(out) if draw(st.booleans()) else None
    stride, dilation = draw(small(1, 3)), draw(small(1, 2))
    if draw(st.integers(0, 4)) == 0:
        return b.call(aten.conv2d.padding, x, weight, bias, [1, 1], "same", dilation, groups)
    return b.call(aten.conv2d.default, x, weight, bias, stride, draw(small(0, 3)), dilation, groups)


def max_pool(draw: Any, b: Builder, x: Node) -> Node | None:
    kernel = draw(small(1, 3))
    padding = [draw(st.integers(0, k // 2)) for k in kernel]
    return b.call(
        aten.max_pool2d.default, x, kernel, draw(small(1, 3)), padding, draw(small(1, 2)), draw(st.booleans())
    )


def average_pool(draw: Any, b: Builder, x: Node) -> Node | None:
    kernel = draw(small(1, 3))
    padding = [draw(st.integers(0, k // 2)) for k in kernel]
    options = draw(st.booleans()), draw(st.booleans()), draw(st.sampled_from([None, None, 3]))
    return b.call(aten.avg_pool2d.default, x, kernel, draw(small(1, 3)), padding, *options)


def pad(draw: Any, b: Builder, x: Node) -> Node | None:
    fill = draw(st.sampled_from([0.0, 0.0, 1.0, -3.0]))
    pads = draw(st.lists(st.integers(-1, 2), min_size=4, max_size=4))
    return b.call(aten.pad.default, x, pads, "constant", fill)


def edges(draw: Any, b: Builder, x: Node) -> Node | None:
    """Reflection or replication (blur pools), of few cells."""
    pads = draw(st.lists(st.integers(0, 2), min_size=4, max_size=4))
    return b.call(aten.pad.default, x, pads, draw(st.sampled_from(["reflect", "replicate"])))


def crop(draw: Any, b: Builder, x: Node) -> Node | None:
    dim, start = draw(st.integers(2, 3)), draw(st.integers(0, 2))
    stop, step = draw(st.sampled_from([9223372036854775807, -1])), draw(st.integers(1, 2))
    return b.call(aten.slice.Tensor, x, dim, start, stop, step)


def activation(draw: Any, b: Builder, x: Node) -> Node | None:
    return b.call(draw(st.sampled_from([aten.relu.default, aten.relu.default, aten.neg.default])), x)


def smooth(draw: Any, b: Builder, x: Node) -> Node | None:
    return b.call(draw(st.sampled_from([aten.sigmoid.default, aten.tanh.default, aten.silu.default])), x)


def batch_norm(draw: Any, b: Builder, x: Node) -> Node | None:
    c = _channels(x)
    moments = [b.tensor(c), b.tensor(c), b.tensor(c), b.tensor(c, positive=True)]
    return b.call(aten.batch_norm.default, x, *moments, False, 0.1, 1e-5, False)


def channel_norm(draw: Any, b: Builder, x: Node) -> Node | None:
    last = b.call(aten.permute.default, x, [0, 2, 3, 1])
    c = _channels(x)
    normed = b.call(aten.layer_norm.default, last, [c], b.tensor(c), b.tensor(c), 1e-2)
    return b.call(aten.permute.default, normed, [0, 3, 1, 2])


def gate(draw: Any, b: Builder, x: Node) -> Node | None:
    mean = b.call(aten.mean.dim, x, [2, 3], True)
    value = b.call(aten.conv2d.default, mean, b.tensor(_channels(x), _channels(x), 1, 1))
    return b.call(aten.mul.Tensor, x, b.call(aten.sigmoid.default, value))


def residual(draw: Any, b: Builder, x: Node) -> Node | None:
    """Two branches that meet in a sum: kernels, borders and shortcut differ, counts agree by construction."""
    k, stride, c = draw(st.sampled_from([1, 3, 5])), draw(st.integers(1, 2)), draw(st.integers(1, 3))
    options = [stride, stride], [k // 2, k // 2]
    long = b.call(aten.conv2d.default, x, b.tensor(c, _channels(x), k, k), None, *options)
    short: Node | None = x
    if stride > 1 or c != _channels(x) or draw(st.booleans()):
        short = b.call(aten.conv2d.default, x, b.tensor(c, _channels(x), 1, 1), None, options[0])
    return b.call(aten.add.Tensor, long, short) if long and short else None


def inception(draw: Any, b: Builder, x: Node) -> Node | None:
    """Branches of different borders that meet in a concatenation."""
    ways = []
    for k in draw(st.lists(st.sampled_from([1, 3, 5]), min_size=1, max_size=2)):
        weight = b.tensor(draw(st.integers(1, 2)), _channels(x), k, k)
        ways.append(b.call(aten.conv2d.default, x, weight, b.tensor(weight.meta["val"].shape[0]), [1, 1], [k // 2] * 2))
    ways.append(b.call(aten.max_pool2d.default, x, [3, 3], [1, 1], [1, 1]) if draw(st.booleans()) else x)
    return b.call(aten.cat.default, ways, 1) if all(ways) else None


def blocks(draw: Any, b: Builder, x: Node) -> Node | None:
    """Space to depth by views, the map cropped so that it comes apart; places within a block before the channels."""
    f = draw(small(1, 3))
    for dim, size in zip((2, 3), f, strict=True):
        if x.meta["val"].shape[dim] % size:
            x = b.call(aten.slice.Tensor, x, dim, x.meta["val"].shape[dim] % size, 9223372036854775807, 1) or x
    c, h, w = x.meta["val"].shape[1:]
    if h < f[0] or w < f[1]:
        return None
    apart = b.call(aten.view.default, x, [-1, c, h // f[0], f[0], w // f[1], f[1]])
    moved = b.call(aten.permute.default, apart, [0, 3, 5, 1, 2, 4])
    return b.call(aten.reshape.default, moved, [-1, f[0] * f[1] * c, h // f[0], w // f[1]])


def unfold(draw: Any, b: Builder, x: Node) -> Node | None:
    """Neighbourhoods as channels, of which a convolution keeps a few."""
    kernel, stride, padding, dilation = draw(small(1, 3)), draw(small(1, 2)), draw(small(0, 2)), draw(small(1, 2))
    ops = [Op(*o) for o in zip(kernel, stride, padding, padding, dilation, strict=True)]
    cells = [op.cells(n) for op, n in zip(ops, x.meta["val"].shape[2:], strict=True)]
    tokens = b.call(aten.im2col.default, x, kernel, dilation, padding, stride) if min(cells) > 0 else None
    if tokens is None:
        return None
    unfolded = b.call(aten.view.default, tokens, [-1, _channels(tokens), *cells])
    assert unfolded is not None
    return b.call(aten.conv2d.default, unfolded, b.tensor(2, _channels(unfolded), 1, 1))


def upsample(draw: Any, b: Builder, x: Node) -> Node | None:
    """A map at half its size and back, or channels spread over cells."""
    if draw(st.booleans()):
        wide = b.call(aten.conv2d.default, x, b.tensor(4 * draw(st.integers(1, 2)), _channels(x), 1, 1), None, [2, 2])
        return b.call(aten.pixel_shuffle.default, wide, 2) if wide else None
    pooled = b.call(aten.max_pool2d.default, x, [2, 3], [2, 3], [1, 1])
    return b.call(aten.upsample_nearest2d.vec, pooled, None, [2.0, 3.0]) if pooled else None


def mixed_upsample(draw: Any, b: Builder, x: Node) -> Node | None:
    """A map at a part of its size and back, its cells mixed."""
    fy, fx = draw(st.sampled_from([(2, 2), (2, 1), (2, 3)]))
    pooled = b.call(aten.max_pool2d.default, x, [2, 2], [fy, fx], [1, 1])
    mode = draw(st.sampled_from([aten.upsample_bilinear2d, aten.upsample_bicubic2d, aten._upsample_bicubic2d_aa]))
    return b.call(mode.vec, pooled, None, False, [float(fy), float(fx)]) if pooled else None


def resampled(draw: Any, b: Builder, x: Node) -> Node | None:
    """A map, cut to whole blocks of cells, each of which is resized to a block of others."""
    shape = x.meta["val"].shape[2:]
    ratios = [draw(st.sampled_from([(1, 1), (2, 3), (3, 2), (3, 4), (4, 3), (5, 3), (2, 5)])) for _ in shape]
    blocks = [n // q for n, (_, q) in zip(shape, ratios, strict=True)]
    sizes = [g * p for g, (p, _) in zip(blocks, ratios, strict=True)]
    cut = x
    for dim, (g, (_, q)) in enumerate(zip(blocks, ratios, strict=True)):
        cut = b.call(aten.slice.Tensor, cut, 2 + dim, 0, g * q) or cut
    mode = draw(st.sampled_from(_RESIZES))
    options = [None] if mode is aten.upsample_nearest2d else [False, None]
    return b.call(mode.vec, cut, sizes, *options)


def transposed(draw: Any, b: Builder, x: Node) -> Node | None:
    """A convolution and a transposed one of the same stride."""
    stride = draw(st.sampled_from([[1, 1], [2, 2], [1, 2]]))
    kernel, padding = draw(st.sampled_from([(2, 0), (3, 1), (4, 1)]))
    strided = b.call(aten.conv2d.default, x, b.tensor(2, _channels(x), 3, 3), None, stride, [1, 1])
    options = [stride, [padding] * 2, [draw(st.integers(0, s - 1)) for s in stride]]
    weight = b.tensor(2, 2, kernel, kernel)
    return b.call(aten.conv_transpose2d.input, strided, weight, b.tensor(2), *options) if strided else None


def products(draw: Any, b: Builder, x: Node) -> Node | None:
    """Linear over channels last, a matrix times tokens, or a product within groups of channels."""
    c, h, w = x.meta["val"].shape[1:]
    which = draw(st.integers(0, 2))
    if which == 0:
        last = b.call(aten.linear.default, b.call(aten.permute.default, x, [0, 2, 3, 1]), b.tensor(3, c), b.tensor(3))
        return b.call(aten.permute.default, last, [0, 3, 1, 2])
    if which == 1:
        tokens = b.call(aten.matmul.default, b.tensor(2, c), b.call(aten.flatten.using_ints, x, 2))
        return b.call(aten.view.default, tokens, [-1, 2, h, w])
    groups = draw(st.sampled_from([g for g in (1, 2, c) if c % g == 0]))
    apart = b.call(aten.view.default, x, [-1, groups, c // groups, h, w])
    found = b.call(aten.einsum.default, "bgchw,gkc->bkghw", [apart, b.tensor(groups, 2, c // groups)])
    return b.call(aten.reshape.default, found, [-1, 2 * groups, h, w])


def spanning(draw: Any, b: Builder, x: Node) -> Node | None:
    """A dilated kernel whose first and last taps are the first and last cells of the map."""
    n = x.meta["val"].shape[2:]
    kernel = [draw(st.sampled_from([k for k in (1, 2, 3, m) if (m - 1) % max(1, k - 1) == 0])) for m in n]
    dilation = [max(1, (m - 1) // max(1, k - 1)) for m, k in zip(n, kernel, strict=True)]
    c = _channels(x)
    groups = draw(st.sampled_from([1, c]))
    weight, bias = b.tensor(2 * groups, c // groups, *kernel), b.tensor(2 * groups)
    return b.call(aten.conv2d.default, x, weight, bias, [1, 1], [0, 0], dilation, groups)


def picked(draw: Any, b: Builder, x: Node) -> Node | None:
    """Rows taken apart, of which the first and the last come together again."""
    rows = b.call(aten.unbind.int, x, 2)
    first = b.graph.call_function(getitem, (rows, 0))
    first.meta["val"] = rows.meta["val"][0] if rows else None
    last = b.call(aten.select.int, x, 2, -1)
    return b.call(aten.unsqueeze.default, b.call(aten.add.Tensor, first, last), 2)


def attention(draw: Any, b: Builder, x: Node) -> Node | None:
    """Tokens weighed by each other; with a place of their own, or a class token before them."""
    c, h, w = x.meta["val"].shape[1:]
    tokens = b.call(aten.transpose.int, b.call(aten.flatten.using_ints, x, 2), 1, 2)
    if draw(st.booleans()):
        tokens = b.call(aten.add.Tensor, tokens, b.tensor(1, h * w, c))
    query, key, value = (b.call(aten.linear.default, tokens, b.tensor(c, c)) for _ in range(3))
    mixed = b.call(aten.scaled_dot_product_attention.default, query, key, value)
    return b.call(aten.view.default, b.call(aten.transpose.int, mixed, 1, 2), [-1, c, h, w])


def unshared(draw: Any, b: Builder, x: Node) -> Node | None:
    """Operators that depend on positions in the window: circular shifts and padding, uneven pools and resizing."""
    n = x.meta["val"].shape[2:]
    which = draw(st.integers(0, 3))
    if which == 0:
        return b.call(aten.roll.default, x, [draw(st.integers(-2, 2)), 1], [2, 3])
    if which == 1:
        return b.call(aten.pad.default, x, [1, 0, 0, 1], "circular")
    if which == 2:
        return b.call(aten.adaptive_avg_pool2d.default, x, [max(1, m * 2 // 3) for m in n])
    return b.call(aten.upsample_bilinear2d.vec, x, [m + 1 for m in n], draw(st.booleans()), None)


def vector_norm(draw: Any, b: Builder, x: Node) -> Node | None:
    length = b.call(aten.linalg_vector_norm.default, x, 2, [1], True)
    return b.call(aten.div.Tensor, x, b.call(aten.add.Tensor, length, 1.0))


def response_norm(draw: Any, b: Builder, x: Node) -> Node | None:
    """Global response normalisation: the map's norm over its mean across channels."""
    length = b.call(aten.linalg_vector_norm.default, x, 2, [2, 3], True)
    mean = b.call(aten.mean.dim, length, [1], True)
    return b.call(aten.mul.Tensor, x, b.call(aten.div.Tensor, length, b.call(aten.add.Tensor, mean, 1e-6)))


def channel_gate(draw: Any, b: Builder, x: Node) -> Node | None:
    """Efficient channel attention: a convolution along the channels of the map's mean."""
    line = b.call(aten.unsqueeze.default, b.call(aten.mean.dim, x, [2, 3]), 1)
    value = b.call(aten.conv1d.default, line, b.tensor(1, 1, 3), b.tensor(1), [1], [1])
    kept = b.call(aten.view.default, b.call(aten.sigmoid.default, value), [-1, _channels(x), 1, 1])
    spread = b.call(aten.expand.default, kept, [-1, -1, *x.meta["val"].shape[2:]])
    return b.call(aten.mul.Tensor, x, spread)


def deviation(draw: Any, b: Builder, x: Node) -> Node | None:
    """EvoNorm: each group of channels over its deviation, expanded."""
    c, h, w = x.meta["val"].shape[1:]
    groups = draw(st.sampled_from([g for g in (1, 2, c) if c % g == 0]))
    shape = [-1, groups, c // groups, h, w]
    variance = b.call(aten.var.correction, b.call(aten.view.default, x, shape), [2, 3, 4], correction=0, keepdim=True)
    spread = b.call(aten.expand.default, b.call(aten.sqrt.default, b.call(aten.add.Tensor, variance, 0.1)), shape)
    return b.call(aten.div.Tensor, x, b.call(aten.reshape.default, spread, [-1, c, h, w]))


def group_norm(draw: Any, b: Builder, x: Node) -> Node | None:
    c = _channels(x)
    return b.call(aten.group_norm.default, x, draw(st.sampled_from([1, c])), b.tensor(c), b.tensor(c), 0.1)


def standardised(draw: Any, b: Builder, x: Node) -> Node | None:
    """Less the mean or the least, over the deviation or the range: of all numbers, or of each channel."""
    dims = draw(st.sampled_from([[1, 2, 3], [2, 3]]))
    if draw(st.booleans()):
        low = b.call(aten.amin.default, x, dims, True)
        size = b.call(aten.sub.Tensor, b.call(aten.amax.default, x, dims, True), low)
    else:
        low = b.call(aten.mean.dim, x, dims, True)
        size = b.call(aten.std.correction, x, dims, correction=draw(st.integers(0, 1)), keepdim=True)
    if size is None:
        return None
    size = b.call(draw(st.sampled_from([aten.add.Tensor, aten.clamp.default])), size, 0.1)
    return b.call(aten.div.Tensor, b.call(aten.sub.Tensor, x, low), size)


INTEGER_LAYERS = [
    conv,
    conv,
    conv,
    max_pool,
    pad,
    edges,
    crop,
    activation,
    residual,
    inception,
    blocks,
    unfold,
    upsample,
]
SHARED_LAYERS = [
    *INTEGER_LAYERS,
    average_pool,
    average_pool,
    smooth,
    batch_norm,
    channel_norm,
    vector_norm,
    mixed_upsample,
    resampled,
    transposed,
    products,
    spanning,
    picked,
]
GATES = [gate, channel_gate, response_norm, deviation, group_norm, standardised]
ALL_LAYERS = [*SHARED_LAYERS, *GATES]
EVERY_LAYER = [*ALL_LAYERS, attention, unshared]


def flat_head(draw: Any, b: Builder, x: Node) -> Node | None:
    flat = b.call(aten.flatten.using_ints, x, 1)
    assert flat is not None
    hidden = b.call(aten.linear.default, flat, b.tensor(4, flat.meta["val"].shape[1]), b.tensor(4))
    return b.call(aten.linear.default, b.call(aten.relu.default, hidden), b.tensor(3, 4))


def mean_head(draw: Any, b: Builder, x: Node) -> Node | None:
    return b.call(aten.linear.default, b.call(aten.mean.dim, x, [2, 3]), b.tensor(3, _channels(x)), b.tensor(3))


def max_head(draw: Any, b: Builder, x: Node) -> Node | None:
    return b.call(aten.linear.default, b.call(aten.amax.default, x, [2, 3]), b.tensor(3, _channels(x)), b.tensor(3))


@st.composite
def networks(
    draw: Any,
    *,
    layers: Any = ALL_LAYERS,
    heads: Any = (flat_head, mean_head, max_head),
    depth: int = 6,
    integers: bool = False,
    first: Any = None,
) -> Model:
    """A random checked_model on a random window, whose first layer may be given."""
    window = draw(st.tuples(st.integers(5, 21), st.integers(5, 21)))
    torch.manual_seed(draw(st.integers(0, 99)))
    b = Builder(window, integers=integers)
    x = b.image if first is None else first(draw, b, b.image) or b.image
    for layer in draw(st.lists(st.sampled_from(layers), min_size=1, max_size=depth)):
        x = layer(draw, b, x) or x
    return b.finish(draw(st.sampled_from(heads))(draw, b, x))
