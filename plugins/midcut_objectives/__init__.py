"""Objectives beside latency and cost: energy, the period of a stream, and what a user of a shared cloud weighs."""
