"""Planners: the paper's Algorithm 1, weighted sum, epsilon constraint, and the knee of the Pareto front."""
