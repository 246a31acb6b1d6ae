"""Caffe files for tests: a text definition, with weights drawn from small steps and written by fullfield."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from fullfield.importers.caffe.importer import CaffeNetwork, read_network
from fullfield.importers.caffe.writer import save_caffe


def draw(module: nn.Module, seed: int = 0) -> None:
    """Fills every parameter and statistic with moderate numbers that float32 represents exactly."""
    noise = torch.Generator().manual_seed(seed)
    for name, tensor in module.state_dict().items():
        if not tensor.is_floating_point():
            continue
        drawn = torch.randint(-64, 65, tensor.shape, generator=noise) / 128
        fan = max(1, tensor[0].numel()) if tensor.dim() > 1 else 1
        drawn = drawn / max(1, round(fan**0.5 / 4))
        tensor.copy_(drawn.abs() + 0.5 if name.endswith("running_var") else drawn)


def make(folder: Path, text: str, *, name: str = "net", seed: int = 0, surgery: bool = False) -> tuple[Path, Path]:
    """A ``.prototxt`` of the definition, and its ``.caffemodel``."""
    prototxt, model = folder / f"{name}.prototxt", folder / f"{name}.caffemodel"
    prototxt.write_text(text)
    network = read_network(prototxt)
    draw(network.module, seed)
    written = folder / f"{name}-written.prototxt"
    save_caffe(network, written, model, surgery=surgery, overwrite=True)
    return (written if surgery else prototxt), model


def head(channels: int = 3, height: int = 16, width: int = 16) -> str:
    """A deployed network's input, batch 1."""
    shape = " ".join(f"dim: {size}" for size in (1, channels, height, width))
    return f'name: "n" layer {{ name: "data" type: "Input" top: "data" input_param {{ shape {{ {shape} }} }} }}\n'


def layer(kind: str, bottom: str, top: str | None = None, body: str = "", *, name: str | None = None) -> str:
    """One layer; several bottoms and tops are separated by blanks; its name is its first top."""
    tops = (top or bottom).split()
    values = "".join(f' bottom: "{b}"' for b in bottom.split()) + "".join(f' top: "{t}"' for t in tops)
    return f'layer {{ name: "{name or tops[0]}" type: "{kind}"{values} {body} }}\n'


def trained(prototxt: Path, model: Path) -> CaffeNetwork:
    """The network read back with its weights, in evaluation mode."""
    network = read_network(prototxt, weights=model)
    network.module.eval()
    return network
