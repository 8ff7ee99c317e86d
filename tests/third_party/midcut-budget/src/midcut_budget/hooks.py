from dataclasses import dataclass

from midcut import Component, hookimpl


@dataclass
class BudgetConfig:
    w: float = 0.5
    x: float = 1.0


@dataclass
class AboveConfig:
    share: float = 0.1


@hookimpl
def midcut_planners():
    return [Component("budget", BudgetConfig, "midcut_budget.planner.Budget", "cheapest cut within a latency budget")]


@hookimpl
def midcut_tasks():
    return [Component("above", AboveConfig, "midcut_budget.task.Above", "every class with a share of the softmax")]


@hookimpl
def midcut_config_path():
    return "pkg://midcut_budget.conf"
