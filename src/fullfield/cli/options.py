"""Options that several commands share, by subject."""

from __future__ import annotations

from fullfield.cli.compute_options import compute, mode, modes, seed, shared_compute, target
from fullfield.cli.image_options import clipped_where, image, picked, picked_file, scale, step, where
from fullfield.cli.label_options import LABEL_FIELDS, label_coordinates, label_fields
from fullfield.cli.model_options import model, model_options, trust
from fullfield.cli.output_options import (
    DECISION,
    DECISION_FIELDS,
    as_json,
    encoding,
    json_progress,
    overwrite,
    rule,
    scales,
    views,
)

__all__ = [
    "DECISION",
    "DECISION_FIELDS",
    "LABEL_FIELDS",
    "as_json",
    "clipped_where",
    "compute",
    "encoding",
    "image",
    "json_progress",
    "label_coordinates",
    "label_fields",
    "mode",
    "model",
    "model_options",
    "modes",
    "overwrite",
    "picked",
    "picked_file",
    "rule",
    "scale",
    "scales",
    "seed",
    "shared_compute",
    "step",
    "target",
    "trust",
    "views",
    "where",
]
