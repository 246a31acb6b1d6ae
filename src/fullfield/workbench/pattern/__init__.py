"""The pattern language: builds sequential networks from text and describes them as text."""
