"""Packages of extras: imported, or one error that names the extra; Ctrl-C stays Ctrl-C."""

import importlib
import json
import sys

import pytest

from fullfield.errors import ImageError, UnsupportedError
from fullfield.packages import check_installed, import_packages


def test_modules_are_returned_in_their_order() -> None:
    assert import_packages("json", "sys", extra="geo", where="a.tif") == (json, sys)


@pytest.mark.parametrize("names", [("absent_package.part",), ("json", "absent_package.part")])
def test_a_missing_package_is_an_error_that_names_the_extra(names: tuple[str, ...]) -> None:
    with pytest.raises(ImageError, match=f"^a.tif: needs the package {names[0].split('.')[0]}") as caught:
        import_packages(*names, extra="geo", where="a.tif")
    assert caught.value.fix == "pip install 'fullfield[geo]'"
    with pytest.raises(UnsupportedError, match="is written by another"):
        import_packages(*names, extra="geo", where="a.tif", what="is written by another", kind=UnsupportedError)


def test_an_interrupted_import_stays_an_interrupt(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(name: str) -> None:
        raise ImportError(name) from KeyboardInterrupt()

    monkeypatch.setattr(importlib, "import_module", interrupted)
    with pytest.raises(KeyboardInterrupt):
        import_packages("json", extra="geo", where="a.tif")


@pytest.mark.parametrize(
    "error", [ImportError("built for another version"), OSError("libz.so"), ModuleNotFoundError("none", name="other")]
)
def test_a_package_that_cannot_be_imported_is_named_with_the_reason(
    monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def failing(name: str) -> None:
        raise error

    monkeypatch.setattr(importlib, "import_module", failing)
    says = rf"^a.tif: needs the package json, which cannot be imported \({error}\)"
    with pytest.raises(ImageError, match=says) as caught:
        import_packages("json.decoder", extra="geo", where="a.tif", what="is read with json")
    assert caught.value.fix == "pip install --upgrade 'fullfield[geo]'"


def test_whether_a_package_is_installed_is_checked_without_importing_it() -> None:
    check_installed("json", extra="geo", where="a.tif")
    with pytest.raises(UnsupportedError, match=r"^a.tif: needs the package absent_package") as caught:
        check_installed("absent_package", extra="geo", where="a.tif", kind=UnsupportedError)
    assert caught.value.fix == "pip install 'fullfield[geo]'"
    with pytest.raises(ImageError, match=r"^a.tif: is written by another"):
        check_installed("absent_package", extra="geo", where="a.tif", what="is written by another")
