"""Image classifiers of Hugging Face's transformers with weights from a file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch

from fullfield.errors import CaptureError, first_line
from fullfield.importers.checkpoints.fit import Misfit, misfit, other_size, under_prefix
from fullfield.importers.checkpoints.network import CheckpointNetwork, listed_names, resize_text
from fullfield.importers.checkpoints.packages import transformers_package
from fullfield.importers.checkpoints.state_dict import StateDict

_INTERPOLATIONS = ("nearest", "lanczos", "bilinear", "bicubic", "box", "hamming")  # by Pillow's numbers


def build_transformers(
    state: StateDict, *, config: Mapping[str, Any], processor: Mapping[str, Any], stated_in: str
) -> CheckpointNetwork:
    """An image classifier of transformers with these weights; code in the folder is never run.

    Args:
        state: the weights.
        config: its ``config.json``.
        processor: its ``preprocessor_config.json``; empty where there is none.
        stated_in: the configuration's file, for errors.

    Raises:
        CaptureError: transformers is not installed, the configuration is of no image classifier that it knows, or the
            weights are of another network.
    """
    transformers = transformers_package(stated_in)
    name = _architecture(transformers, config, stated_in)
    kind = getattr(transformers, name)
    try:
        settings = transformers.CONFIG_MAPPING[config["model_type"]].from_dict(dict(config))
        with torch.device("meta"):
            expected = kind(settings).state_dict()
    except Exception as error:  # whatever the constructor raises for a configuration
        raise CaptureError(stated_in, f"gives no {name} ({first_line(error)})", fix="download it again") from error
    if misfit(state, expected):  # weights of earlier versions have other names, which transformers knows
        state = under_prefix(state, expected)
    module = _filled(transformers, kind, settings, state, stated_in)
    window = _window(config, processor)
    return CheckpointNetwork(
        module,
        name,
        window,
        processor or None,
        listed_names(config.get("id2label")),
        score="logits",
        facts=(
            ("architecture", f"{name} of transformers {transformers.__version__}"),
            ("weights", state.text),
            *_resize(processor, window),
        ),
    )


def _architecture(transformers: Any, config: Mapping[str, Any], stated_in: str) -> str:
    """The class of image classifiers that a configuration names."""
    named = [str(each) for each in config.get("architectures") or ()]
    known = [each for each in named if "ForImageClassification" in each and hasattr(transformers, each)]
    if known and config.get("model_type") in transformers.CONFIG_MAPPING:
        return known[0]
    version = transformers.__version__
    what = f"is of {', '.join(named) or 'a network without a name'}, no image classifier of transformers {version}"
    fix = "give the folder of an image classifier (…ForImageClassification); code in a folder is never run"
    raise CaptureError(stated_in, what, fix=fix)


def _filled(transformers: Any, kind: Any, settings: Any, state: StateDict, stated_in: str) -> Any:
    """The network with all of the weights, renamed by transformers where they are of an earlier version."""
    try:
        with _quiet(transformers):
            module, found = kind.from_pretrained(
                None,
                config=settings,
                state_dict=dict(state.tensors),
                output_loading_info=True,
                ignore_mismatched_sizes=True,  # they are told below, by their names
                dtype=torch.float32,
            )
    except Exception as error:  # whatever transformers raises
        what = f"cannot be put into {kind.__name__} ({first_line(error)})"
        raise CaptureError(str(state.path), what, fix="check that these are its weights") from error
    wrong = Misfit(
        tuple(sorted(found["missing_keys"])),
        tuple(sorted(found["unexpected_keys"])),
        tuple(other_size(*each) for each in sorted(found["mismatched_keys"])),
    )
    if wrong:
        raise wrong.error(state, f"transformers' {kind.__name__}", stated_in)
    return module.eval()


@contextmanager
def _quiet(transformers: Any) -> Iterator[None]:
    """No progress bars and reports of transformers."""
    logging = transformers.utils.logging
    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()


def _window(config: Mapping[str, Any], processor: Mapping[str, Any]) -> tuple[int, int] | None:
    """What the processor crops to, or else resizes to; or else the configuration's size."""
    crops = processor.get("crop_size") if processor.get("do_center_crop") else None
    for size in (crops, processor.get("size"), config.get("image_size")):
        if (found := _pair(size)) is not None:
            return found
    return None


def _pair(size: Any) -> tuple[int, int] | None:
    if isinstance(size, Mapping):
        size = (size["height"], size["width"]) if {"height", "width"} <= size.keys() else size.get("shortest_edge")
    if isinstance(size, int):
        return size, size
    if isinstance(size, (list, tuple)) and len(size) == 2:
        return int(size[0]), int(size[1])
    return None


def _resize(processor: Mapping[str, Any], window: tuple[int, int] | None) -> tuple[tuple[str, str], ...]:
    """How the processor resizes images."""
    size, number = processor.get("size"), processor.get("resample")
    pair = _pair(size)
    if pair is None or not processor.get("do_resize", True):
        return ()
    known = dict(enumerate(_INTERPOLATIONS))
    interpolation = known.get(number, "bilinear") if isinstance(number, int) else "bilinear"
    shorter = isinstance(size, Mapping) and "shortest_edge" in size
    part = processor.get("crop_pct")
    if shorter and part and pair[0] < 384:  # ConvNeXt's processor
        pair = (int(pair[0] / part), int(pair[0] / part))
    edge, text = ("shorter side to", str(pair[0])) if shorter else ("to", f"{pair[0]}x{pair[1]}")
    return (("resize", resize_text(edge, text, interpolation, window if window != pair or shorter else None)),)
