"""Weights of the training libraries, with or without their configuration, to a ``Model``."""
