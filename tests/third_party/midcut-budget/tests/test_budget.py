from midcut.testing import PlannerSuite
from midcut_budget.planner import Budget


class TestBudget(PlannerSuite):
    def make(self):
        return Budget(w=0.5, x=1.0)
