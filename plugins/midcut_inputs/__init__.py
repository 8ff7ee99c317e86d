"""Inputs of an edge: cameras, video files and streams. They need the extra `video`."""
