"""Reading a graph: the arguments, names and shapes of its nodes."""
