"""Shapes that every room shares: a pair along y and x, and a rectangle of whole pixels or cells."""

Pair = tuple[int, int]
"""A number along y and one along x."""

Region = tuple[int, int, int, int]
"""A half-open rectangle: top, bottom, left, right."""
