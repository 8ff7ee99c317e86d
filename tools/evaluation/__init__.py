"""What `tools/evaluate` measures on the test bed. A folder is an experiment: `measure` runs it, `report` evaluates it.

The modules beside the folders are shared: `site` runs the processes, `beds` makes the bed below them.
"""
