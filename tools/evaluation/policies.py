"""Policies applied to an observation without a running edge: their forecasts and picks."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from bed.links import PAYLOAD_SHARE

from midcut.config.composition import compose
from midcut.config.settings import CutSettings
from midcut.planning.assembly import build_codecs, build_policy
from midcut.planning.cuts import legal_cuts
from midcut.planning.placements import placements
from midcut.types import Forecast, Observation

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from evaluation.site import Conditions, Site
    from midcut.planning.policy import Policy
    from midcut.types import CutTable

FIELDS = ("clock_mhz", "bandwidth_kbps", "ping_ms")


@dataclass(frozen=True)
class OfflinePolicies:
    """The default policy and the paper's, on the profiles of a bed.

    Both with Algorithm 1 and the rented edge, on uncompressed payloads. The paper's has Equations 1 to 3 as printed
    and a cut after each module (Luger, Aral, Brandic 2023, section 3).

    Attributes:
        model: name of the component.
        table: its cuts.
        profiles: folder with the profiles of both sides.
        fit: file of the clock law fitted to the edge's.
    """

    model: str
    table: CutTable
    profiles: Path
    fit: Path

    @classmethod
    def of(cls, site: Site) -> OfflinePolicies:
        """The policies on the profiles of a site."""
        return cls(site.model, site.profile().table, site.profiles, site.fit())

    @cached_property
    def default(self) -> Policy:
        """The default policy; it forecasts without calibration."""
        return self.policy(CutSettings(), "policy=default")

    @cached_property
    def paper(self) -> Policy:
        """The paper's policy."""
        return self.policy(CutSettings(modules=True), "policy=paper", f"predictor.edge.fit={self.fit}")

    def policy(self, cuts: CutSettings, *overrides: str) -> Policy:
        """A policy on these cuts, as `midcut plan` with these overrides builds it."""
        folders = (f"edge_profile={self.profiles}", f"cloud_profile={self.profiles}")
        config = compose("plan", [f"model={self.model}", *overrides, *folders])
        return build_policy(config, placements(self.table, legal_cuts(self.table, cuts), build_codecs(config)))


def observation_of(fields: Mapping[str, Any]) -> Observation:
    """An observation out of the JSON of `GET /v1/decision`."""
    return Observation(**{name: fields[name] for name in FIELDS})


def true_observation(conditions: Conditions, slowdown: float = 1.0) -> Observation:
    """What exact telemetry would show, if it also knew how many times a throttle slows the edge down."""
    return Observation(
        clock_mhz=conditions.clock_mhz / slowdown,
        bandwidth_kbps=conditions.bandwidth_kbps * PAYLOAD_SHARE,
        ping_ms=conditions.ping_ms,
    )


def rows_by_cut(forecast: Forecast) -> dict[int, dict[str, Any]]:
    """Cut -> predicted parts, latency and cost."""
    return {row["cut"]: row for row in map(forecast.row, range(len(forecast)))}


def forecast_of(rows: Sequence[Mapping[str, Any]], table: CutTable) -> Forecast:
    """The forecast out of the JSON rows of `GET /v1/decision`; of uncompressed payloads only."""
    edge_s, link_s, cloud_s, cost_usd = (
        np.array([row[name] for row in rows]) for name in ("edge_s", "link_s", "cloud_s", "cost_usd")
    )
    return Forecast(placements(table, [row["cut"] for row in rows]), edge_s, link_s, cloud_s, cost_usd)


def picks(policy: Policy, forecast: Forecast, weights: Sequence[float]) -> dict[float, int]:
    """Weight -> the cut that the policy's planner picks."""
    chosen = {w: int(policy.planner.choose(forecast, float(w))) for w in weights}
    return {w: int(forecast.placements.cut[index]) for w, index in chosen.items()}
