"""Transports: send a payload to the cloud and return its output."""
