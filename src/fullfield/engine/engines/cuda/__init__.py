"""Runs tiles' programs on GPUs, and copies pixels and scores meanwhile."""
