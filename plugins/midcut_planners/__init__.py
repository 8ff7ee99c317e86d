"""Planners: the paper's Algorithm 1, and a weighted sum."""
