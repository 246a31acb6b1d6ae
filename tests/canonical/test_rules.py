"""Every rewrite gives the original's numbers, on one window and on every window of a larger image; refusals say why."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fullfield.canonical.form import Canonical
from tests.oracle import Scan, captured, crops, difference

WINDOW = (12, 10)
Body = Callable[["Network", Tensor], Tensor]


class Network(nn.Module):
    """A convolution to eight channels, a body under test, and a head that keeps every cell apart."""

    def __init__(self, body: Body, *, flat: bool = True) -> None:
        super().__init__()
        self.stem, self.body = nn.Conv2d(3, 8, 3), body
        self.slopes, self.slope = nn.PReLU(8), nn.PReLU()
        self.norm, self.batch = nn.LayerNorm(8), nn.BatchNorm2d(8)
        self.kernel = nn.Parameter(torch.randn(8, 8, 3, 3))
        self.matrix = nn.Parameter(torch.randn(8, 8))
        self.place = nn.Parameter(torch.randn(1, 8, 10, 8))
        self.tied = nn.Parameter(torch.randn(8, 8))
        self.register_buffer("shift", torch.randn(8, 1, 1))
        self.head = nn.LazyLinear(5) if flat else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        x = self.body(self, torch.tanh(self.stem(x)))
        return self.head(x.flatten(1))


def scanned(body: Body, *, flat: bool = True) -> tuple[Canonical, float, float]:
    """The canonical form; its error on one window, and that of a scan over crops."""
    torch.manual_seed(5)
    module = Network(body, flat=flat)
    module(torch.zeros(2, 3, *WINDOW))
    scan = Scan(captured(module, WINDOW))
    image = torch.randn(1, 3, 17, 19, dtype=torch.float64)
    with torch.no_grad():
        windows = image[:, :, :12, :10]
        one = difference(scan.canonical.graph(windows).reshape(1, -1), scan.net(windows))
        return scan.canonical, one, difference(scan(image, (2, 3)), crops(scan.net, image, (2, 3)))


def last(f: Callable[[Network, Tensor], Tensor]) -> Body:
    """A body that works channels last."""
    return lambda n, x: f(n, x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


def shuffle(n: Network, x: Tensor) -> Tensor:
    b, c, h, w = x.shape
    return x.view(b, 2, c // 2, h, w).transpose(1, 2).reshape(b, c, h, w)


def blocks(x: Tensor) -> Tensor:
    """Rows and columns in twos: ``(n, c, y, 2, x, 2)``."""
    b, c, h, w = x.shape
    return x.reshape(b, c, h // 2, 2, w // 2, 2)


def halved(x: Tensor) -> Tensor:
    return blocks(x).permute(0, 1, 3, 5, 2, 4).flatten(1, 3)


def rows_last(x: Tensor) -> Tensor:
    b, h, w, c = x.shape
    return x.reshape(b, h // 2, 2, w // 2, 2, c).permute(0, 1, 3, 4, 2, 5)


def along_channels(n: Network, x: Tensor) -> Tensor:
    return torch.sigmoid(F.conv1d(x, n.matrix[:2, :3].unsqueeze(1), n.matrix[0, :2], padding=1))


def standardised(n: Network, x: Tensor) -> Tensor:
    mean = n.kernel.mean((1, 2, 3), keepdim=True)
    return F.conv2d(F.conv2d(x, n.kernel - mean), n.kernel)  # the same weight plain and computed


def in_place(n: Network, x: Tensor) -> Tensor:
    y = x.clone()
    y += 1
    y.relu_()
    return y.mul_(x)


CONVERTED: dict[str, Body] = {
    "flatten c,y,x": lambda n, x: x,
    "flatten y,x,c": lambda n, x: x.permute(0, 2, 3, 1),
    "flatten x,y,c (R-Net)": lambda n, x: x.permute(0, 3, 2, 1),
    "flatten twice": lambda n, x: x.flatten(2).flatten(1),
    "other names of views": lambda n, x: (
        x.swapaxes(1, -1).swapdims(1, 3).reshape(-1, 2, 4, 80).view_as(x.unflatten(1, (2, 4)).flatten(3)).reshape_as(x)
        * x.mean(1, keepdim=True).expand_as(x)
    ),
    "layer norm channels last": last(lambda n, x: n.norm(x)),
    "linear channels last": last(lambda n, x: F.linear(x, n.matrix)),
    "matmul channels last": last(lambda n, x: x @ n.matrix),
    "matmul to fewer channels": last(lambda n, x: x @ n.matrix[:, :3]),
    "one matrix both ways": last(lambda n, x: F.linear(x @ n.matrix, n.matrix)),
    "tied weights": last(lambda n, x: F.linear(F.linear(x, n.tied), n.tied)),
    "batch norm": lambda n, x: n.batch(x),
    "rms norm": last(lambda n, x: F.rms_norm(x, [8])),
    "channel shuffle": shuffle,
    "chunk": lambda n, x: torch.mul(*x.chunk(2, 1)),
    "split": lambda n, x: torch.cat(x.split([3, 5], 1)[::-1], 1),
    "unbind": lambda n, x: torch.add(*x.unflatten(1, (2, 4)).unbind(1)),
    "slice of channels": lambda n, x: x[:, 1:7:2],
    "one channel": lambda n, x: x[:, 2].unsqueeze(1),
    "slice of the map": lambda n, x: x[:, :, 1:, ::2],
    "slice off the end": lambda n, x: x[:, :, :-2, 3:-1],
    "split rows": lambda n, x: torch.add(*x.chunk(2, 2)),
    "split columns": lambda n, x: torch.mul(*x.split([3, 2, 3], 3)[::2]),
    "unbound rows": lambda n, x: torch.add(*x[:, :, :2].unbind(2)),
    "one row": lambda n, x: x[:, :, 3],
    "the middle": lambda n, x: x[:, :, 5, -4],
    "one token": lambda n, x: x.flatten(2)[:, :, 37],
    "one token, columns first": lambda n, x: x.transpose(2, 3).flatten(2)[:, :, -2],
    "glu of rows": lambda n, x: F.glu(x, 2),
    "glu": lambda n, x: F.glu(x, 1),
    "written channels": lambda n, x: torch.slice_scatter(x, 2 * x[:, 1:3], 1, 0, 2),
    "a map written over": lambda n, x: torch.slice_scatter(x, 2 * x, 2),
    "stack": lambda n, x: torch.stack([x, x.relu()], 1).sum(1),
    "stack, weighed": lambda n, x: torch.stack([x, -x], 1).softmax(1).unbind(1)[0],
    "stack after the channels": last(lambda n, x: torch.stack([x, 2 * x], -1).flatten(3)),
    "other type": lambda n, x: x.to(torch.float32).to(x.dtype),
    "other type, by example": lambda n, x: (x > 0).type_as(x),
    "mean in another type": lambda n, x: x.bfloat16().mean((2, 3), dtype=x.dtype),
    "other names": lambda n, x: torch.hstack([torch.concat([x, x], 1), torch.multiply(x, n.shift), x.subtract(x)]),
    "where": lambda n, x: torch.where(x > 0.1, x, 0.5) + torch.where(x < -0.1, 0.5, x),
    "largest of channels": lambda n, x: x * torch.max(x, 1, keepdim=True)[0] + x.max(1).values.unsqueeze(1),
    "largest of the map": lambda n, x: x.max(3).values.max(2)[0],
    "deviation of channels": lambda n, x: x * x.std(1, keepdim=True) - x.var(1, correction=0).unsqueeze(1),
    "softmax over channels": lambda n, x: x.softmax(1),
    "log softmax channels last": last(lambda n, x: x.log_softmax(-1)),
    "local response norm": lambda n, x: F.local_response_norm(x, 3),
    "one slope": lambda n, x: n.slope(x),
    "many slopes": lambda n, x: n.slopes(x),
    "buffer": lambda n, x: x * n.shift,
    "in place": in_place,
    "dropout": lambda n, x: F.dropout(x, 0.5, n.training),
    "same padding, even kernel": lambda n, x: F.conv2d(x, n.kernel[:, :, :2, :2], padding="same"),
    "uneven padding": lambda n, x: F.conv2d(F.pad(x, (2, 0, 1, 3), value=0.5), n.kernel),
    "dilated over the whole map": lambda n, x: F.conv2d(x[:, :, 1:, 1:], n.kernel, dilation=(4, 3)),
    "negative padding": lambda n, x: F.pad(x, (-1, 0, 1, -2)),
    "reflection": lambda n, x: F.conv2d(F.pad(x, (2, 1, 0, 3), mode="reflect"), n.kernel),
    "reflected twice": lambda n, x: F.pad(F.pad(x, (1, 1, 1, 1), mode="reflect"), (2, 2, 1, 1), mode="replicate"),
    "replication": lambda n, x: F.conv2d(F.pad(x, (1, 0, 0, 2), mode="replicate"), n.kernel, stride=2),
    "padded channels": lambda n, x: F.pad(x, (0, 0, 0, 0, 1, 2)),
    "computed weight": standardised,
    "adaptive identity": lambda n, x: F.adaptive_avg_pool2d(x, (10, 8)),
    "adaptive that divides": lambda n, x: F.adaptive_max_pool2d(x, (5, 4)),
    "channels repeated": lambda n, x: x.mean(1, keepdim=True).expand(-1, 4, -1, -1),
    "mean of groups of channels": lambda n, x: x.unflatten(1, (2, 2, 2)).mean((1, 3)),
    "largest of all tokens and channels": lambda n, x: x.flatten(1).max(1, keepdim=True).values,
    "mean of all": lambda n, x: x.mean((1, 2, 3), keepdim=True),
    "norm of all": lambda n, x: x.norm(2, (1, 2, 3), keepdim=True),
    "variance and mean of channels": lambda n, x: torch.sub(*torch.var_mean(x, 1, keepdim=True)) + x,
    "variance of groups of channels": lambda n, x: x.unflatten(1, (2, 2, 2)).var((1, 3), correction=0).flatten(1),
    "sums of channels": lambda n, x: torch.einsum("bchw,oc->bohw", x, n.matrix),
    "sums of tokens' channels": lambda n, x: torch.einsum("bnc, cgo->bngo", x.flatten(2).mT, n.kernel[:, :3, 0]),
    "sums of groups of channels": lambda n, x: torch.einsum(
        "bgchw,ogc->bohw", x.unflatten(1, (2, 4)), n.matrix.unflatten(1, (2, 4))
    ),
    "sums of everything": lambda n, x: torch.einsum("ochw,bchw->bo", n.kernel.repeat(1, 1, 4, 3)[:, :, :10, :8], x),
    "sums within groups": lambda n, x: torch.einsum("bgchw,gc->bghw", x.unflatten(1, (2, 4)), n.matrix[:2, :4]),
    "sums within groups, several": lambda n, x: torch.einsum(
        "bghcyx,oghc->bhoygx", x.unflatten(1, (2, 2, 2)), n.matrix.view(8, 2, 2, 2)
    ).permute(0, 2, 1, 4, 3, 5),
    "sums within one of two groups": lambda n, x: torch.einsum(
        "gco,bagcyx->bagoyx", n.matrix.view(2, 2, 16), x.unflatten(1, (2, 2, 2))
    ).flatten(1, 3),
    "weighed channels": lambda n, x: torch.einsum("bchw,c->bchw", x, n.matrix[0]),
    "channels times numbers": lambda n, x: torch.einsum("bchw,o->bochw", x, n.matrix[0]).flatten(1, 2),
    "weighed means of channels": lambda n, x: torch.einsum("bchw,chw->bc", x, n.kernel[0].repeat(1, 4, 3)[:, :10, :8]),
    "linear over a part of the channels": lambda n, x: (
        F.linear(x.permute(0, 2, 3, 1).unflatten(3, (2, 4)), n.matrix[:, :4], n.matrix[0])
        .flatten(3)
        .permute(0, 3, 1, 2)
    ),
    "matrix times tokens": lambda n, x: (n.matrix @ x.flatten(2)).view(x.shape),
    "matrices times groups": lambda n, x: (n.matrix.view(2, 8, 4) @ x.unflatten(1, (2, 4)).flatten(3)).flatten(1, 2),
    "tokens of groups times matrices": lambda n, x: (
        (x.unflatten(1, (2, 4)).flatten(3).mT @ n.matrix.view(1, 2, 4, 8)).transpose(2, 3).flatten(1, 2)
    ),
    "one sum of channels": lambda n, x: torch.einsum("c,bchw->bhw", n.matrix[0], x),
    "global mean": lambda n, x: x.mean((2, 3)),
    "global mean kept": lambda n, x: x.mean((-2, -1), keepdim=True),
    "global sum": lambda n, x: x.sum((2, 3)),
    "global max": lambda n, x: x.amax((2, 3)),
    "mean of tokens": lambda n, x: x.flatten(2).transpose(1, 2).mean(1),
    "mean of channels": lambda n, x: x.mean(1, keepdim=True) + x,
    "max of channels dropped": lambda n, x: x.amax(1),
    "mean of columns": lambda n, x: x.mean(3),
    "max pool": lambda n, x: F.max_pool2d(x, 3, 2, 1, ceil_mode=True),
    "blocks, places first (TResNet)": lambda n, x: blocks(x).permute(0, 3, 5, 1, 2, 4).reshape(-1, 32, 5, 4),
    "blocks of rows alone": lambda n, x: x.reshape(-1, 8, 2, 5, 8).mean(3),
    "blocks split again": lambda n, x: x.reshape(-1, 8, 10, 2, 2, 2).permute(0, 4, 1, 5, 2, 3).reshape(-1, 32, 10, 2),
    "blocks channels last (patch merging)": last(lambda n, x: rows_last(x).reshape(-1, 5, 4, 32)),
    "blocks of blocks": lambda n, x: halved(halved(F.pad(x, (0, 0, 1, 1)))),
    "pixel unshuffle": lambda n, x: F.pixel_unshuffle(x, 2),
    "slices of every phase (Focus)": lambda n, x: torch.cat([x[..., i::2, j::2] for j in (0, 1) for i in (0, 1)], 1),
    "unfold": lambda n, x: F.unfold(x, (3, 2), dilation=(2, 1), padding=(1, 0), stride=(2, 1)),
    "unfold, then a convolution": lambda n, x: F.conv2d(F.unfold(x, 2).unflatten(2, (9, 7))[:, 4:12], n.kernel),
    "norm of channels": lambda n, x: x / x.norm(dim=1, keepdim=True),
    "norm of one cell": lambda n, x: F.max_pool2d(x, (10, 8)) * F.max_pool2d(x, (10, 8)).norm(dim=(2, 3), keepdim=True),
    "norm of one cell dropped": lambda n, x: F.max_pool2d(x, (10, 8)).norm(3, dim=(2, 3)),
    "variance of one cell": lambda n, x: torch.add(*torch.var_mean(F.max_pool2d(x, (10, 8)), (2, 3), correction=0)),
    "largest of channels, as a norm": lambda n, x: x / x.norm(float("inf"), dim=1, keepdim=True),
    "cubes of channels": lambda n, x: x / x.norm(p=3, dim=1, keepdim=True),
    "norm of channels dropped": lambda n, x: torch.linalg.vector_norm(x, dim=1).unsqueeze(1) * x,
    "cubes of the map": lambda n, x: x.norm(3, dim=(2, 3)),
    "largest of the map, as a norm": lambda n, x: x.norm(float("inf"), dim=(2, 3)),
    "norm of the map (2)": lambda n, x: x.norm(dim=(2, 3)),
    "channel attention (ECA)": lambda n, x: along_channels(n, x.mean((2, 3)).unsqueeze(1)),
    "convolution along channels": lambda n, x: along_channels(n, x.unflatten(1, (1, 8)).mean((3, 4))),
    "upsampled": lambda n, x: F.interpolate(F.max_pool2d(x, 2), scale_factor=2),
    "upsampled to a size": lambda n, x: F.interpolate(F.max_pool2d(x, 2, padding=1), (18, 5)),
    "upsampled exactly": lambda n, x: F.interpolate(F.max_pool2d(x, 2), scale_factor=2, mode="nearest-exact"),
    "upsampled, mixed": lambda n, x: F.interpolate(F.max_pool2d(x, 2), scale_factor=2, mode="bilinear"),
    "upsampled by three, mixed": lambda n, x: F.interpolate(F.max_pool2d(x, 2), scale_factor=3, mode="bilinear"),
    "upsampled by cubes": lambda n, x: F.interpolate(F.max_pool2d(x, 2), (10, 8), mode="bicubic"),
    "upsampled along one side, mixed": lambda n, x: F.interpolate(x, (20, 8), mode="bilinear"),
    "upsampled unlike, by cubes": lambda n, x: F.interpolate(F.max_pool2d(x, 2), (10, 12), mode="bicubic"),
    "finer rows, coarser columns": lambda n, x: F.interpolate(x, (20, 4), mode="bilinear"),
    "finer rows, fewer columns": lambda n, x: F.interpolate(x, (30, 4)),
    "transposed": lambda n, x: F.conv_transpose2d(x, n.kernel, n.matrix[0], stride=2),
    "transposed, of the stride's size": lambda n, x: F.conv_transpose2d(x, n.kernel[:, :, :2, :2], stride=2),
    "transposed and padded": lambda n, x: F.conv_transpose2d(x, n.kernel, stride=2, padding=1, output_padding=1),
    "transposed, strides unlike": lambda n, x: F.conv_transpose2d(x, n.kernel, stride=(3, 2), padding=(0, 1)),
    "transposed past its kernels": lambda n, x: F.conv_transpose2d(
        x, n.kernel[:, :, :2, :1], n.matrix[0], stride=(2, 3), output_padding=(1, 2)
    ),
    "transposed in groups": lambda n, x: F.conv_transpose2d(x, n.kernel[:, :3], n.matrix[0, :6], 2, 1, groups=2),
    "transposed and dilated": lambda n, x: F.conv_transpose2d(x, n.kernel, stride=(1, 2), padding=1, dilation=(2, 3)),
    "transposed at a stride of one": lambda n, x: F.conv_transpose2d(x, n.kernel, padding=(1, 2)),
    "every other cell": lambda n, x: F.interpolate(x, scale_factor=0.5),
    "means of two by two": lambda n, x: F.interpolate(x, scale_factor=0.5, mode="bilinear"),
    "half the map, by cubes": lambda n, x: F.interpolate(x, scale_factor=0.5, mode="bicubic"),
    "a part of the map, by cubes": lambda n, x: F.interpolate(x, (2, 4), mode="bicubic"),
    "a quarter of the rows": lambda n, x: F.interpolate(F.pad(x, [0, 0, 0, 2]), (3, 8), mode="bicubic"),
    "means that overlap, fewer at the edges": lambda n, x: F.interpolate(x, (5, 2), mode="bilinear", antialias=True),
    "by cubes, fewer at the edges": lambda n, x: F.interpolate(x, (20, 4), mode="bicubic", antialias=True),
    "upsampled by cubes, fewer at the edges": lambda n, x: F.interpolate(x, (30, 16), mode="bicubic", antialias=True),
    "upsampled by one": lambda n, x: F.interpolate(x, scale_factor=1),
    "mixed to its own size": lambda n, x: F.interpolate(x, scale_factor=1.05, mode="bilinear"),
    "pixel shuffle": lambda n, x: F.pixel_shuffle(F.avg_pool2d(x, 2), 2),
    "max pool beyond the map": lambda n, x: F.max_pool2d(x, (64, 3), ceil_mode=True),
    "average pool beyond the map": lambda n, x: F.avg_pool2d(x, 64, ceil_mode=True, divisor_override=7),
    "average pool": lambda n, x: F.avg_pool2d(x, 3, 2, 1, ceil_mode=True, count_include_pad=False),
}


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
@pytest.mark.parametrize("name", list(CONVERTED))
def test_a_network_is_converted_and_keeps_its_numbers(name: str) -> None:
    canonical, one, scan = scanned(CONVERTED[name])
    assert canonical.refused == ()
    assert one <= 1e-12
    assert scan <= 1e-9


SCORES: dict[str, Body] = {
    "softmax of scores": lambda n, x: x.mean((2, 3)).softmax(-1),
    "a 1x1 map": lambda n, x: F.adaptive_avg_pool2d(x, 1),
}


@pytest.mark.parametrize("name", list(SCORES))
def test_scores_need_no_linear_layer(name: str) -> None:
    canonical, one, scan = scanned(SCORES[name], flat=False)
    assert canonical.refused == ()
    assert one <= 1e-12
    assert scan <= 1e-9


def gate(n: Network, x: Tensor) -> Tensor:
    return x * torch.sigmoid(x.mean((2, 3), keepdim=True))


REFUSED: dict[str, tuple[Body, str]] = {
    "gate": (gate, "a gate"),
    "gate laid over the map": (lambda n, x: x * x.mean((2, 3), keepdim=True).expand_as(x), "over many positions"),
    "position embedding": (lambda n, x: x + n.place, "differs between positions"),
    "attention": (lambda n, x: x.flatten(2).softmax(-1), "attention"),
    "attention in one operator": (
        lambda n, x: F.scaled_dot_product_attention(*[x.flatten(2).transpose(1, 2)] * 3),
        "by each other \\(attention\\)",
    ),
    "product of tokens, batched": (
        lambda n, x: torch.bmm(x.flatten(2), x.flatten(2).transpose(1, 2)),
        "multiplies activations",
    ),
    "product of tokens": (lambda n, x: x.flatten(2) @ x.flatten(2).transpose(1, 2), "multiplies activations"),
    "irregular pool": (lambda n, x: F.adaptive_avg_pool2d(x, (3, 4)), "10x8 cells into 3x4 of unequal sizes"),
    "group norm": (lambda n, x: F.group_norm(x, 2), "normalises over the positions"),
    "instance norm": (lambda n, x: F.instance_norm(x), "normalises over the positions"),
    "circular padding": (lambda n, x: F.pad(x, (1, 1, 1, 1), mode="circular"), "opposite edge \\(circular\\)"),
    "reflected tokens": (
        lambda n, x: F.pad(x.permute(0, 2, 3, 1), (1, 1, 1, 1), mode="reflect"),
        "own edge \\(reflect\\)",
    ),
    "transposed tokens": (
        lambda n, x: F.conv_transpose2d(x.permute(0, 3, 2, 1), n.kernel[:, :, :2]),
        "not \\(channels, y, x\\)",
    ),
    "class token": (
        lambda n, x: torch.cat([n.place.expand(x.shape[0], -1, -1, -1), x], 1),
        "do not come from the image",
    ),
    "joined rows": (lambda n, x: torch.cat([x, x], 2), "joins positions"),
    "split tokens": (lambda n, x: torch.add(*x.flatten(2).chunk(2, 2)), "takes a part of dimensions"),
    "one number of the map": (lambda n, x: x.flatten(1)[:, 3:4] + x.flatten(1)[:, 5].unsqueeze(1), "picks one of"),
    "written rows": (lambda n, x: torch.slice_scatter(x, x[:, :, :1], 2, 0, 1), "some positions of the window only"),
    "written constants": (
        lambda n, x: torch.slice_scatter(x, torch.ones(1, 1, 1, 1).expand_as(x[:, :1]), 1, 0, 1),
        "do not come",
    ),
    "rows that do not divide": (lambda n, x: x.reshape(-1, 8, 4, 20), "mixes positions"),
    "blocks as windows of a batch": (
        lambda n, x: blocks(x).permute(0, 2, 4, 1, 3, 5).reshape(-1, 8, 2, 2).relu().reshape(-1, 8, 10, 8),
        "batch",
    ),
    "uneven upsampling": (lambda n, x: F.interpolate(x, size=(13, 8)), "10x8 cells to 13x8 unevenly: which cells"),
    "uneven mixing": (lambda n, x: F.interpolate(x, (13, 8), mode="bilinear"), "10x8 cells to 13x8 unevenly: which"),
    "corner to corner": (
        lambda n, x: F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=True),
        "stretches 10x8 cells to 20x16 from corner to corner: which cells",
    ),
    "mixed by more than its sizes": (
        lambda n, x: F.interpolate(x, scale_factor=2.05, mode="bilinear"),
        "by other factors",
    ),
    "products of positions": (lambda n, x: torch.einsum("bchw,bdhw->bcd", x, x), "multiplies activations"),
    "weights of each row": (lambda n, x: torch.einsum("bchw,hoc->bohw", x, n.matrix.expand(10, 8, 8)), "each position"),
    "a matrix for each row": (lambda n, x: x.permute(0, 2, 3, 1) @ n.matrix.repeat(10, 1, 1), "each position"),
    "sums of the tensor alone": (
        lambda n, x: torch.einsum("bchw,cr->bchw", x, n.matrix),
        "is no linear layer: bchw,cr->bchw",
    ),
    "a vector": (lambda n, x: (x.permute(0, 2, 3, 1) @ n.matrix[0]).unsqueeze(1), "by a vector"),
    "batches moved": (lambda n, x: torch.einsum("bchw,oc->obhw", x, n.matrix).transpose(0, 1), "moves the batch"),
    "summed rows": (lambda n, x: torch.einsum("bchw,ph->bcpw", x, n.matrix[:4, :1].expand(4, 10)), "mixes the pos"),
    "sums in another type": (lambda n, x: x.float().mean((2, 3)).to(x.dtype), "in float32, where another order"),
    "variance in another type": (lambda n, x: x.float().var((2, 3)).to(x.dtype), "variance of positions"),
    "scaled map": (lambda n, x: F.layer_norm(x, [10, 8], n.place[0, 0]), "scales positions of the window differently"),
    "upsampled tokens": (lambda n, x: F.interpolate(x.permute(0, 2, 3, 1), scale_factor=2), "not \\(channels, y, x\\)"),
    "shuffled tokens": (lambda n, x: F.pixel_shuffle(x.permute(0, 3, 2, 1), 2), "not \\(channels, y, x\\)"),
    "unshuffled tokens": (lambda n, x: F.pixel_unshuffle(x.permute(0, 2, 1, 3), 2), "not \\(channels, y, x\\)"),
    "unfolded tokens": (lambda n, x: F.unfold(x.permute(0, 2, 1, 3), 2), "not \\(channels, y, x\\)"),
    "convolution along positions": (lambda n, x: F.conv1d(x.flatten(2), n.kernel[:, :, 0]), "not \\(channels, y, x\\)"),
    "norm of another order": (
        lambda n, x: x / (1 + x.norm(p=0, dim=2, keepdim=True)),
        "norm of order 0 over positions",
    ),
    "linear over rows": (lambda n, x: F.linear(x, n.matrix), "mixes the positions"),
    "stacked constants": (
        lambda n, x: torch.stack([n.place.expand_as(x), x], 1).sum(1),
        "do not come from the image",
    ),
    "constants in the window's type": (lambda n, x: x * n.place.type_as(x), "do not come from the image"),
    "stacked batches": (lambda n, x: torch.stack([x, x]).sum(0), "moves the batch"),
    "stack of unlike maps": (
        lambda n, x: torch.stack([x[:, :, :8], x[:, :, :8].transpose(2, 3)], 1).sum(1),
        "arranged differently",
    ),
    "unknown operator": (lambda n, x: torch.roll(x, 1, 2), "is in no list"),
    "pooled tokens": (lambda n, x: F.max_pool2d(x.permute(0, 2, 3, 1), 2), "not \\(channels, y, x\\)"),
    "spread": (lambda n, x: x.expand(1, *x.shape).flatten(0, 1), "spreads one value over a new dimension"),
    "indices": (lambda n, x: torch.add(*F.max_pool2d(x, 2, return_indices=True)), "indices of a pool"),
    "padded tokens": (lambda n, x: F.pad(x.flatten(1), (1, 2)), "pads dim"),
}


@pytest.mark.parametrize("name", list(REFUSED))
def test_a_refusal_says_why_and_the_scan_is_exact_all_the_same(name: str) -> None:
    body, reason = REFUSED[name]
    canonical, one, scan = scanned(body)
    with pytest.raises(AssertionError, match=reason):
        assert not canonical.refused, "; ".join(map(str, canonical.refused))
    assert one <= 1e-12
    assert scan <= 1e-9


def test_scores_that_are_cells_of_a_map_are_given_per_window() -> None:
    canonical, one, scan = scanned(lambda n, x: x, flat=False)
    assert [r.reason for r in canonical.refused] == ["the scores are cells of a map, not one vector a window"]
    assert one == 0
    assert scan <= 1e-9
