"""``fullfield.convert``: a classifier as an ordinary fully convolutional module."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Literal

import torch
from torch import nn

from fullfield.arguments import checks_keywords
from fullfield.canonical.align_branches import crop_to_common_size
from fullfield.canonical.fold import fold_batch_norm as fold
from fullfield.canonical.integers import network
from fullfield.canonical.narrow_pools import narrow_pools
from fullfield.canonical.pipeline import canonical
from fullfield.errors import UnsupportedError
from fullfield.graph.rewriting import make_code
from fullfield.importers.load import load
from fullfield.jobs.prepare import PreparedModel, check_context
from fullfield.layers.fft_layer import auto_conv2d

if TYPE_CHECKING:
    from fullfield.importers.load import ModelLike


@checks_keywords
def convert(
    model: ModelLike,
    *,
    window: int | tuple[int, int] | None = None,
    fold_batch_norm: bool = False,
    fft: Literal["auto", False] = False,
    trust: bool = False,
) -> nn.Module:
    """The network as a module that takes any size from the window up and gives a map of scores.

    On one window it equals the original. On a larger image, layers that pad see neighbouring pixels instead of
    zeros, and gates and norms over the window slide with it: the scores are those of ``context`` mode, and those of
    the crops only where nothing pads, gates or normalises.

    Shape: ``(n, c, y, x)``, preprocessed -> ``(n, k, y', x')``
    Args:
        model: a ``Model``, an ``nn.Module`` or the path of a model file.
        window: height and width of the window, px, where the network does not carry it.
        fold_batch_norm: make batch norms part of the convolutions before them.
        fft: ``"auto"`` runs each convolution by Fourier transforms where these should be faster for the map that
            comes in: large kernels, such as a VGG's 7x7 head, on large maps on CPUs.
        trust: allow model files that can run code.

    Raises:
        UnsupportedError: layers that look at the whole window, by name and with the reason; another value of ``fft``.
    """
    if fft not in ("auto", False):
        raise UnsupportedError("fft", f"{fft!r} is not known", fix='use False or "auto"')
    net = load(model, window=window, trust=trust)
    form = canonical(net, sliding=True)
    prepared = PreparedModel(net, form, network(form, net.dtype))
    check_context(prepared)
    form = replace(form, graph=crop_to_common_size(form.graph, prepared.network))
    if fold_batch_norm:
        form = replace(form, graph=fold(form.graph)[0])
    form = replace(form, graph=narrow_pools(form.graph))
    if fft == "auto":
        for node in form.graph.graph.nodes:
            if node.target is torch.ops.aten.conv2d.default:
                node.target = auto_conv2d
        form.graph.recompile()
    make_code(form.graph)
    return form.graph
