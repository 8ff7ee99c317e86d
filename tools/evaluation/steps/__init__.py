"""How soon a step of bandwidth or clock is followed."""
