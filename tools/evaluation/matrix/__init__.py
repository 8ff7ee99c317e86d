"""Predicted against measured latency, and picks against the best measured cut, over links and clocks."""
