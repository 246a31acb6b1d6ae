"""Classifiers into fully convolutional networks, one rewrite a rule; what refuses says why."""
