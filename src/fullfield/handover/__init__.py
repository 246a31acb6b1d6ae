"""Score maps as objects of xarray, dask, pandas and geopandas; each is imported when it is needed."""
