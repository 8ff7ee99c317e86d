"""How soon midcut follows a step of bandwidth or clock."""
