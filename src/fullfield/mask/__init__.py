"""Where to look: which cells of a score map are wanted."""
