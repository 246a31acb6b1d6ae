"""Names the layers of an ONNX file: by the exporter's modules where it wrote them, else by the nodes' names."""

from __future__ import annotations

import re

import onnx

from fullfield.model.onnx_scopes import SCOPES, innermost_scope


def layer_path(node: onnx.NodeProto) -> str:
    """A layer's name: the exporter's module path, else the node's name, else operator and output."""
    for entry in node.metadata_props:
        if entry.key == "fullfield.path":
            return str(entry.value)
        if entry.key == SCOPES and (path := innermost_scope(entry.value)):
            return path
    text = node.name or f"{node.op_type}_{next(iter(node.output), '')}"
    parts: list[str] = []
    for part in filter(None, re.sub(r"[^\w./-]+", "_", text).split("/")):
        if parts and part.startswith(parts[-1] + "."):
            parts.pop()
        parts.append(part)
    return ".".join(parts) or node.op_type
