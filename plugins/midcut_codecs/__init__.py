"""Codecs, which turn tensors into bytes for the link: exact, quantised or compressed."""
