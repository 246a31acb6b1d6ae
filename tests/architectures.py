"""Well-known architectures, compactly and at reduced width: what is particular about each of them stays."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def unit(i: int, o: int, k: int = 3, s: int = 1, g: int = 1, act: type[nn.Module] = nn.ReLU) -> nn.Sequential:
    """Convolution, batch norm, activation."""
    return nn.Sequential(nn.Conv2d(i, o, k, s, k // 2, groups=g, bias=False), nn.BatchNorm2d(o), act())


def lenet5() -> nn.Module:
    """LeCun et al. 1998: no padding, tanh, average pools."""
    features = [nn.Conv2d(3, 4, 5), nn.Tanh(), nn.AvgPool2d(2), nn.Conv2d(4, 6, 5), nn.Tanh(), nn.AvgPool2d(2)]
    return nn.Sequential(*features, nn.Flatten(), nn.Linear(6 * 5 * 5, 12), nn.Tanh(), nn.Linear(12, 5))


def alexnet() -> nn.Module:
    """Krizhevsky et al. 2012: stride 4, local response norm, overlapping pools, groups, dropout."""
    return nn.Sequential(
        *[nn.Conv2d(3, 8, 11, 4, 2), nn.ReLU(), nn.LocalResponseNorm(5), nn.MaxPool2d(3, 2)],
        *[nn.Conv2d(8, 12, 5, padding=2, groups=2), nn.ReLU(), nn.LocalResponseNorm(5), nn.MaxPool2d(3, 2)],
        *[nn.Conv2d(12, 12, 3, padding=1, groups=2), nn.ReLU(), nn.Flatten(), nn.Dropout(), nn.LazyLinear(16)],
        *[nn.ReLU(), nn.Dropout(), nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 5)],
    )


def vgg() -> nn.Module:
    """Simonyan & Zisserman 2014: padded 3x3 convolutions between pools, an adaptive pool that divides."""
    layers: list[nn.Module] = []
    for i, o, n in ((3, 4, 2), (4, 6, 2), (6, 8, 3)):
        for k in range(n):
            layers += [nn.Conv2d(o if k else i, o, 3, padding=1), nn.ReLU(inplace=True)]
        layers.append(nn.MaxPool2d(2))
    head = [nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(8 * 16, 12), nn.ReLU(True), nn.Linear(12, 5)]
    return nn.Sequential(*layers, *head)


class Inception(nn.Module):
    """Szegedy et al. 2014: branches of 1, 3, 5 and a pool, concatenated."""

    def __init__(self, i: int, o: int) -> None:
        super().__init__()
        pooled = nn.Sequential(nn.MaxPool2d(3, 1, 1, ceil_mode=True), unit(i, o, 1))
        self.ways = nn.ModuleList([unit(i, o, 1), unit(i, o, 3), unit(i, o, 5), pooled])

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([way(x) for way in self.ways], 1)


def googlenet() -> nn.Module:
    """Inception blocks between pools that round up."""
    stem = [unit(3, 6, 7, 2), nn.MaxPool2d(3, 2, ceil_mode=True), nn.LocalResponseNorm(3)]
    blocks = [Inception(6, 2), nn.MaxPool2d(3, 2, ceil_mode=True), Inception(8, 2)]
    return nn.Sequential(*stem, *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(), nn.Linear(8, 5))


class Residual(nn.Module):
    """He et al. 2015: basic or bottleneck, with a strided 1x1 shortcut where shapes change; any norm."""

    def __init__(self, i: int, o: int, s: int, *, bottleneck: bool = False, norm: Callable[[int], nn.Module]) -> None:
        super().__init__()
        ways = [(i, o, 1, 1), (o, o, 3, s), (o, o, 1, 1)] if bottleneck else [(i, o, 3, s), (o, o, 3, 1)]
        parts: list[nn.Module] = []
        for a, b, k, stride in ways:
            parts += [nn.Conv2d(a, b, k, stride, k // 2, bias=False), norm(b), nn.ReLU(inplace=True)]
        self.body = nn.Sequential(*parts[:-1])
        self.short = nn.Sequential(nn.Conv2d(i, o, 1, s, bias=False), norm(o)) if s > 1 or i != o else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        out = self.body(x)
        out += self.short(x)
        return F.relu(out)


def resnet(*, bottleneck: bool = False, norm: Callable[[int], nn.Module] = nn.BatchNorm2d) -> nn.Module:
    """Stem, pool, four stages."""
    stem = [nn.Conv2d(3, 4, 7, 2, 3, bias=False), norm(4), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2, 1)]
    shapes = [(4, 4, 1), (4, 6, 2), (6, 8, 2)]
    blocks = [Residual(i, o, s, bottleneck=bottleneck, norm=norm) for i, o, s in shapes]
    return nn.Sequential(*stem, *blocks, nn.AdaptiveAvgPool2d((1, 1)), nn.Flatten(1), nn.Linear(8, 5))


class Dense(nn.Module):
    """Huang et al. 2016: every layer reads all before it; norm and activation first."""

    def __init__(self, i: int, growth: int, layers: int) -> None:
        super().__init__()
        inputs = [i + k * growth for k in range(layers)]
        self.layers = nn.ModuleList(
            nn.Sequential(nn.BatchNorm2d(c), nn.ReLU(), nn.Conv2d(c, growth, 3, padding=1, bias=False)) for c in inputs
        )

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = torch.cat([x, layer(x)], 1)
        return x


def densenet() -> nn.Module:
    """Dense blocks and a transition that averages."""
    stem = [unit(3, 4, 7, 2), nn.MaxPool2d(3, 2, 1), Dense(4, 2, 3)]
    transition = [
        nn.BatchNorm2d(10),
        nn.ReLU(),
        nn.Conv2d(10, 5, 1),
        nn.AvgPool2d(2),
        Dense(5, 2, 2),
        nn.BatchNorm2d(9),
    ]
    return nn.Sequential(*stem, *transition, nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(9, 5))


class Gate(nn.Module):
    """Hu et al. 2017: squeeze and excite."""

    def __init__(self, c: int) -> None:
        super().__init__()
        self.down, self.up = nn.Conv2d(c, 2, 1), nn.Conv2d(2, c, 1)

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(self.up(F.silu(self.down(x.mean((2, 3), keepdim=True)))))


class Inverted(nn.Module):
    """Sandler et al. 2018, Tan & Le 2019: expand, depthwise, gate or not, project; added where shapes allow."""

    def __init__(self, i: int, o: int, k: int, s: int, act: type[nn.Module], *, gate: bool) -> None:
        super().__init__()
        w = 2 * i
        gates = [Gate(w)] if gate else []
        self.body = nn.Sequential(
            unit(i, w, 1, act=act), unit(w, w, k, s, w, act), *gates, unit(w, o, 1, act=nn.Identity)
        )
        self.add = s == 1 and i == o

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x) if self.add else self.body(x)


def mobile(*, gate: bool = False, act: type[nn.Module] = nn.ReLU6) -> nn.Module:
    """MobileNetV2, or with gates and SiLU EfficientNet."""
    shapes = [(4, 4, 3, 1), (4, 6, 5, 2), (6, 6, 3, 1)]
    blocks = [Inverted(i, o, k, s, act, gate=gate) for i, o, k, s in shapes]
    head = [unit(6, 8, 1, act=act), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.2), nn.Linear(8, 5)]
    return nn.Sequential(unit(3, 4, 3, 2, act=act), *blocks, *head)


class Shuffle(nn.Module):
    """Ma et al. 2018: half the channels pass, then all are shuffled."""

    def __init__(self, c: int) -> None:
        super().__init__()
        h = c // 2
        self.body = nn.Sequential(unit(h, h, 1), unit(h, h, 3, 1, h, nn.Identity), unit(h, h, 1))

    def forward(self, x: Tensor) -> Tensor:
        a, b = x.chunk(2, dim=1)
        x = torch.cat((a, self.body(b)), 1)
        n, c, h, w = x.shape
        return x.view(n, 2, c // 2, h, w).transpose(1, 2).contiguous().view(n, c, h, w)


class MeanOverMap(nn.Module):
    """The global average as ``mean``."""

    def forward(self, x: Tensor) -> Tensor:
        return x.mean([2, 3])


def shufflenet() -> nn.Module:
    """Two shuffle units."""
    return nn.Sequential(
        unit(3, 8, 3, 2), nn.MaxPool2d(3, 2, 1), Shuffle(8), Shuffle(8), MeanOverMap(), nn.Linear(8, 5)
    )


class ChannelNorm(nn.LayerNorm):
    """Layer norm over channels of ``(n, c, y, x)``."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class ConvNextBlock(nn.Module):
    """Liu et al. 2022: depthwise 7x7, then channels last: norm, two linear layers, scale."""

    def __init__(self, c: int) -> None:
        super().__init__()
        self.depthwise, self.norm = nn.Conv2d(c, c, 7, padding=3, groups=c), nn.LayerNorm(c, eps=1e-6)
        self.up, self.down, self.scale = nn.Linear(c, 4 * c), nn.Linear(4 * c, c), nn.Parameter(0.1 * torch.ones(c))

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(self.depthwise(x).permute(0, 2, 3, 1))
        y = self.scale * self.down(F.gelu(self.up(y)))
        return x + y.permute(0, 3, 1, 2)


