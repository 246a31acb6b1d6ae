"""The captured network with everything needed to feed it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import google_crc32c
import numpy as np
import torch
from numpy.typing import NDArray

from fullfield.model.preprocessing import Preprocessing, resolve

T = TypeVar("T")
_KEPT = "_kept"  # what has been derived from the network, beside its fields


@dataclass(frozen=True, eq=False)
class Model:
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

    def to(self, target: torch.dtype | torch.device | str) -> Model:
        """The same network in another floating type or on another device; this one stays as it is."""
        import copy

        return replace(self, graph=copy.deepcopy(self.graph).to(target))

    def with_preprocessing(self, choice: str | Preprocessing) -> Model:
        """The same network fed in another way."""
        return replace(self, preprocessing=resolve(choice, channels=self.channels, carried=None))

    @property
    def hash(self) -> str:
        """SHA-256 over the operators, the weights, the window and the preprocessing; 16 hex digits."""
        return self.cached("hash", self._digest)

    def _digest(self) -> str:
        digest = hashlib.sha256(repr((self.window, self.preprocessing)).encode())
        for node in self.graph.graph.nodes:
            digest.update(f"{node.op} {node.target} {node.args} {node.kwargs}\n".encode())
        for name, tensor in sorted(self.graph.state_dict().items()):
            digest.update(name.encode())
            digest.update(_raw(tensor).data)
        return digest.hexdigest()[:16]

    def cached(self, name: str, make: Callable[[], T], *, key: Hashable = None) -> T:
        """What ``make`` gives, kept until the operators or a single bit of the weights change, or ``key`` does.

        Weights may be trained further, or written to in place, between two scans; their CRC-32C is taken each time, at
        gigabytes a second.
        """
        store: dict[str, tuple[Hashable, Any]] = self.__dict__.setdefault(_KEPT, {})
        state = key, self._state()
        known = store.get(name)
        if known is None or known[0] != state:
            known = store[name] = state, make()
        result: T = known[1]
        return result

    def _state(self) -> Hashable:
        """Differs when the operators do, or a weight."""
        crc = 0
        tensors = sorted(self.graph.state_dict().items())
        for _, tensor in tensors:
            crc = google_crc32c.extend(crc, _raw(tensor))
        about = tuple((name, tensor.dtype, tuple(tensor.shape), str(tensor.device)) for name, tensor in tensors)
        return self.graph.code, about, crc

    def __getstate__(self) -> dict[str, Any]:
        """Without what can be derived anew."""
        return {name: value for name, value in self.__dict__.items() if name != _KEPT}

    def __repr__(self) -> str:
        (h, w), k = self.window, self.classes
        kind = str(self.dtype).removeprefix("torch.")
        return f"Model({self.name!r}, window {h}x{w}, {self.channels} channels -> {k} scores, {kind})"


def _raw(tensor: torch.Tensor) -> NDArray[np.uint8]:
    """The bytes of a tensor."""
    flat = tensor.detach().cpu().contiguous().reshape(-1)
    return flat.view(torch.uint8).numpy() if flat.numel() else np.empty(0, np.uint8)
