"""Telemetry of the edge: clock, bandwidth and ping, merged from several sources."""
