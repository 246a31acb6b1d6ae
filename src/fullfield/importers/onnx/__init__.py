"""Reads ONNX files and maps them, operator by operator, to ATen."""

from fullfield.importers.onnx.importer import load_onnx

__all__ = ["load_onnx"]
