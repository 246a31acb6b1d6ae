"""Torch7 networks: reads ``.t7`` files, binary and ASCII."""
