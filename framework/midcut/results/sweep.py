"""`sweep.jsonl`: a line per job of a multirun."""

FILE = "sweep.jsonl"
