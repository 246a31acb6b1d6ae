"""Network and tile into one static tensor program."""
