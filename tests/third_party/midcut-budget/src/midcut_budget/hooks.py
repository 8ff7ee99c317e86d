from dataclasses import dataclass

from midcut import Component, hookimpl


@dataclass
class BudgetConfig:
    w: float = 0.5
    x: float = 1.0


@hookimpl
def midcut_planners():
    return [Component("budget", BudgetConfig, "midcut_budget.planner.Budget", "cheapest cut within a latency budget")]


@hookimpl
def midcut_config_path():
    return "pkg://midcut_budget.conf"
