"""Tools to build and study networks by hand; no scan needs them.

``build`` and ``describe`` turn a pattern such as ``INPUT(3x32x32) -> CONV(16) -> FC(10)`` into a network and back.
``unroll``, ``to_fc`` and ``to_conv`` turn a layer into a matrix, a fully connected layer or a convolution.
``convolve`` and ``image_kernel`` follow the conventions of other programs. ``TableConv2d``, ``Subsample2d`` and
``RadialBasis`` are LeNet-5's layers.

Importing this package imports neither torch nor the extras: every name is looked up when it is first used.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fullfield.workbench.conventions import convolve as convolve
    from fullfield.workbench.conventions import image_kernel as image_kernel
    from fullfield.workbench.lenet_layers import RadialBasis as RadialBasis
    from fullfield.workbench.lenet_layers import Subsample2d as Subsample2d
    from fullfield.workbench.lenet_layers import TableConv2d as TableConv2d
    from fullfield.workbench.matrices.matrix import Unrolled as Unrolled
    from fullfield.workbench.matrices.verbs import to_conv as to_conv
    from fullfield.workbench.matrices.verbs import to_fc as to_fc
    from fullfield.workbench.matrices.verbs import unroll as unroll
    from fullfield.workbench.pattern.verbs import build as build
    from fullfield.workbench.pattern.verbs import describe as describe

# Public name -> the module that defines it under the same name.
_HOME = {
    "RadialBasis": "fullfield.workbench.lenet_layers",
    "Subsample2d": "fullfield.workbench.lenet_layers",
    "TableConv2d": "fullfield.workbench.lenet_layers",
    "Unrolled": "fullfield.workbench.matrices.matrix",
    "build": "fullfield.workbench.pattern.verbs",
    "convolve": "fullfield.workbench.conventions",
    "describe": "fullfield.workbench.pattern.verbs",
    "image_kernel": "fullfield.workbench.conventions",
    "to_conv": "fullfield.workbench.matrices.verbs",
    "to_fc": "fullfield.workbench.matrices.verbs",
    "unroll": "fullfield.workbench.matrices.verbs",
}

__all__ = list(_HOME)


if not TYPE_CHECKING:  # type checkers know the names above, and no others

    def __getattr__(name: str) -> Any:
        if name not in _HOME:
            raise AttributeError(f"module 'fullfield.workbench' has no attribute {name!r}", name=name)
        value = getattr(importlib.import_module(_HOME[name]), name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return sorted(__all__)
