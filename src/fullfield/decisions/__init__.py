"""Turns score maps into answers for an image or its regions; writes nothing."""
