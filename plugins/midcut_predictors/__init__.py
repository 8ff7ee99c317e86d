"""Latency predictors: the paper's Equations 1 to 3, and predictors from profiles measured node by node."""
