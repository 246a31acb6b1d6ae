"""Measurements, each a command; torch takes memory in huge pages, as it does for the command line."""

import os

from fullfield.cli import HUGE_PAGES

os.environ.setdefault(HUGE_PAGES, "1")
