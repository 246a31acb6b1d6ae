"""Writes objects as GeoJSON, for QuPath and GIS programs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from fullfield.exporters.objects import Layer, Objects, features


def write_geojson(path: Path, layer: Layer, batches: Iterator[Objects]) -> int:
    """Writes a feature collection, a feature a line. Returns the number of features."""
    count = 0
    with path.open("w", encoding="utf-8", newline="\n") as file:
        metadata = ", ".join(f"{json.dumps(key)}: {value}" for key, value in layer.header.items())
        file.write(f'{{"type": "FeatureCollection", {metadata}, "features": [')
        for objects in batches:
            for feature in features(objects, layer):
                file.write(f",\n{feature}" if count else f"\n{feature}")
                count += 1
        file.write("\n]}\n")
    return count
