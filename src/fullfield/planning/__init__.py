"""Tiles, frontier, cost in bytes and multiply-adds; imports no torch."""

from fullfield.planning.choose import make_plan
from fullfield.planning.cost import Cost
from fullfield.planning.cost_cache import CostCache
from fullfield.planning.plan import CONTEXT, EXACT, Borders, Method, Mode, Plan, Tile

__all__ = ["CONTEXT", "EXACT", "Borders", "Cost", "CostCache", "Method", "Mode", "Plan", "Tile", "make_plan"]
