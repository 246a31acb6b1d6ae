"""Torch7 networks: ``.t7`` files, binary and ASCII."""
