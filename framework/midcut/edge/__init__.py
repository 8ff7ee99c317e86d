"""The edge server: runs the head, plans, sends the rest to a cloud, and finishes by itself where no cloud does."""
