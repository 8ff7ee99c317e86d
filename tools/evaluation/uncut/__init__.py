"""The cut that is picked, against the whole model at the edge and the whole model in the cloud."""
