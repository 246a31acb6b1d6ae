"""Names of networks as users write them: ``timm:resnet18``, ``torchvision:resnet18``, ``hf:owner/name``. No torch."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal, cast

from fullfield.errors import CaptureError

Library = Literal["timm", "torchvision", "hf"]
_NAMES = {
    "timm": re.compile(r"[\w.\-]+"),
    "torchvision": re.compile(r"\w+"),
    "hf": re.compile(r"[\w.\-]+/[\w.\-]+(@[\w.\-/]+)?"),
}
_WRITTEN = "write timm:resnet18, torchvision:resnet18, or hf:owner/name for one on the Hugging Face Hub"


@dataclass(frozen=True)
class NetworkName:
    """A network by its name in a library.

    Args:
        library: ``timm``, ``torchvision``, or ``hf`` for the Hugging Face Hub.
        name: in the library.
    """

    library: Library
    name: str

    def __str__(self) -> str:
        return f"{self.library}:{self.name}"


def parse_network_name(text: str) -> NetworkName | None:
    """The network that a text names; ``None`` where it begins with no library, as paths do.

    Raises:
        CaptureError: it begins with a library and no name follows.

    Examples:
        >>> parse_network_name("timm:resnet18")
        NetworkName(library='timm', name='resnet18')
        >>> parse_network_name("C:/models/net.onnx")
    """
    library, colon, name = text.partition(":")
    if not colon or library not in _NAMES:
        return None
    if not _NAMES[library].fullmatch(name):
        raise CaptureError(text, f"{name!r} is no name in {library}", fix=_WRITTEN)
    return NetworkName(cast(Library, library), name)


def parse_architecture(text: str) -> NetworkName:
    """The network of ``arch=``: of timm or torchvision.

    Raises:
        CaptureError: the library is left out, or has only networks with weights.
    """
    found = parse_network_name(text)
    if found is None:
        fix = f"write timm:{text} or torchvision:{text}, whichever library it was trained with"
        raise CaptureError("arch", f"{text!r} names no library", fix=fix)
    if found.library == "hf":
        raise CaptureError("arch", f"{text!r} is a network with weights", fix=f"load {text} without arch=")
    return found
