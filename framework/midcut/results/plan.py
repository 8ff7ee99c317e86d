"""`plan.json`: one observation, the forecast of every placement, and the pick. `midcut plan` writes it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import UNSET, Struct, UnsetType

from midcut.results.files import read_json, write_json

if TYPE_CHECKING:
    from pathlib import Path

FILE = "plan.json"
PLOT = "plan.png"


class PlanRow(Struct, frozen=True, kw_only=True):
    """One placement and its forecast.

    Attributes:
        cut: nodes that run at the edge.
        codec: what its tensors are sent as; `raw` where nothing is sent.
        latency_s: end to end, seconds: the sum of `edge_s`, `link_s` and `cloud_s`. Null, as its parts are, where a
            predictor gave no finite number.
        cost_usd: of one inference, US dollars; null likewise.
        layer: leaf modules that are finished at the edge.
        request_bytes: sent to the cloud, headers included; 0 where nothing is sent.
        objectives: the further columns that were chosen (`objective=`), by name.
        second_cut, second_codec, relay_s, second_link_s: where a relay stops, and the parts between link and cloud;
            absent on two tiers.
    """

    cut: int
    codec: str
    latency_s: float | None
    cost_usd: float | None
    edge_s: float | None
    link_s: float | None
    cloud_s: float | None
    layer: int
    request_bytes: float
    second_cut: int | UnsetType = UNSET
    second_codec: str | UnsetType = UNSET
    relay_s: float | UnsetType | None = UNSET
    second_link_s: float | UnsetType | None = UNSET
    objectives: dict[str, float | None] = {}


class Pick(Struct, frozen=True, kw_only=True):
    """What was picked, and on what: also what a sweep records as the result of a job.

    Attributes:
        w: the weight, 0 (fast) to 1 (cheap); None where the planner follows none.
        limit: the planner's own limit in words; absent where it has none. `met`: whether the pick keeps it.
        cut, codec, latency_s, cost_usd, edge_s, link_s, cloud_s, layer, request_bytes, objectives: of the picked
            `PlanRow`.
        aim: names of the two columns that the planner weighed.
        usd_per_month: of the pick, at the rate that was asked for; null if none was.
        after: name of the last node at the edge, `input` for cut 0.
        observation: `clock_mhz`, `bandwidth_kbps` and `ping_ms` as observed, None where unknown.
        planning_s: seconds from the observation to the choice.
    """

    model: str
    w: float | None
    limit: str | UnsetType = UNSET
    met: bool | UnsetType = UNSET
    cut: int
    codec: str
    latency_s: float | None
    cost_usd: float | None
    edge_s: float | None
    link_s: float | None
    cloud_s: float | None
    layer: int
    request_bytes: float
    second_cut: int | UnsetType = UNSET
    second_codec: str | UnsetType = UNSET
    relay_s: float | UnsetType | None = UNSET
    second_link_s: float | UnsetType | None = UNSET
    objectives: dict[str, float | None] = {}
    after: str
    observation: dict[str, float | None]
    planning_s: float
    aim: tuple[str, str] = ("latency_s", "cost_usd")
    usd_per_month: float | None = None


class Plan(Pick, frozen=True, kw_only=True):
    """A whole plan.

    Attributes:
        based_on: part of the latency -> where its predictor's numbers come from.
        rows: every placement on offer, in order of the cut.
        cut_errors: cut -> largest difference from PyTorch's output that the edge's executor made there, as a share of
            its largest element, when the profile was measured; empty for PyTorch.
    """

    based_on: dict[str, str]
    rows: tuple[PlanRow, ...]
    cut_errors: dict[int, float] = {}


def write_plan(path: Path, plan: Plan) -> Path:
    """Write a plan, whole or not at all.

    Raises:
        FileError: it cannot be written.
    """
    return write_json(path, plan, "plan")


def read_plan(path: Path) -> Plan:
    """Read a plan.

    Raises:
        FileError: missing, not JSON, or not this format; the message says where.
    """
    return read_json(path, Plan, "plan", "`midcut plan` writes one")
