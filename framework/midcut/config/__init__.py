"""Turns the components that plugins offer and users choose into typed settings and plain objects."""
