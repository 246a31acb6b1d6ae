"""What a machine is: its processor and the versions of what computes on it."""

from __future__ import annotations

import functools
import importlib.metadata
import os
import platform
from pathlib import Path

import torch


@functools.cache
def processor() -> str:
    """The CPU's name, where the system tells it, and its instructions as torch uses them."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    name = next((line for line in lines if line.startswith("model name")), platform.processor())
    return f"{name}, {os.cpu_count()}, {torch.backends.cpu.get_cpu_capability()}"


@functools.cache
def version_of(package: str) -> str:
    """The version of an installed package; empty if there is none of this name."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:  # a build of another name, such as onnxruntime-openvino
        return ""
