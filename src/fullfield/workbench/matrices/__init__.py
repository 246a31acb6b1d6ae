"""Layers as SciPy sparse matrices; convolutions as fully connected layers and back."""
