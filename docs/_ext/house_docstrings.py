"""Rewrites the house's docstrings for napoleon: a blank line before every section, one-line sections in bold.

Napoleon takes what is before a colon in a property's first line for a type: such a colon is hidden from it.
"""

import re

from sphinx.application import Sphinx

SECTION = re.compile(r"(Args|Returns|Raises|Examples):$")
HIDDEN = "\ue000"  # a private character in place of a colon
ONE_LINE = re.compile(r"(Exact|Shape|Sources?): (.+)$")


def separate(app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]) -> None:
    if what in ("attribute", "data", "property"):
        lines[:1] = [line.replace(": ", f"{HIDDEN} ") for line in lines[:1]]
    found: list[str] = []
    for line in lines:
        if short := ONE_LINE.match(line):
            found += ["", f"**{short[1]}:** {short[2]}"]
        elif SECTION.match(line):
            found += ["", line]
        else:
            found.append(line)
    lines[:] = found


def reveal(app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]) -> None:
    lines[:] = [line.replace(HIDDEN, ":") for line in lines]


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("autodoc-process-docstring", separate, priority=100)  # before napoleon
    app.connect("autodoc-process-docstring", reveal, priority=900)  # after it
    return {"parallel_read_safe": True, "parallel_write_safe": True}