def convnext() -> nn.Module:
    """Patchify stem, channel norms between stages, norm after the pool."""
    body = [nn.Conv2d(3, 4, 4, 4), ChannelNorm(4), ConvNextBlock(4), ChannelNorm(4), nn.Conv2d(4, 6, 2, 2)]
    return nn.Sequential(*body, ConvNextBlock(6), MeanOverMap(), nn.LayerNorm(6), nn.Linear(6, 5))


class ResponseNorm(nn.Module):
    """Woo et al. 2023, channels last: the norm of each map over the mean of all norms."""

    def __init__(self, c: int) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.randn(c)), nn.Parameter(torch.randn(c))

    def forward(self, x: Tensor) -> Tensor:
        length = x.norm(p=2, dim=(1, 2), keepdim=True)
        return x + torch.addcmul(self.bias, self.weight, x * (length / (length.mean(-1, keepdim=True) + 1e-6)))


class ConvNextV2Block(ConvNextBlock):
    """ConvNeXt's, with a response norm in place of the scale."""

    def __init__(self, c: int) -> None:
        super().__init__(c)
        self.response = ResponseNorm(4 * c)

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(self.depthwise(x).permute(0, 2, 3, 1))
        y = self.down(self.response(F.gelu(self.up(y))))
        return x + y.permute(0, 3, 1, 2)


