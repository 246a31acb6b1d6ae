"""Runs tiles' programs in ONNX Runtime."""
