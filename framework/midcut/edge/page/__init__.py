"""The live page of an edge: what it decides, what that costs, and a few things to change."""
