"""Integers only: axes, operators, strips, the cells of a tile. Imports no torch."""

from fullfield.geometry.axis import Axis, Op

__all__ = ["Axis", "Op"]
