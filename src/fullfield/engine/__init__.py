"""Runs a plan tile by tile."""
