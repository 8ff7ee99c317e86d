from midcut_budget.planner import Budget

from midcut.testing import PlannerSuite


class TestBudget(PlannerSuite):
    def make(self):
        return Budget(w=0.5, x=1.0)
