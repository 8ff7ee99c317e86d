"""Choosing a cloud, comparing its models with the edge's, and circuit breakers for clouds that fail."""
