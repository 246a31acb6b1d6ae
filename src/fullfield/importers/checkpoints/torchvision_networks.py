"""Classifiers of torchvision with weights from a file."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from fullfield.arguments import nearest
from fullfield.errors import CaptureError
from fullfield.importers.checkpoints.fit import fill, head_size, under_prefix
from fullfield.importers.checkpoints.network import CheckpointNetwork, resize_text
from fullfield.importers.checkpoints.packages import torchvision_models
from fullfield.importers.checkpoints.state_dict import StateDict

_CONSTRUCTOR: dict[str, tuple[str, dict[str, Any]]] = {
    "googlenet": ("aux1.", {"init_weights": False}),
    "inception_v3": ("AuxLogits.", {"init_weights": False}),
}


def build_torchvision(name: str, state: StateDict) -> CheckpointNetwork:
    """A classifier of torchvision with these weights.

    Window, resizing, mean and deviation are those of torchvision's weights of the same file name, else its default's.

    Args:
        name: of the architecture.
        state: the weights.

    Raises:
        CaptureError: torchvision is not installed or has no such classifier, or the weights are of another.
    """
    models = torchvision_models(f"torchvision:{name}")
    known = models.list_models(module=models)
    if name not in known:
        near = nearest(name, known)
        fix = f"use {', '.join(near)}" if near else "see torchvision.models.list_models()"
        raise CaptureError(f"torchvision:{name}", f"torchvision has no classifier {name}", fix=fix)
    auxiliary, options = _CONSTRUCTOR.get(name, ("", {}))
    with torch.device("meta"):
        plain = models.get_model(name, weights=None, **options)
    state = under_prefix(state, plain.state_dict())
    if auxiliary:
        options = {**options, "aux_logits": any(key.startswith(auxiliary) for key in state.tensors)}
    if classes := head_size(state, _last_layer(plain)):
        options = {**options, "num_classes": classes}
    module = models.get_model(name, weights=None, **options).eval()
    fill(module, state, f"torchvision's {name}")
    return _described(module, name, state, models)


def _described(module: nn.Module, name: str, state: StateDict, models: Any) -> CheckpointNetwork:
    enum = models.get_model_weights(name)
    own = next((each for each in enum if each.url.rpartition("/")[2] == state.path.name), None)
    like = own or enum.DEFAULT
    transforms = like.transforms()
    if own is not None and hasattr(module, "transform_input"):
        setattr(module, "transform_input", True)  # noqa: B010 - as torchvision sets it for its own weights
    crop = int(transforms.crop_size[0])
    resized = resize_text("shorter side to", transforms.resize_size[0], transforms.interpolation.value, (crop, crop))
    return CheckpointNetwork(
        module,
        name,
        (crop, crop),
        transforms,
        None if own is None else tuple(own.meta["categories"]),
        facts=(
            ("architecture", f"{name} of torchvision"),
            ("weights", state.text),
            ("resize", f"{resized}, as for {like}"),
        ),
    )


def _last_layer(module: nn.Module) -> str | None:
    """The name of the last linear layer or convolution: of the classifier."""
    names = [name for name, part in module.named_modules() if isinstance(part, (nn.Linear, nn.Conv2d))]
    return names[-1] if names else None
