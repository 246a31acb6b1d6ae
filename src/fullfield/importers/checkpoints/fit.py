"""Puts weights into a network: all of them, or none."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import nn

from fullfield.errors import CaptureError
from fullfield.importers.checkpoints.state_dict import StateDict, remade
from fullfield.text import list_text, size_text

_SHOWN = 4  # names in an error
_AVERAGED = "ema"  # in the prefix of averaged weights
_COUNTERS = ("num_batches_tracked",)  # of batch norms in training; old files have none


@dataclass(frozen=True)
class Misfit:
    """What keeps weights from being a network's.

    Args:
        missing: names that the network has and the weights do not.
        unexpected: names that the weights have and the network does not.
        sizes: names with the shape in the weights and that in the network.
    """

    missing: tuple[str, ...] = ()
    unexpected: tuple[str, ...] = ()
    sizes: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.missing or self.unexpected or self.sizes)

    def error(self, state: StateDict, network: str, stated_in: str = "") -> CaptureError:
        """The error that names what does not fit."""
        parts = [
            f"{len(names)} {what}: {_listed(names)}"
            for names, what in (
                (self.missing, "missing"),
                (self.unexpected, "unexpected"),
                (self.sizes, "of another size"),
            )
            if names
        ]
        own = state.architecture
        told = f" (the file calls its network {own})" if own and own not in network else ""
        by = f", which {stated_in} names" if stated_in else ""
        what = f"these weights are not those of {network}{by}{told}; {'; '.join(parts)}"
        fix = "name the network that they were trained with; nothing is loaded in part"
        if self.sizes and not self.missing and not self.unexpected:
            fix = "give the network the sizes of the weights; nothing is loaded in part"
        return CaptureError(str(state.path), what, fix=fix)


def under_prefix(state: StateDict, expected: Iterable[str]) -> StateDict:
    """The weights whose names begin with the prefix that a trainer put before the network's, without it.

    Averaged weights are taken before others. Weights outside the prefix that cannot be a layer's (single numbers and
    vectors, such as a loss's) are left out, and told.
    """
    names = {name for name in expected if not name.endswith(_COUNTERS)}
    prefixes = _prefixes(state.tensors, names)
    found = {prefix: sum(f"{prefix}{name}" in state.tensors for name in names) for prefix in prefixes}
    most = max(found.values())
    whole = sorted((p for p in prefixes if found[p] == most), key=lambda p: (_AVERAGED not in p.lower(), len(p)))
    taken = whole[0]
    if not taken or most == 0:
        return state
    inside = {name.removeprefix(taken): value for name, value in state.tensors.items() if name.startswith(taken)}
    outside = [name for name in state.tensors if not name.startswith(taken)]
    other = [name for name in outside if not any(name.startswith(prefix) for prefix in whole[1:] if prefix)]
    layers = [name for name in other if state.tensors[name].dim() > 1]
    notes = [f"those named {taken}*"]
    if len(outside) > len(other):
        notes.append(f"not those named {whole[1]}*")
    if other and not layers:
        notes.append(f"without {_listed(other)}, which are of no layer")
    kept = inside | {name: state.tensors[name] for name in layers}
    return remade(state, kept, *notes)


def misfit(state: StateDict, expected: Mapping[str, torch.Tensor]) -> Misfit:
    """How weights differ from those that a network has."""
    given = state.tensors
    return Misfit(
        tuple(name for name in expected if name not in given and not name.endswith(_COUNTERS)),
        tuple(name for name in given if name not in expected and not name.endswith(_COUNTERS)),
        tuple(
            other_size(name, given[name].shape, value.shape)
            for name, value in expected.items()
            if name in given and given[name].shape != value.shape
        ),
    )


def other_size(name: str, own: Sequence[int], wanted: Sequence[int]) -> str:
    """A weight with its shape and that in the network, for ``Misfit.sizes``."""
    return f"{name} {_sizes(own)}, not {_sizes(wanted)}"


def fill(module: nn.Module, state: StateDict, network: str, stated_in: str = "") -> None:
    """Copies weights into a network.

    Args:
        module: the network.
        state: its weights, by its names.
        network: its name, for the error.
        stated_in: what names it, for the error.

    Raises:
        CaptureError: names or sizes differ; the network is not changed then.
    """
    expected = module.state_dict()
    if found := misfit(state, expected):
        raise found.error(state, network, stated_in)
    counters = {name: value for name, value in expected.items() if name.endswith(_COUNTERS)}
    module.load_state_dict(counters | {name: value for name, value in state.tensors.items() if name in expected})


def head_size(state: StateDict, classifier: object) -> int | None:
    """The classes of weights: the outputs of the layer, or the first of the layers, that is the classifier."""
    names = [classifier] if isinstance(classifier, str) else list(classifier) if isinstance(classifier, tuple) else []
    for name in names:
        weight = state.tensors.get(f"{name}.weight")
        if weight is not None and weight.dim() > 1:
            return int(weight.shape[0])
    return None


def _prefixes(tensors: Mapping[str, torch.Tensor], names: set[str]) -> list[str]:
    """What could stand before the network's names: nothing, or what stands before some of them, up to a dot."""
    found = {""}
    probes = sorted(names, key=len, reverse=True)[:8] + sorted(names)[:8]
    for name in tensors:
        found |= {name.removesuffix(probe) for probe in probes if name.endswith(f".{probe}")}
    return sorted(found)


def _listed(names: Iterable[str]) -> str:
    return list_text(list(names), _SHOWN)


def _sizes(shape: Sequence[int]) -> str:
    return size_text(shape) or "a number"
