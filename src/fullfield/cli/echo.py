"""Prints to the terminal what files, networks and people call things, without letting it control the terminal."""

from __future__ import annotations

import json
from typing import Any

import click

from fullfield.errors import printable, printable_json


def echo(text: object = "", *, err: bool = False) -> None:
    """Prints a text: controls in it are escaped, words and lines without end are cut."""
    click.echo(printable(str(text)), err=err)


def echo_json(value: Any, *, indent: int | None = None, err: bool = False) -> None:
    """Prints a JSON document; controls in its texts are escaped, as JSON allows."""
    click.echo(printable_json(json.dumps(value, indent=indent, ensure_ascii=False)), err=err)
