"""Reads the weights in a checkpoint without running code: safetensors, and torch's files with ``weights_only``."""

from __future__ import annotations

import argparse
import zipfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.serialization import safe_globals

from fullfield.errors import first_line
from fullfield.importers.checkpoints.packages import package
from fullfield.importers.limits import broken, check_size
from fullfield.model.quiet import quiet

_RAW = ("state_dict", "model_state_dict", "model", "module", "net", "network", "weights", "params")
AVERAGED = (
    *(name for raw in _RAW for name in (f"{raw}_ema", f"ema_{raw}")),
    *("model_ema_state_dict", "ema"),
)
_ARCHITECTURE = ("arch", "architecture", "model_name", "model", "backbone", "encoder_name", "encoder")
_SETTINGS = ("hyper_parameters", "args", "config", "hparams", "opt")


@dataclass(frozen=True)
class StateDict:
    """Weights by name, of a network that the file does not hold.

    Args:
        path: the file, or the folder of several.
        tensors: by name.
        taken: which of the file's weights these are, in words; empty where it has no others.
        architecture: what the file calls its network, where it does.
    """

    path: Path
    tensors: Mapping[str, torch.Tensor]
    taken: str = ""
    architecture: str | None = None

    @property
    def text(self) -> str:
        """The file, and which of its weights these are."""
        return ": ".join(filter(None, (self.path.name, self.taken)))


def remade(state: StateDict, tensors: Mapping[str, torch.Tensor], *notes: str) -> StateDict:
    """Weights made of others; the notes say how, after what is said of these."""
    return replace(state, tensors=tensors, taken=", ".join(filter(None, (state.taken, *notes))))


def read_safetensors(path: Path) -> StateDict:
    """The weights in a safetensors file.

    Raises:
        CaptureError: the package is not installed, or the file is damaged.
    """
    safetensors = package("safetensors.torch", str(path))
    check_size(path)
    try:
        tensors = safetensors.load_file(path)
    except Exception as error:  # the package has an exception type of its own in Rust
        raise broken(path, f"cannot be read as safetensors ({first_line(error)})") from error
    return StateDict(path, tensors)


def read_torch(path: Path) -> StateDict | None:
    """The weights in a file of ``torch.save``; ``None`` where it holds no weights, or cannot be read without code.

    Raises:
        CaptureError: it is too large.
    """
    check_size(path)
    held = None
    # A damaged or hostile file raises anything here; what it is is told later.
    with suppress(Exception), quiet(), safe_globals(_HARMLESS):
        held = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    return state_in(path, held)


def state_in(path: Path, held: Any) -> StateDict | None:
    """The weights in what a file holds; ``None`` where that has none."""
    if not isinstance(held, Mapping):
        return None
    averaged, raw = _containers(held, AVERAGED), _containers(held, _RAW)
    if _is_weights(held):
        tensors, taken = held, ""
    elif averaged:
        tensors, taken = held[averaged[0]], f"the averaged (EMA) weights in {averaged[0]!r}"
        taken += f", not those in {raw[0]!r}" if raw else ""
    elif raw:
        tensors, taken = held[raw[0]], f"those in {raw[0]!r}" if len(raw) > 1 else ""
    else:
        return None
    return StateDict(path, _only_tensors(tensors), taken, _architecture(held))


_scalar = np.float64(0).__reduce__()[0]  # what makes a pickled number of NumPy
# Plain values that training scripts store next to weights.
_HARMLESS: list[Any] = [argparse.Namespace, np.dtype, *map(type, map(np.dtype, ("f8", "f4", "i8", "bool")))]
_HARMLESS += [(_scalar, f"numpy.{room}.multiarray.scalar") for room in ("core", "_core")]


def _is_weights(value: Any) -> bool:
    """Whether a value is a state dict: names of tensors, and nothing else but single numbers."""
    if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
        return False
    tensors = [item for item in value.values() if isinstance(item, torch.Tensor)]
    others = [item for item in value.values() if not isinstance(item, (torch.Tensor, int, float, type(None)))]
    return bool(tensors) and not others and any("." in key for key in value)


def _only_tensors(value: Mapping[str, Any]) -> dict[str, torch.Tensor]:
    return {name: item for name, item in value.items() if isinstance(item, torch.Tensor)}


def _containers(held: Mapping[Any, Any], names: tuple[str, ...]) -> list[str]:
    return [name for name in names if _is_weights(held.get(name))]


def _architecture(held: Mapping[Any, Any]) -> str | None:
    """What a checkpoint calls its network, by itself or in the settings of its training."""
    settings = [held, *(held.get(name) for name in _SETTINGS)]
    for each in settings:
        stated = vars(each) if isinstance(each, argparse.Namespace) else each
        if isinstance(stated, Mapping):
            for name in _ARCHITECTURE:
                if isinstance(stated.get(name), str) and 0 < len(stated[name]) < 100:
                    return str(stated[name])
    return None
