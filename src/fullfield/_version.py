"""The version, alone in a file so that every layer can read it without importing the package's public names."""

__version__ = "0.1.0"
