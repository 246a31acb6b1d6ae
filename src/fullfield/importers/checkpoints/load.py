"""Loads a network by its name and weights, by its folder, or by weights whose network a file names."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from fullfield.errors import CaptureError
from fullfield.importers.checkpoints.folder import CONFIG, read_folder_weights, read_processor, read_weights
from fullfield.importers.checkpoints.hub import hub_folder
from fullfield.importers.checkpoints.names import NetworkName, parse_architecture
from fullfield.importers.checkpoints.network import CheckpointNetwork
from fullfield.importers.checkpoints.state_dict import StateDict
from fullfield.importers.checkpoints.timm_networks import build_timm
from fullfield.importers.checkpoints.torchvision_networks import build_torchvision
from fullfield.importers.checkpoints.transformers_networks import build_transformers
from fullfield.model.json_file import read_json
from fullfield.model.model import Model
from fullfield.model.torch_export import capture_module


def load_named(network: NetworkName, *, weights: Path | None, **options: Any) -> Model:
    """The model of a network by its name.

    Args:
        network: its name.
        weights: their file; of a network of the Hub ``None`` takes its own.
        options: as of ``capture_module``.

    Raises:
        CaptureError: weights are missing or of another network, or a library is not installed.
    """
    if network.library == "hf":
        return load_folder(hub_folder(network), weights=weights, **{**options, "name": options["name"] or str(network)})
    if weights is None:
        fix = f"give their file: weights=FILE, --weights FILE{_on_the_hub(network)}"
        raise CaptureError(str(network), "has no weights: only the architecture is named", fix=fix)
    return load_weights(read_weights(weights), network, **options)


def load_weights(state: StateDict, network: NetworkName, **options: Any) -> Model:
    """The model of weights and the architecture that is given for them; ``options`` as of ``capture_module``."""
    if network.library == "torchvision":
        return _captured(build_torchvision(network.name, state), **options)
    return _captured(build_timm(network.name, state, config={}, channels=options["channels"]), **options)


def load_state(state: StateDict, *, arch: str | None, **options: Any) -> Model:
    """The model of weights, whose architecture is given or named by the ``config.json`` in their folder.

    Raises:
        CaptureError: neither is there; the text says what the file calls its network.
    """
    if arch is not None:
        return load_weights(state, parse_architecture(arch), **options)
    if (state.path.parent / CONFIG).is_file():
        return _captured(_described(state.path.parent, state, options["channels"]), **options)
    own = f"; the file calls it {state.architecture}" if state.architecture else ""
    example = state.architecture or "NAME"
    more = f"{len(state.tensors)} tensors{'' if not state.taken else f', {state.taken}'}"
    raise CaptureError(
        str(state.path),
        f"holds weights without their network ({more}){own}",
        fix=f"name it: arch='timm:{example}', --arch timm:{example} or torchvision:{example}; "
        "or make the module, fill it by load_state_dict, then fullfield.load(module)",
    )


def load_folder(folder: Path, *, weights: Path | None, **options: Any) -> Model:
    """The model of a folder with a ``config.json``; ``options`` as of ``capture_module``.

    Raises:
        CaptureError: the configuration is of no network that is known, or the weights are of another.
    """
    state = read_folder_weights(folder) if weights is None else read_weights(weights)
    return _captured(
        _described(folder, state, options["channels"]), **{**options, "name": options["name"] or folder.name}
    )


def _described(folder: Path, state: StateDict, channels: int | None) -> CheckpointNetwork:
    """The network that the folder's configuration describes, with these weights."""
    file = folder / CONFIG
    config = read_json(file, fix="download it again")
    if isinstance(config.get("architecture"), str):
        return build_timm(config["architecture"], state, config=config, channels=channels, stated_in=str(file))
    if "model_type" in config:
        return build_transformers(state, config=config, processor=read_processor(folder), stated_in=str(file))
    fix = "give a config.json of timm (architecture) or of transformers (architectures, model_type)"
    raise CaptureError(str(file), "names no architecture", fix=fix)


def _captured(network: CheckpointNetwork, **options: Any) -> Model:
    """The model of a network, with what its configuration says where the caller says nothing."""
    stated: dict[str, Any] = {
        "window": network.window,
        "preprocessing": network.preprocessing,
        "class_names": network.class_names,
        "score": network.score,
        "name": network.name,
    }
    chosen = {name: stated.get(name) if value is None else value for name, value in options.items()}
    if options["class_names"] is None and options["score"] is not None:
        chosen["class_names"] = None  # features have no classes
    return replace(capture_module(network.module, **chosen), about=network.facts)


def _on_the_hub(network: NetworkName) -> str:
    return f"; timm's own from the Hub: hf:timm/{network.name}" if "." in network.name else ""
