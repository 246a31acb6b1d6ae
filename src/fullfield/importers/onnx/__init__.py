"""ONNX files in: read with care, mapped operator by operator to ATen."""

from fullfield.importers.onnx.importer import load_onnx

__all__ = ["load_onnx"]
