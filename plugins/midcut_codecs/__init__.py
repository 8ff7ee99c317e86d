"""Codecs: tensors as bytes for the link, exact, rounded or packed."""
