"""Pictures of scores: colour maps, legend, overlay."""
