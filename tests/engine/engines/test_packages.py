"""Packages of engines: what is missing is named with its extra, an interruption stays one."""

from __future__ import annotations

import importlib
import sys

import pytest

from fullfield.engine.engines.packages import import_engine
from fullfield.errors import UnsupportedError


def test_a_package_that_is_not_installed_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(UnsupportedError, match=r"fullfield\[openvino\]"):
        import_engine("openvino")


def test_an_interruption_during_an_import_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(name: str) -> None:
        raise ImportError("initialization failed") from KeyboardInterrupt()  # as extension modules do

    monkeypatch.setattr(importlib, "import_module", interrupted)
    with pytest.raises(KeyboardInterrupt):
        import_engine("openvino")
