"""Built-in tasks: what the output of a network means."""
