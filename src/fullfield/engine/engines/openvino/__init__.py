"""Runs tiles' programs in OpenVINO."""
