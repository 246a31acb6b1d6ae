"""Sphinx: MyST pages, the furo theme, a warning is an error (`make docs`)."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "_ext"))

from fullfield import __version__

project = "fullfield"
author = "The fullfield authors"
copyright = author
release = version = __version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "command_help",
    "house_docstrings",
    "mathml",
    "offline",
]
exclude_patterns = ["_build", "_ext"]
html_theme = "furo"
html_title = f"fullfield {release}"
html_math_renderer = "mathml"
html_static_path = ["_static"]
html_css_files = ["house.css"]

myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3

# The pages say `fullfield.scan`; readers do not need the file that defines it.
add_module_names = False
autodoc_typehints = "signature"
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
napoleon_numpy_docstring = False
