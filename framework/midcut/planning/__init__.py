"""From a table of cuts to a decision where to cut.

Public, for planners, predictors and objectives: the checks of a forecast, of a weight, and of an observation's fields.
"""

from midcut.planning.checks import check_forecast, check_weight
from midcut.planning.fields import OUTAGE_KBPS, bandwidth_field, non_negative_field, positive_field

__all__ = [
    "OUTAGE_KBPS",
    "bandwidth_field",
    "check_forecast",
    "check_weight",
    "non_negative_field",
    "positive_field",
]
