"""Built-in telemetry sources: clock, ping, bandwidth, constants and replay."""
