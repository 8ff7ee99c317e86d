"""Objectives beside latency and cost: energy, and the period of a stream of requests."""
