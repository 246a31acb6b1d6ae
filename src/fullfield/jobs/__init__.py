"""A request becomes a prepared model, a source and a plan, and is run."""
