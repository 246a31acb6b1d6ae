"""Images in, scores out: the engine's sources and sinks, files and pictures. Imports no torch."""
