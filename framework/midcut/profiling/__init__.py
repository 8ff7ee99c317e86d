"""Measuring a model on this machine, and fitting a clock law to what was measured."""
