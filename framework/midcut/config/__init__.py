"""From what plugins offer and users choose to typed settings and plain objects."""
