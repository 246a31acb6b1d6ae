"""Warns, which fails the build, about pages that load a script, style sheet, font or picture from a server."""

import re
from pathlib import Path

from sphinx.application import Sphinx
from sphinx.util import logging

SERVER = r"[\"'](?:https?:)?//"
LOADED = re.compile(rf"<(?:script|img|iframe|source)[^>]* src={SERVER}|<link[^>]* href={SERVER}|url\({SERVER}|@import")


def check(app: Sphinx, error: Exception | None) -> None:
    if error is not None or app.builder.format != "html":
        return
    for path in [*Path(app.outdir).rglob("*.html"), *Path(app.outdir).rglob("*.css")]:
        if found := LOADED.search(path.read_text()):
            logging.getLogger(__name__).warning("%s cannot be read offline: %s", path.name, found[0])


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("build-finished", check)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
