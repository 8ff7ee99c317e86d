"""The paper's Figure 6 (Luger, Aral, Brandic 2023, section 4.2) measured on the test bed instead of simulated."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, cast

from omegaconf import OmegaConf

from evaluation.beds import opened, settle
from evaluation.figure6 import report as ratios
from evaluation.policies import Offline, forecast_of, observed, picks
from evaluation.rows import Rows, say
from evaluation.site import Conditions
from midcut.config.composition import compose
from midcut.config.settings import CutSettings
from midcut.results.evaluation import write_evaluation
from midcut.simulation.scenario import make_samples

if TYPE_CHECKING:
    from pathlib import Path

    from evaluation.options import Options
    from evaluation.site import Site
    from midcut.config.settings import ScenarioDrawn
    from midcut.planning.policy import Policy
    from midcut.simulation.scenario import Samples

MODEL: Final = "alexnet"
FIRST_CUT: Final = 1
"""As in `conf/experiment/figure6.yaml`: the published ratios cannot come about where the raw input may be sent."""
RUNS: Final = 3
QUICK_SAMPLES: Final = 2


def run(options: Options) -> Path:
    """Twenty samples of link and clock; at each, what both policies pick at w = 0, 0.5 and 1, measured three times."""
    folder = options.out / "figure6"
    samples = drawn(QUICK_SAMPLES if options.quick else None)
    model = options.models[0] if options.quick else MODEL
    described: dict[str, Any] = {}
    with Rows(folder) as rows:
        try:
            with opened(options, model, (f"cuts.first_cut={FIRST_CUT}",), w=0.5) as site:
                described = site.describe()
                offline = Offline.of(site)
                paper = offline.policy(
                    CutSettings(modules=True, first_cut=FIRST_CUT),
                    "policy=paper",
                    f"predictor.edge.fit={offline.fit}",
                    "predictor.link.all_edge_pays_link=false",
                )
                for number in range(len(samples)):
                    _sample(site, options, offline, paper, number, _conditions(samples, number), rows)
        finally:
            if any("cut" in row for row in rows.all):
                write_evaluation(folder, ratios.evaluation(rows.all, described, len(samples)))
    return folder


def drawn(count: int | None = None) -> Samples:
    """Link and clock as `midcut simulate experiment=figure6` draws them."""
    config = compose("simulate", ["experiment=figure6"])
    scenario = cast("ScenarioDrawn", OmegaConf.to_object(config.scenario))
    samples = make_samples(scenario)
    return (
        samples if count is None else type(samples)({name: values[:count] for name, values in samples.fields.items()})
    )


def _conditions(samples: Samples, number: int) -> Conditions:
    return Conditions(**{name: float(values[number]) for name, values in samples.fields.items()})


def _sample(
    site: Site, options: Options, offline: Offline, paper: Policy, number: int, conditions: Conditions, rows: Rows
) -> None:
    site.set(conditions)
    settled = settle(site, options)
    observation = observed(settled.observation)
    own = forecast_of(site.planned()["forecast"], offline.table)
    picked = {
        "default": picks(paper, own, ratios.WEIGHTS),
        "paper": picks(paper, paper.forecast(observation), ratios.WEIGHTS),
    }
    cuts = sorted({cut for chosen in picked.values() for cut in chosen.values()})
    rows.add(
        kind="picks",
        sample=number,
        asked=vars(conditions),
        observation=settled.observation,
        seen=settled.seen,
        picks={policy: {f"{w:g}": cut for w, cut in chosen.items()} for policy, chosen in picked.items()},
    )
    told = f"{conditions.clock_mhz:.0f} MHz, {conditions.bandwidth_kbps / 1e3:g} Mbit/s"
    say(f"figure6, sample {number + 1}: {told}: cuts {', '.join(map(str, cuts))}")
    for turn in range(1 if options.quick else RUNS):
        for cut in cuts if turn % 2 == 0 else cuts[::-1]:
            rows.ask(site, cut, kind="forced", sample=number, run=turn)
