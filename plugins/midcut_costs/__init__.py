"""Cost models: an edge server that is owned, or rented."""
