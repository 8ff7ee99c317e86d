"""Latency predictors: the paper's Equations 1 to 3, and profiles measured node by node."""
