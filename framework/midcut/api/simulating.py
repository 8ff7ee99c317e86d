"""`midcut simulate` from Python."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from midcut.api.composing import compose
from midcut.errors import ConfigError
from midcut.simulation import run
from midcut.simulation.assembly import assemble

if TYPE_CHECKING:
    from collections.abc import Callable

    from midcut.results.simulation import Simulation

_COLUMNS: Final = (
    "strategy",
    "w",
    "dwell",
    "latency_s",
    "latency_p95_s",
    "cost_usd",
    "latency_regret",
    "objective_regret",
    "dominated",
    "distinct",
    "switches_per_100",
    "unmet",
)


@dataclass(frozen=True)
class SimulationResult:
    """What a simulation found.

    Attributes:
        simulation: all of it, as `simulation.json` has it; `midcut.results.simulation` describes the fields.
    """

    simulation: Simulation

    @property
    def rows(self) -> list[dict[str, Any]]:
        """One row for each strategy and weight: a table for `pandas.DataFrame(result.rows)`."""
        return [
            {name: getattr(series, name) for name in _COLUMNS} | dict(series.objectives)
            for series in self.simulation.series
        ]


def simulate(*overrides: str, progress: Callable[[float], None] = lambda _share: None) -> SimulationResult:
    """Evaluate planners on many samples, as `midcut simulate OVERRIDES` does.

    Args:
        overrides: as on the command line, e.g. `"model=alexnet"`, `"w=0:1:0.1"`, `"strategy=[algorithm1,knee]"`.
        progress: called now and then with the share of the work that is done, 0 to 1.

    Raises:
        MidcutError: an override or a value that is not possible; its text is one line.
    """
    cfg, choices = compose("simulate", overrides)
    if cfg.users:
        raise ConfigError("users= is a game of several edges: it runs as `midcut simulate users=N`")
    with tempfile.TemporaryDirectory(prefix="midcut-simulate-") as folder:
        setup, header = assemble(cfg, choices, Path(folder))
        return SimulationResult(run.simulate(setup, header, progress))
