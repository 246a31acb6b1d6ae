"""The pattern language: sequential networks written as everyone draws them on the board, read, built and printed."""
