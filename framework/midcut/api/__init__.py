"""midcut from Python: cut a model, run both halves, plan. `midcut.cut` is the same function."""

from midcut.api.cutting import CutModel, Plan, cut

__all__ = ["CutModel", "Plan", "cut"]
