"""Predicted against measured latency, and the picks against the best measured cut, over links and clocks."""