def convnextv2() -> nn.Module:
    """Two blocks at one scale."""
    body = [nn.Conv2d(3, 4, 4, 4), ChannelNorm(4), ConvNextV2Block(4), ConvNextV2Block(4)]
    return nn.Sequential(*body, MeanOverMap(), nn.LayerNorm(4), nn.Linear(4, 5))


class SpaceToDepth(nn.Module):
    """Ridnik et al. 2020: rows and columns in blocks of four, the places within a block before the channels."""

    def forward(self, x: Tensor) -> Tensor:
        n, c, h, w = x.shape
        x = x.view(n, c, h // 4, 4, w // 4, 4).permute(0, 3, 5, 1, 2, 4).contiguous()
        return x.view(n, c * 16, h // 4, w // 4)


class ChannelAttention(nn.Module):
    """Wang et al. 2020: a gate from a convolution along the channels of the map's mean."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv1d(1, 1, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(x.mean((2, 3)).view(x.shape[0], 1, -1)).view(x.shape[0], -1, 1, 1).sigmoid()
        return x * y.expand_as(x)


def tresnet() -> nn.Module:
    """Space to depth, then blocks with channel attention."""
    body = [SpaceToDepth(), unit(48, 6), Residual(6, 6, 1, norm=nn.BatchNorm2d), ChannelAttention(), unit(6, 8, 3, 2)]
    return nn.Sequential(*body, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5))


class Exchange(nn.Module):
    """Sun et al. 2019: two resolutions, each with the other's map added, upsampled by repeats or strided."""

    def __init__(self, fine: int, coarse: int) -> None:
        super().__init__()
        self.fine, self.coarse = unit(fine, fine), unit(coarse, coarse)
        self.up, self.down = unit(coarse, fine, 1, act=nn.Identity), unit(fine, coarse, 3, 2, act=nn.Identity)

    def forward(self, pair: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        x, y = self.fine(pair[0]), self.coarse(pair[1])
        return F.relu(x + F.interpolate(self.up(y), scale_factor=2)), F.relu(y + self.down(x))


class HighResolution(nn.Module):
    """A stem of stride 2, two exchanges between strides 2 and 4."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.split = unit(3, 4, 3, 2), unit(4, 6, 3, 2)
        self.ways, self.last = nn.Sequential(Exchange(4, 6), Exchange(4, 6)), unit(4, 6, 3, 2)
        self.head = nn.Linear(6, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        fine, coarse = self.ways((x, self.split(x)))
        return self.head((self.last(fine) + coarse).mean((2, 3)))


class EncoderDecoder(nn.Module):
    """Ronneberger et al. 2015 (U-Net) as a classifier: halved twice, made finer by transposed convolutions."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.third = unit(3, 4), unit(4, 6, 3, 2), unit(6, 8, 3, 2)
        self.up, self.out = nn.ConvTranspose2d(8, 6, 2, 2), nn.ConvTranspose2d(6, 4, 4, 2, 1, groups=2)
        self.last, self.head = unit(8, 6, 3, 4), nn.Linear(6, 5)

    def forward(self, x: Tensor) -> Tensor:
        first = self.first(x)
        second = self.second(first)
        x = F.relu(self.up(self.third(second))) + second
        return self.head(self.last(torch.cat([self.out(x), first], 1)).mean((2, 3)))


class Attention(nn.Module):
    """Vaswani et al. 2017, one layer, before an MLP; norms first."""

    def __init__(self, c: int, heads: int = 2) -> None:
        super().__init__()
        self.heads, self.before, self.after = heads, nn.LayerNorm(c), nn.LayerNorm(c)
        self.qkv, self.out = nn.Linear(c, 3 * c), nn.Linear(c, c)
        self.mlp = nn.Sequential(nn.Linear(c, 2 * c), nn.GELU(), nn.Linear(2 * c, c))

    def forward(self, x: Tensor) -> Tensor:
        n, t, c = x.shape
        q, k, v = (
            self.qkv(self.before(x)).reshape(n, t, 3, self.heads, c // self.heads).permute(2, 0, 3, 1, 4).unbind(0)
        )
        y = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(n, t, c)
        x = x + self.out(y)
        return x + self.mlp(self.after(x))


class VisionTransformer(nn.Module):
    """Dosovitskiy et al. 2020: patches, class token, position embedding."""

    def __init__(self, tokens: int) -> None:
        super().__init__()
        self.patches, self.block, self.head = nn.Conv2d(3, 8, 8, 8), Attention(8), nn.Linear(8, 5)
        self.token, self.position = nn.Parameter(torch.randn(1, 1, 8)), nn.Parameter(torch.randn(1, tokens + 1, 8))

    def forward(self, x: Tensor) -> Tensor:
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = torch.cat((self.token.expand(x.shape[0], -1, -1), x), 1) + self.position
        return self.head(self.block(x)[:, 0])


class WindowAttention(nn.Module):
    """Liu et al. 2021: attention within 2x2 tokens, the map rolled before and after."""

    def __init__(self) -> None:
        super().__init__()
        self.patches, self.norm, self.block, self.head = (
            nn.Conv2d(3, 8, 4, 4),
            nn.LayerNorm(8),
            Attention(8),
            nn.Linear(8, 5),
        )

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.patches(x).permute(0, 2, 3, 1))
        x = torch.roll(x, (-1, -1), (1, 2))
        n, h, w, c = x.shape
        x = x.view(n, h // 2, 2, w // 2, 2, c).transpose(2, 3).reshape(-1, 4, c)
        x = self.block(x).view(n, h // 2, w // 2, 2, 2, c).transpose(2, 3).reshape(n, h, w, c)
        return self.head(torch.roll(x, (1, 1), (1, 2)).mean((1, 2)))


class Mixer(nn.Module):
    """Tolstikhin et al. 2021: a linear layer over tokens, one over channels."""

    def __init__(self, tokens: int) -> None:
        super().__init__()
        self.patches, self.tokens, self.channels = nn.Conv2d(3, 8, 8, 8), nn.Linear(tokens, tokens), nn.Linear(8, 8)
        self.norm, self.head = nn.LayerNorm(8), nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = x + F.gelu(self.tokens(self.norm(x).transpose(1, 2))).transpose(1, 2)
        return self.head((x + self.channels(x)).mean(1))


WINDOW = {
    "lenet5": 32,
    "alexnet": 67,
    "vgg": 32,
    "vit": 32,
    "swin": 24,
    "mixer": 24,
    "tresnet": 64,
    "hrnet": 64,
    "unet": 64,
}
ARCHITECTURES: dict[str, Callable[[], nn.Module]] = {
    "lenet5": lenet5,
    "alexnet": alexnet,
    "vgg": vgg,
    "googlenet": googlenet,
    "resnet18": resnet,
    "resnet50": lambda: resnet(bottleneck=True),
    "resnet-groupnorm": lambda: resnet(norm=lambda c: nn.GroupNorm(2, c)),
    "densenet": densenet,
    "mobilenetv2": mobile,
    "efficientnet": lambda: mobile(gate=True, act=nn.SiLU),
    "shufflenet": shufflenet,
    "convnext": convnext,
    "convnextv2": convnextv2,
    "tresnet": tresnet,
    "hrnet": HighResolution,
    "unet": EncoderDecoder,
    "vit": lambda: VisionTransformer(16),
    "swin": WindowAttention,
    "mixer": lambda: Mixer(9),
}


def build(name: str) -> tuple[nn.Module, int]:
    """An architecture, its weights drawn from a seed, and its window."""
    torch.manual_seed(7)
    window = WINDOW.get(name, 61)
    module = ARCHITECTURES[name]()
    module.eval()(torch.zeros(2, 3, window, window))  # shapes lazy layers
    return module, window
