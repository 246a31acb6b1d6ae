"""The captured network with everything needed to feed it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from functools import cached_property

import torch

from fullfield.capture.preprocessing import Preprocessing, resolve


@dataclass(frozen=True, eq=False)
class Classifier:
    """A fixed-size image classifier ``f``: one window in, one score vector out.

    ``graph`` is an ``fx.GraphModule`` over ATen in the dialect of ``torch.export``: one placeholder, evaluation mode,
    free batch. Every node carries ``meta["path"]``, its layer's name for reports.

    Shape: graph ``(n, c, h, w)`` -> ``(n, k)``
    """

    graph: torch.fx.GraphModule
    window: tuple[int, int]
    channels: int
    classes: int
    preprocessing: Preprocessing = field(default_factory=Preprocessing)
    class_names: tuple[str, ...] | None = None
    name: str = "network"

    @property
    def dtype(self) -> torch.dtype:
        """The network's own floating type: that of its first floating parameter or buffer."""
        tensors = [*self.graph.parameters(), *self.graph.buffers()]
        return next((t.dtype for t in tensors if t.is_floating_point()), torch.get_default_dtype())

    @property
    def device(self) -> torch.device:
        """Where its parameters lie."""
        return next((t.device for t in self.graph.parameters()), torch.device("cpu"))

    def __call__(self, windows: torch.Tensor) -> torch.Tensor:
        """Scores ``(n, k)`` of preprocessed windows ``(n, c, h, w)``: the original network, crop by crop."""
        scores: torch.Tensor = self.graph(windows)
        return scores

    def to(self, target: torch.dtype | torch.device | str) -> Classifier:
        """The same network in another floating type or on another device; this one stays as it is."""
        import copy

        return replace(self, graph=copy.deepcopy(self.graph).to(target))

    def with_preprocessing(self, choice: str | Preprocessing) -> Classifier:
        """The same network fed in another way."""
        return replace(self, preprocessing=resolve(choice, channels=self.channels, carried=None))

    @cached_property
    def hash(self) -> str:
        """SHA-256 over the operators, the weights, the window and the preprocessing; 16 hex digits."""
        digest = hashlib.sha256(repr((self.window, self.preprocessing)).encode())
        for node in self.graph.graph.nodes:
            digest.update(f"{node.op} {node.target} {node.args} {node.kwargs}\n".encode())
        for name, tensor in sorted(self.graph.state_dict().items()):
            digest.update(name.encode())
            raw = tensor.detach().cpu().contiguous().reshape(-1)
            digest.update(raw.view(torch.uint8).numpy().tobytes() if raw.numel() else b"")
        return digest.hexdigest()[:16]

    def __repr__(self) -> str:
        (h, w), k = self.window, self.classes
        kind = str(self.dtype).removeprefix("torch.")
        return f"Classifier({self.name!r}, window {h}x{w}, {self.channels} channels -> {k} scores, {kind})"
