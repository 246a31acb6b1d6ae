"""Weights of timm's networks under the names that earlier versions, or the networks' authors, gave them."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor, nn

from fullfield.importers.checkpoints.fit import misfit
from fullfield.importers.checkpoints.state_dict import StateDict, remade
from fullfield.model.quiet import quiet

_FILTERS = ("checkpoint_filter_fn", "_filter_fn", "checkpoint_filter_fn_classifier")
_TOGETHER = 3  # queries, keys and values, which some layouts keep apart


def in_todays_layout(timm: Any, architecture: str, state: StateDict, module: nn.Module) -> StateDict:
    """The weights under today's names, by timm's own filter of the architecture; as they are where it finds none.

    A layout is taken only if it gives every weight of the network, and no layer is left out or resampled to another
    size of image.

    Args:
        timm: the library.
        architecture: the network's name in it.
        state: weights that are not the network's by their names or sizes.
        module: the network; its head may be of another size.
    """
    change = _filter(timm, architecture)
    if change is None:
        return state
    for tensors in (state.tensors, _bare(state.tensors)):
        changed = _changed(change, tensors, module)
        if changed is None or not _same_numbers(tensors, changed):
            continue
        found = misfit(StateDict(state.path, changed), module.state_dict())
        if not found.missing and not found.unexpected:
            return remade(state, changed, "renamed as timm does")
    return state


def _filter(timm: Any, architecture: str) -> Callable[..., Any] | None:
    """The function with which timm reads checkpoints of an architecture."""
    home = sys.modules[timm.models.model_entrypoint(architecture).__module__]
    return next((getattr(home, name) for name in _FILTERS if hasattr(home, name)), None)


def _bare(tensors: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """The weights without the prefix of a trainer that all names begin with."""
    while len({name.partition(".")[0] for name in tensors}) == 1 and all("." in name for name in tensors):
        tensors = {name.partition(".")[2]: value for name, value in tensors.items()}
    return tensors


def _changed(change: Callable[..., Any], tensors: Mapping[str, Tensor], module: nn.Module) -> dict[str, Tensor] | None:
    """The weights as a filter gives them; ``None`` where it knows no such names."""
    try:
        with quiet():
            changed = change(dict(tensors), module)
    except Exception:  # noqa: BLE001  written for the checkpoints of its authors, it raises anything for others
        return None
    return {name: value for name, value in changed.items() if isinstance(value, Tensor)}


def _same_numbers(given: Mapping[str, Tensor], changed: Mapping[str, Tensor]) -> bool:
    """Whether weights were renamed and reshaped alone, and no layer was left out."""
    sizes = {value.numel() for value in given.values()}
    sizes |= {_TOGETHER * size for size in sizes}
    kept = all(value.numel() in sizes or not value.any() for value in changed.values())
    return kept and _in_layers(changed) >= _in_layers(given)


def _in_layers(tensors: Mapping[str, Tensor]) -> int:
    """How many numbers are weights of layers."""
    return sum(value.numel() for name, value in tensors.items() if name.endswith("weight") and value.dim() > 1)
