"""The house's docstrings as napoleon reads them: a blank line before every section, one-line sections in bold."""

import re

from sphinx.application import Sphinx

SECTION = re.compile(r"(Args|Returns|Raises|Examples):$")
ONE_LINE = re.compile(r"(Exact|Shape|Sources?): (.+)$")


def separate(app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]) -> None:
    found: list[str] = []
    for line in lines:
        if short := ONE_LINE.match(line):
            found += ["", f"**{short[1]}:** {short[2]}"]
        elif SECTION.match(line):
            found += ["", line]
        else:
            found.append(line)
    lines[:] = found


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("autodoc-process-docstring", separate, priority=100)  # before napoleon
    return {"parallel_read_safe": True, "parallel_write_safe": True}
