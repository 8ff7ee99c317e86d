"""Transports: how a payload gets to the cloud and its output back."""
