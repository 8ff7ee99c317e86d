"""From a table of cuts to a decision where to cut. `check_forecast` and `check_weight` are public, for planners."""

from midcut.planning.checks import check_forecast, check_weight

__all__ = ["check_forecast", "check_weight"]
