"""Writes parts of programs as graphs of an engine: one table of ATen operators, in the primitives of all engines."""
