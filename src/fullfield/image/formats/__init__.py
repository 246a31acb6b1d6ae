"""The readers of image files, one module per format; their libraries are imported when they are used."""
