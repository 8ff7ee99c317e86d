"""A planner for midcut: the cheapest cut within a latency budget that the weight sets."""
