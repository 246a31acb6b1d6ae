"""Tiles, frontier, cost in bytes and multiply-adds; imports no torch."""

from fullfield.plan.choose import make_plan
from fullfield.plan.cost import Cost
from fullfield.plan.plan import CONTEXT, EXACT, Borders, Method, Mode, Plan, Tile
from fullfield.plan.prices import Prices

__all__ = ["CONTEXT", "EXACT", "Borders", "Cost", "Method", "Mode", "Plan", "Prices", "Tile", "make_plan"]
