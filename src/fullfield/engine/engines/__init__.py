"""What runs the programs of tiles: torch."""
