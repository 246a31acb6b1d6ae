"""The networks of a sweep, with random weights: of timm, of torchvision (``tv:``) and of transformers (``hf:``)."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import nn

from fullfield.importers.checkpoints.packages import package, timm_package, torchvision_models, transformers_package

_WHERE = "sweep"
_LAYERS = 2  # of each stage of a network of transformers
_LABELS = 10
_TORCHVISION: Mapping[str, dict[str, bool]] = {
    "googlenet": {"aux_logits": False, "transform_input": True, "init_weights": False},
    "inception_v3": {"aux_logits": False, "init_weights": False},
}
_TRANSFORMERS: Mapping[
    str, dict[str, Any]
] = {  # settings of small networks, where those by default are large, or do not run
    "efficientnet": {"width_coefficient": 1.0, "depth_coefficient": 1.0, "hidden_dim": 1280, "image_size": 224},
    "perceiver": {"num_cross_attention_heads": 1, "num_latents": 128},
    "textnet": {"image_size": (224, 224)},
    "timm_wrapper": {"architecture": "resnet18"},
}


def available() -> list[str]:
    """The models of the installed libraries, in a fixed random order."""
    timm, torchvision = timm_package(_WHERE), torchvision_models(_WHERE)
    names = [*timm.list_models(), *(f"tv:{name}" for name in torchvision.list_models(module=torchvision))]
    random.Random(0).shuffle(names)
    return names + [f"hf:{name}" for _, name in _classifiers()]


def family(name: str) -> str:
    """The module of the library that defines a model, or the library."""
    if name.startswith(("tv:", "hf:")):
        return "torchvision" if name.startswith("tv:") else "transformers"
    module: str = timm_package(_WHERE).models.model_entrypoint(name).__module__
    return module.removeprefix("timm.models.")


def built(name: str, noise: torch.Generator) -> tuple[nn.Module, int]:
    """A model in float64 with moderate weights, and the smallest window that it takes."""
    module, window = _built(name)
    module = module.double().eval()
    _draw(module, noise)
    return module, window


def parameters(name: str) -> int | None:
    """How many parameters a model has, without memory for them; ``None`` where its constructor needs their numbers."""
    try:
        with torch.device("meta"):
            return sum(p.numel() for p in _built(name)[0].parameters())
    except Exception:  # noqa: BLE001 - constructors raise anything for tensors without numbers
        return None


def _built(name: str) -> tuple[nn.Module, int]:
    """A model and its window, as its library makes it."""
    library, _, own = name.rpartition(":")
    return {"tv": _of_torchvision, "hf": _of_transformers}.get(library, _of_timm)(own)


def _draw(module: nn.Module, noise: torch.Generator) -> None:
    """Draws statistics, biases and what is zero at the start."""
    with torch.no_grad():
        for key, buffer in module.named_buffers():
            drawn = torch.randn(buffer.shape, generator=noise, dtype=torch.float64)
            if key.endswith("running_mean"):
                buffer.copy_(0.1 * drawn)
            if key.endswith("running_var"):
                buffer.copy_(drawn.abs() + 0.5)
        for parameter in module.parameters():
            drawn = torch.randn(parameter.shape, generator=noise, dtype=torch.float64)
            if parameter.dim() < 2:
                parameter.add_(0.1 * drawn)
            elif not parameter.any():
                parameter.add_(0.02 * drawn)


def _of_timm(name: str) -> tuple[nn.Module, int]:
    module: Any = timm_package(_WHERE).create_model(name, pretrained=False)
    settings = module.default_cfg
    window, least = settings["input_size"][1], settings.get("min_input_size")
    if least and not settings.get("fixed_input_size", False):
        window = max(least[1], 96)
    return module, window


def _of_torchvision(name: str) -> tuple[nn.Module, int]:
    module = torchvision_models(_WHERE).get_model(name, weights=None, **_TORCHVISION.get(name, {}))
    return module, 299 if "inception" in name else 256 if "swin_v2" in name else 224


def _of_transformers(name: str) -> tuple[nn.Module, int]:
    """A network with few layers, of the widths that its library gives it."""
    transformers = transformers_package(_WHERE)
    kind = next(kind for kind, own in _classifiers() if own == name)
    config = transformers.CONFIG_MAPPING[kind](**_TRANSFORMERS.get(kind, {}))
    parts = [getattr(config, part) for part in ("vision_config", "text_config") if hasattr(config, part)]
    for part in (config, *parts):
        _shorten(part)
    config.num_labels = _LABELS
    sizes = (getattr(part, "image_size", None) for part in (config, *parts))
    window = next((size for size in sizes if size), 224)
    return getattr(transformers, name)(config), window if isinstance(window, int) else window[0]


def _shorten(config: Any) -> None:
    """Lowers the layers of a configuration of transformers."""
    depths = getattr(config, "depths", None)
    if depths and config.model_type != "textnet":  # its depths say how many layers other settings list
        config.depths = [min(depth, _LAYERS) for depth in depths]
    elif isinstance(getattr(config, "num_hidden_layers", None), int):
        config.num_hidden_layers = min(config.num_hidden_layers, _LAYERS)
    if getattr(config, "vocab_size", 0) > 1000:
        config.vocab_size = 1000


def _classifiers() -> Iterator[tuple[str, str]]:
    """Each kind of configuration of transformers with the image classifiers that take it."""
    auto = package("transformers.models.auto.modeling_auto", _WHERE)
    for kind, names in auto.MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES.items():
        for name in (names,) if isinstance(names, str) else names:
            yield kind, name
