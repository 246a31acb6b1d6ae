"""The verbs that join the layers: what users import."""
