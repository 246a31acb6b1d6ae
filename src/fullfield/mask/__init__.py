"""Selects the cells of a score map to compute: by region, mask, background and nodata."""
