"""Well-known networks as patterns."""

from __future__ import annotations

import re
from collections.abc import Mapping

_ALEXNET = (
    "INPUT(3x227x227)"
    " -> CONV(96, 11, s=4) -> RELU -> LRN -> POOL(3, s=2)"
    " -> CONV(256, 5{groups}) -> RELU -> LRN -> POOL(3, s=2)"
    " -> CONV(384) -> RELU"
    " -> [CONV(384|256{groups}) -> RELU]*2 -> POOL(3, s=2)"
    " -> [FC(4096) -> RELU -> DROPOUT]*2 -> FC(1000) -> SOFTMAX"
)
_VGG = (
    "INPUT(3x224x224) -> [[CONV(64|128|256|512|512) -> RELU]*({depths}) -> POOL]*5"
    " -> [FC(4096) -> RELU -> DROPOUT]*2 -> FC(1000) -> SOFTMAX"
)

CLASSICS: Mapping[str, str] = {
    # LeCun, Bottou, Bengio & Haffner 1998, doi 10.1109/5.726791, section II.B: 60,000 trained parameters. The paper
    # uses 1.7159 tanh(2a/3), and the codes of its output are drawings of characters; these are random.
    "LeNet-5": (
        "INPUT(1x32x32) -> [CONV(6|16, 5, p=0, table=full|lenet) -> TANH -> SUBSAMPLE -> TANH]*2"
        " -> CONV(120, 5, p=0) -> TANH -> FC(84) -> TANH -> RBF(10)"
    ),
    # Krizhevsky, Sutskever & Hinton 2012, sections 3.3 to 3.5; the groups are its two GPUs. The paper says 224, but
    # its sizes need 227: (227 - 11)/4 + 1 = 55.
    "AlexNet": _ALEXNET.format(groups=", g=2"),
    "AlexNet one-column": _ALEXNET.format(groups=""),
    # Zeiler & Fergus 2014, doi 10.1007/978-3-319-10590-1_53, figure 3.
    "ZFNet": (
        "INPUT(3x224x224)"
        " -> [CONV(96|256, 7|5, s=2, p=1|0, round=floor) -> RELU -> POOL(3, s=2, round=ceil) -> LRN]*2"
        " -> [CONV(384|384|256) -> RELU]*3 -> POOL(3, s=2)"
        " -> [FC(4096) -> RELU -> DROPOUT]*2 -> FC(1000) -> SOFTMAX"
    ),
    # Simonyan & Zisserman 2015, arXiv 1409.1556, table 1: configurations A, B, D, E.
    "VGG-11": _VGG.format(depths="1|1|2|2|2"),
    "VGG-13": _VGG.format(depths="2|2|2|2|2"),
    "VGG-16": _VGG.format(depths="2|2|3|3|3"),
    "VGG-19": _VGG.format(depths="2|2|4|4|4"),
}


def find(name: str) -> str | None:
    """The pattern of a classic, if ``name`` is one; case, blanks and dashes do not matter.

    Examples:
        >>> find("vgg16") == CLASSICS["VGG-16"], find("INPUT(3x8x8) -> FC(2)")
        (True, None)
    """
    return {_plain(known): pattern for known, pattern in CLASSICS.items()}.get(_plain(name))


def _plain(name: str) -> str:
    return re.sub(r"[\s_-]", "", name).lower()
