"""Finds fields of a ``.prototxt`` that Caffe does not define: misspelt ones and those of forks of Caffe."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, NamedTuple

from fullfield.importers.caffe.schema import message
from fullfield.text import closest

_TOKEN = re.compile(
    r"""\#[^\n]* | "(?:\\.|[^"\\\n])*" | '(?:\\.|[^'\\\n])*'   # skipped: comments and strings
      | (?P<block>[A-Za-z_]\w*)(?=\s*:?\s*[{<]) | (?P<field>[A-Za-z_]\w*)(?=\s*:) | (?P<end>[}>])""",
    re.VERBOSE,
)
_CHANGE_NOTHING = frozenset(
    [
        "backend",
        "bg_threshold",
        "blob_share_mode",
        "cache_images",
        "context_pad",
        "crop_mode",
        "cudnn_flavor",
        "data_filler",
        "debug_info",
        "det_bg_threshold",
        "det_context_pad",
        "det_crop_mode",
        "det_fg_fraction",
        "det_fg_threshold",
        "diff",
        "double_diff",
        "engine",
        "fg_fraction",
        "fg_threshold",
        "force_backward",
        "force_encoded_color",
        "force_nd_im2col",
        "hdf5_output_param",
        "level",
        "loss_weight",
        "mirror",
        "new_channels",
        "new_height",
        "new_num",
        "new_width",
        "phase",
        "prefetch",
        "propagate_down",
        "rand_skip",
        "root_folder",
        "share_mode",
        "shuffle",
        "shuffle_images",
        "stable_prod_grad",
        "stage",
        "state",
    ]
)  # of BVLC Caffe 1.0 and of NVIDIA's


class UnknownField(NamedTuple):
    """A field, its line, counted from 1, and the known field that it resembles, if any."""

    name: str
    line: int
    suggestion: str | None

    def __str__(self) -> str:
        meant = f", meant as {self.suggestion}?" if self.suggestion else ""
        return f"{self.name} (line {self.line}{meant})"


def unknown_fields(text: str) -> Iterator[UnknownField]:
    """The unknown fields of a valid network text that may change its results.

    Parameters of unknown layers are skipped, as such a layer is refused anyway.

    Examples:
        >>> text = "layer { name: 'a' convolution_param { kernal_size: 3 engine: CUDNN } roi_param { width: 7 } }"
        >>> [str(field) for field in unknown_fields(text)]
        ['kernal_size (line 1, meant as kernel_size?)']
    """
    inside: list[Any] = [message("NetParameter").DESCRIPTOR]
    for token in _TOKEN.finditer(text):
        if token["end"]:
            if len(inside) > 1:
                inside.pop()
            continue
        name = token["block"] or token["field"]
        if name is None:
            continue
        where = inside[-1]
        known = where.fields_by_name if where is not None else {}
        if token["block"]:
            inside.append(known[name].message_type if name in known else None)
        if where is None or name in known or name in _CHANGE_NOTHING:
            continue
        if not (token["block"] and name.endswith("_param")):
            yield UnknownField(name, text.count("\n", 0, token.start()) + 1, closest(name, known))
