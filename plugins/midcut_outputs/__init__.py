"""Outputs of an edge: where results go, besides the answer or the file of a stream."""
