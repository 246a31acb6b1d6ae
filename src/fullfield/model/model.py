"""``Model``: a captured network with all that is needed to feed it."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal, TypeVar

import torch

from fullfield.errors import ArgumentError, first_line
from fullfield.layers.checksum import checksum, raw_bytes
from fullfield.model.final_activation import FinalActivation, final_activation
from fullfield.model.given_preprocessing import PreprocessingLike, resolve
from fullfield.model.preprocessing import Preprocessing
from fullfield.model.wide_resizing import resize_in_float32
from fullfield.model.window_resize import WindowResize
from fullfield.model.window_standardise import Standardise

T = TypeVar("T")
_CACHE = "_cache"  # attribute, not a field: what was derived from the network


@dataclass(frozen=True, eq=False)
class Model:
    """A fixed-size image classifier ``f``: one window in, one score vector out.

    ``graph`` is an ``fx.GraphModule`` over ATen in the dialect of ``torch.export``: one placeholder, evaluation mode,
    free batch. Every node carries ``meta["path"]``, its layer's name for reports.

    ``features`` says of which layer the vectors are, and how they were made of its output, where they are no scores of
    classes: ``layer4, mean over 7x7 cells``.

    ``about`` has what else its files say, as title and text: the architecture, which weights were taken, how images
    were resized in training.

    ``resize`` says how the graph resizes windows before the network, where they were given to be resized.
    ``standardise`` says how the graph brings each window to one scale first, where that was asked for.

    ``of_signals`` says that windows are parts of signals ``(c, t)``, which are taken as images of height one.

    Shape: graph ``(n, c, h, w)`` -> ``(n, k)``
    """

    graph: torch.fx.GraphModule
    window: tuple[int, int]
    channels: int
    classes: int
    preprocessing: Preprocessing = field(default_factory=Preprocessing)
    class_names: tuple[str, ...] | None = None
    name: str = "network"
    features: str | None = None
    about: tuple[tuple[str, str], ...] = ()
    resize: WindowResize | None = None
    of_signals: bool = False
    standardise: Standardise | None = None

    @property
    def numbers(self) -> Literal["scores", "features"]:
        """What it gives for a window, in a word."""
        return "scores" if self.features is None else "features"

    @property
    def window_text(self) -> str:
        """The size of the window, in words."""
        height, width = self.window
        return f"window {width} samples" if self.of_signals else f"window {height}x{width}"

    @property
    def dtype(self) -> torch.dtype:
        """The network's own floating type: that of its first floating parameter or buffer."""
        tensors = itertools.chain(self.graph.parameters(), self.graph.buffers())
        return next((t.dtype for t in tensors if t.is_floating_point()), torch.get_default_dtype())

    @property
    def device(self) -> torch.device:
        """The device of its parameters."""
        return next((t.device for t in self.graph.parameters()), torch.device("cpu"))

    @cached_property
    def ends_in(self) -> FinalActivation | None:
        """The activation that its scores go through last, where its last operators show one."""
        return final_activation(self.graph, (self.channels, *self.window))

    def __call__(self, windows: torch.Tensor) -> torch.Tensor:
        """Scores ``(n, k)`` of preprocessed windows ``(n, c, h, w)``: the original network, crop by crop."""
        scores: torch.Tensor = self.graph(windows)
        return scores

    def to(self, target: torch.dtype | torch.device | str) -> Model:
        """The same network in another floating type or on another device; this one is not changed."""
        import copy

        graph = copy.deepcopy(self.graph).to(target)
        if isinstance(target, torch.dtype):
            resize_in_float32(graph, target)
        return replace(self, graph=graph)

    def on(self, device: str) -> Model:
        """The same network on a device; itself if its weights lie there. It is kept until the weights change.

        Raises:
            ArgumentError: there is no such device, or torch cannot use it.
        """
        try:
            target = torch.device(device)
            if target.type == "meta":
                raise RuntimeError("tensors there have no numbers")
            if target == self.device:
                return self
            return self.cached("on device", lambda: self.to(target), key=device)
        except (RuntimeError, AssertionError, ImportError) as error:  # a torch without CUDA raises the second
            what = f"{device!r} cannot be used ({first_line(error)})"
            raise ArgumentError("device", what, fix="use cpu, or cuda:0 where torch has CUDA") from error

    def in_type(self, dtype: torch.dtype) -> Model:
        """The same network in a floating type; itself if that is its own. It is kept until the weights change."""
        return self if dtype == self.dtype else self.cached("in type", lambda: self.to(dtype), key=dtype)

    def with_preprocessing(self, choice: PreprocessingLike) -> Model:
        """The same network with another preprocessing."""
        return replace(self, preprocessing=resolve(choice, channels=self.channels, stated=None))

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
            digest.update(raw_bytes(tensor).data)
        return digest.hexdigest()[:16]

    def cached(self, name: str, make: Callable[[], T], *, key: Hashable = None) -> T:
        """The result of ``make`` for each ``key``, cached until the operators or a single bit of the weights change.

        Weights may be trained further, or be written in place, between two scans; their checksum is taken each time.
        """
        state = self._state()
        before: tuple[Hashable, dict[tuple[str, Hashable], Any]] | None = self.__dict__.get(_CACHE)
        if before is None or before[0] != state:
            before = self.__dict__[_CACHE] = state, {}
        results = before[1]
        if (name, key) not in results:
            results[name, key] = make()
        result: T = results[name, key]
        return result

    def _state(self) -> Hashable:
        """A value that changes with the operators and with every bit of the weights."""
        tensors = self.graph.state_dict(keep_vars=True)
        about = tuple((name, tensor.dtype, tensor.shape, tensor.device) for name, tensor in tensors.items())
        return self.graph.code, about, checksum(tensors.values())

    def __getstate__(self) -> dict[str, Any]:
        """The fields alone; the cache can be derived again."""
        return {name: value for name, value in self.__dict__.items() if name != _CACHE}

    def __repr__(self) -> str:
        size = self.window_text
        if self.resize is not None:
            size += " as {}x{}".format(*self.resize.size)
        kind = str(self.dtype).removeprefix("torch.")
        return f"Model({self.name!r}, {size}, {self.channels} channels -> {self.classes} {self.numbers}, {kind})"
