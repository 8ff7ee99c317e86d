"""Corrects the predictors by the measured latency of requests."""
