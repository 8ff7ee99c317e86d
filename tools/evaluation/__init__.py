"""What `tools/evaluate` measures on the test bed. `harness` runs the processes; the others are experiments."""
