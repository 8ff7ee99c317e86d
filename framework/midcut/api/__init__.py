"""midcut from Python. Its names are reached as `midcut.NAME`, which imports what the name needs and no more."""
