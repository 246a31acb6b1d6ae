"""Folders of timm and of Hugging Face: a ``config.json`` with weights."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from fullfield.errors import CaptureError
from fullfield.importers.checkpoints.state_dict import StateDict, read_safetensors, read_torch, remade
from fullfield.model.json_file import read_json

CONFIG = "config.json"
_SUFFIXES = (".safetensors", ".bin", ".pth", ".pt", ".ckpt")
_NOT_WEIGHTS = ("training_args.bin", "optimizer.pt", "scheduler.pt", "optimizer.bin", "scheduler.bin", "scaler.pt")
_SAME = ("model.safetensors", "pytorch_model.bin")  # the Hub's two forms of the same weights
_DOWNLOAD = "download it again"


def read_processor(folder: Path) -> Mapping[str, Any]:
    """What the image processor of a folder is told; empty where it has none."""
    for name in ("preprocessor_config.json", "processor_config.json"):
        if (folder / name).is_file():
            found = read_json(folder / name, fix=_DOWNLOAD)
            inner = found.get("image_processor", found)
            return inner if isinstance(inner, dict) else found
    return {}


def read_folder_weights(folder: Path) -> StateDict:
    """The weights in a folder.

    Raises:
        CaptureError: there are none, there are several, or they cannot be read.
    """
    files = sorted(
        path
        for path in folder.iterdir()
        if path.suffix in _SUFFIXES and path.name not in _NOT_WEIGHTS and path.is_file()
    )
    index = next((folder / f"{name}.index.json" for name in _SAME if (folder / f"{name}.index.json").is_file()), None)
    if index is not None:
        return _of_parts(index)
    if not files:
        fix = f"put {_SAME[0]} or {_SAME[1]} into it, or name the file of weights: weights=FILE, --weights FILE"
        raise CaptureError(str(folder), f"has a {CONFIG} and no weights", fix=fix)
    names = [path.name for path in files]
    if names == list(_SAME):
        state = read_weights(files[0])
        return remade(state, state.tensors, f"not those in {_SAME[1]}")
    if len(files) > 1:
        fix = f"say which: weights={str(files[0])!r}, --weights {files[0]}"
        raise CaptureError(str(folder), f"has {len(files)} files of weights: {', '.join(names)}", fix=fix)
    return read_weights(files[0])


def read_weights(path: Path) -> StateDict:
    """The weights in a file, read without running code.

    Raises:
        CaptureError: it holds none that can be read so.
    """
    from fullfield.importers.detect import detect

    kind, what, fix = detect(path)
    if kind == "safetensors":
        return read_safetensors(path)
    found = read_torch(path) if kind == "pickle" else None
    if found is None:
        what = what or "is a network, not weights"
        raise CaptureError(
            str(path),
            f"{what}: no weights that can be read without running code",
            fix=fix or "save the network's state_dict() alone, with torch.save or safetensors",
        )
    return found


def _of_parts(index: Path) -> StateDict:
    """The weights in several files that an index lists."""
    parts = read_json(index, fix=_DOWNLOAD).get("weight_map")
    names = sorted(set(parts.values())) if isinstance(parts, dict) else []
    tensors: dict[str, torch.Tensor] = {}
    for name in names:
        if not isinstance(name, str) or Path(name).name != name:
            raise CaptureError(str(index), f"names {name!r}, which is no file in its folder", fix=_DOWNLOAD)
        tensors |= read_weights(index.parent / name).tensors
    return StateDict(index.parent, tensors, f"of {len(names)} files")
