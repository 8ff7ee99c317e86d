"""Cost models for an edge server that is owned or rented."""
