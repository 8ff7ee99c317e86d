"""Planners: the paper's Algorithm 1, a weighted sum, a limit on one objective, and the knee of the front."""
