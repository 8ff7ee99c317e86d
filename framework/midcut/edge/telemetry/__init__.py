"""What the edge observes of its surroundings."""
