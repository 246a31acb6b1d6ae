"""Tiles, frontier, cost in bytes and multiply-adds; imports no torch."""

from fullfield.plan.cost import Cost
from fullfield.plan.plan import CONTEXT, EXACT, Borders, Mode, Plan, Tile, make_plan

__all__ = ["CONTEXT", "EXACT", "Borders", "Cost", "Mode", "Plan", "Tile", "make_plan"]
