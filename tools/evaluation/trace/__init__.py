"""A random walk of link and clock: midcut against fixed cuts and an oracle."""
