"""An edge that gets slower without its telemetry showing it, with and without live calibration."""
