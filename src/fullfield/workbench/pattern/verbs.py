"""The verbs of the pattern language: ``build`` and ``describe``."""

from __future__ import annotations

from collections.abc import Mapping

from torch import nn

from fullfield.arguments import parse_bytes
from fullfield.errors import CaptureError
from fullfield.model.torch_export import parse_window
from fullfield.workbench.pattern import builder, classics
from fullfield.workbench.pattern.describe import pattern_of


def build(pattern: str, *, budget: str | int = "8GB") -> nn.Sequential:
    """The network that a pattern describes, freshly initialised.

    The module states its window, so that ``load``, ``inspect`` and ``scan`` find it. It is built on
    torch's default device and in its default type: ``with torch.device("meta"):`` builds it without its weights.

    Args:
        pattern: such as ``INPUT(3x32x32) -> [[CONV(16|32) -> RELU]*2 -> POOL]*2 -> FC(10)``, or the name of a
            classic: LeNet-5, AlexNet, AlexNet one-column, ZFNet, VGG-11, VGG-13, VGG-16, VGG-19.
        budget: bytes that its parameters may take.

    Raises:
        CaptureError: the text is not a pattern; the error has line, column, and what was expected there.
        GeometryError: a layer does not fit the volume before it; the text shows the arithmetic.
        BudgetError: its parameters take more than the budget.
        UnsupportedError: the extra ``fullfield[pattern]`` is not installed.
    Source: CS231n notes, "Layer patterns" (the language's model).
    Examples:
        >>> net = build("INPUT(1x28x28) -> [CONV(8|16) -> RELU -> POOL]*2 -> FC(10)")
        >>> type(net[-1]).__name__, net[-1].in_features, sum(p.numel() for p in net.parameters())
        ('Linear', 784, 9098)
    """
    if not isinstance(pattern, str):
        raise CaptureError(
            "pattern", f"{type(pattern).__name__} is not text", fix="write INPUT(3x32x32) -> FC(10), say"
        )
    volume, steps = builder.plan_layers(classics.find(pattern) or pattern)
    net = builder.build_modules(steps, budget_bytes=parse_bytes(budget))
    net.pretrained_cfg = {"input_size": volume}  # type: ignore[assignment] # where load looks for it, as in timm models
    return net


def describe(net: nn.Sequential, *, window: int | tuple[int, int] | None = None, channels: int | None = None) -> str:
    """The pattern of a sequential network, repeats folded: ``build`` makes the same layers from it.

    Args:
        net: layers in a row; nested sequences are flattened.
        window: height and width of the input, px; needed where the network does not state them.
        channels: of the input; needed where neither the network nor its first convolution states them.

    Raises:
        CaptureError: the window is unknown.
        UnsupportedError: the network is not sequential, or has a layer that the language lacks.
        GeometryError: a layer does not fit the volume before it.

    Examples:
        >>> describe(nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.Tanh(), nn.Conv2d(8, 9, 3), nn.Tanh()), window=8)
        'INPUT(3x8x8) -> [CONV(8|9, p=1|0) -> TANH]*2'
    """
    stated = _stated_input(net)
    if window is None and stated is None:
        raise CaptureError("window", "is not given and the network does not state it", fix="pass window=224, say")
    height, width = stated[1:] if window is None and stated else parse_window(window or 0)
    return pattern_of(net, (channels or input_channels(net), height, width))


def input_channels(net: nn.Module) -> int:
    """Input channels of a network: as it states, else those of its first convolution, else 3."""
    stated = _stated_input(net)
    found = (getattr(m, "in_channels", None) for m in net.modules())
    return stated[0] if stated else next((n for n in found if isinstance(n, int)), 3)


def _stated_input(net: nn.Module) -> tuple[int, int, int] | None:
    """Channels, height and width of the input that the network states."""
    cfg = getattr(net, "pretrained_cfg", None)
    size = cfg.get("input_size") if isinstance(cfg, Mapping) else None
    return None if size is None else (int(size[0]), int(size[1]), int(size[2]))
