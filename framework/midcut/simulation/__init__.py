"""Policies evaluated on many observations at once, without sockets: predictors pick, a truth set answers."""
