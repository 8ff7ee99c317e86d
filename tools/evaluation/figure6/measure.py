"""Plays the samples of the paper's Figure 6 on the test bed and measures what both policies pick."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final, cast

from omegaconf import OmegaConf

from evaluation.beds import open_site, settle
from evaluation.figure6.report import WEIGHTS, evaluation
from evaluation.policies import OfflinePolicies, forecast_of, observation_of, picks
from evaluation.rows import Rows, print_progress
from evaluation.site import Conditions
from midcut.config.composition import compose
from midcut.config.settings import CutSettings
from midcut.simulation.scenario import make_samples

if TYPE_CHECKING:
    from evaluation.options import Options
    from evaluation.site import Site
    from midcut.config.settings import ScenarioDrawn
    from midcut.planning.policy import Policy

MODEL: Final = "alexnet"
FIRST_CUT: Final = 1
"""As in `conf/experiment/figure6.yaml`: the published ratios cannot come about where the raw input may be sent."""
RUNS: Final = 3
QUICK_SAMPLES: Final = 2


def run(options: Options) -> None:
    """Twenty samples of link and clock; at each, what both policies pick at w = 0, 0.5 and 1, measured three times."""
    samples = figure6_conditions()[: QUICK_SAMPLES if options.quick else None]
    model = options.models[0] if options.quick else MODEL
    with (
        Rows(options.out / "figure6" / "rows.jsonl", partial(evaluation, samples=len(samples))) as rows,
        open_site(options, model, (f"cuts.first_cut={FIRST_CUT}",), w=0.5) as (site, rows.bed),
    ):
        offline = OfflinePolicies.of(site)
        paper = offline.policy(
            CutSettings(modules=True, first_cut=FIRST_CUT),
            "policy=paper",
            f"predictor.edge.fit={offline.fit}",
            "predictor.link.all_edge_pays_link=false",
        )
        for number, conditions in enumerate(samples):
            _measure_sample(site, options, offline, paper, number, conditions, rows)


def figure6_conditions() -> list[Conditions]:
    """Link and clock as `midcut simulate experiment=figure6` draws them."""
    config = compose("simulate", ["experiment=figure6"])
    fields = make_samples(cast("ScenarioDrawn", OmegaConf.to_object(config.scenario))).fields
    columns = {name: values.tolist() for name, values in fields.items()}
    return [Conditions(**dict(zip(columns, row, strict=True))) for row in zip(*columns.values(), strict=True)]


def _measure_sample(
    site: Site,
    options: Options,
    offline: OfflinePolicies,
    paper: Policy,
    number: int,
    conditions: Conditions,
    rows: Rows,
) -> None:
    site.set(conditions)
    settled = settle(site, options)
    live = forecast_of(site.decision_with_forecast()["forecast"], offline.table)
    picked = {
        "default": picks(paper, live, WEIGHTS),
        "paper": picks(paper, paper.forecast(observation_of(settled.observation)), WEIGHTS),
    }
    cuts = sorted({cut for by_weight in picked.values() for cut in by_weight.values()})
    rows.add(
        kind="picks",
        sample=number,
        asked=vars(conditions),
        observation=settled.observation,
        seen=settled.seen,
        picks={policy: {f"{w:g}": cut for w, cut in by_weight.items()} for policy, by_weight in picked.items()},
    )
    print_progress(f"figure6, sample {number + 1}: {conditions}: cuts {', '.join(map(str, cuts))}")
    for turn in range(1 if options.quick else RUNS):
        for cut in cuts if turn % 2 == 0 else cuts[::-1]:
            rows.ask(site, cut, kind="forced", sample=number, run=turn)
