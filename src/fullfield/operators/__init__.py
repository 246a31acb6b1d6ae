"""What each operator means: one record an operator."""
