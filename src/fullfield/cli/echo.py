"""Prints to the terminal what files, networks and people call things, without letting it control the terminal."""

from __future__ import annotations

import json
import math
from typing import Any

import click

from fullfield.errors import printable, printable_json


def echo(text: object = "", *, err: bool = False) -> None:
    """Prints a text: controls in it are escaped, words and lines without end are cut."""
    click.echo(printable(str(text)), err=err)


def echo_json(value: Any, *, indent: int | None = None, err: bool = False) -> None:
    """Prints a JSON document; controls in its texts are escaped, as JSON allows."""
    click.echo(printable_json(json.dumps(value, indent=indent, ensure_ascii=False)), err=err)


def print_json(value: Any) -> None:
    """One JSON document on standard output; NaN and infinity become ``null``."""
    echo_json(_finite(value), indent=2)


def json_text(value: Any) -> str:
    """One JSON document for a file; NaN and infinity become ``null``."""
    return json.dumps(_finite(value), indent=2, ensure_ascii=False) + "\n"


def _finite(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {k: _finite(v) for k, v in value.items()}
    return [_finite(v) for v in value] if isinstance(value, (list, tuple)) else value
