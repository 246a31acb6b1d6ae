"""Readers of image files, one format a file: each gives a ``Raster``. Their libraries are imported when used."""
