"""Receptive field, borders, fit, parameters and multiply-adds at every node; never modifies a graph."""
