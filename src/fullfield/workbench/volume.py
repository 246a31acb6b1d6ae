"""``Volume``, the input or output shape of a layer without the batch."""

Volume = tuple[int, ...]
"""Channels, cells along y and x; or the length of a vector."""
