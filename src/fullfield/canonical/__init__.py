"""Rewrites networks into fully convolutional form, one rule an operator; a refused rewrite states its reason."""
