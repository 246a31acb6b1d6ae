"""Benchmarks, one command each. torch uses huge pages, as for the command line."""

import os

from fullfield.cli import HUGE_PAGES

os.environ.setdefault(HUGE_PAGES, "1")
