"""The shape of what goes into and comes out of a layer, without the batch."""

Volume = tuple[int, ...]
"""Channels, cells along y and x; or the length of a vector."""
