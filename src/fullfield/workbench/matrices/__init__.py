"""Layers as matrices: how each reads its input, as a SciPy sparse array; CONV as FC and FC as CONV."""
