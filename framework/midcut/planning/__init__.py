"""From a cut table to a decision. The checks that every planner shares are public."""

from midcut.planning.checks import check_forecast, check_weight

__all__ = ["check_forecast", "check_weight"]
