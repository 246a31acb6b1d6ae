"""Imports OpenVINO, with its telemetry off."""

from __future__ import annotations

import functools
import importlib
import sys
from typing import Any

from fullfield.engine.engines.packages import import_engine

_TELEMETRY = "openvino_telemetry"


@functools.cache
def openvino() -> Any:
    """The package. Its converter, which it imports with it, would report each import over the network.

    It takes a stub that sends nothing where the telemetry package cannot be imported, so that is hidden meanwhile.

    Raises:
        UnsupportedError: it is not installed, or does not import.
    """
    hidden = _TELEMETRY not in sys.modules
    if hidden:
        sys.modules[_TELEMETRY] = None  # type: ignore[assignment]
    try:
        return import_engine("openvino")
    finally:
        if hidden:
            del sys.modules[_TELEMETRY]


@functools.cache
def core() -> Any:
    """What compiles programs; one for the process."""
    return openvino().Core()


@functools.cache
def cpu_facts() -> list[Any]:
    """The CPU's name, and the list of what it can compute."""
    return [core().get_property("CPU", name) for name in ("FULL_DEVICE_NAME", "OPTIMIZATION_CAPABILITIES")]


@functools.cache
def operators() -> Any:
    """OpenVINO's operators."""
    openvino()
    return importlib.import_module("openvino.opset14")
