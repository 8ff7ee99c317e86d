"""One model running on the test bed: a cloud process, an edge process, and a client that asks the edge.

with Bed(BedOptions()) as bed, Site(bed, folder, "alexnet") as site:
    site.set(Conditions(clock_mhz=900, bandwidth_kbps=10_000, ping_ms=20))
    site.settle()
    answer = site.infer(cut=13)
"""

from __future__ import annotations

import sys
import time
from dataclasses import asdict, dataclass
from itertools import count
from typing import TYPE_CHECKING, Any

from evaluation.client import Answer, AnswerError, EdgeClient, picture
from evaluation.processes import SiteError, begin, finish, wait_for
from evaluation.profiling import ensure_fit, ensure_profiles
from midcut.profiles import read_profile

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Sequence
    from pathlib import Path
    from typing import Self

    from bed import Bed, Row

    from midcut.profiles import Profile

__all__ = [
    "CLOCKS_MHZ",
    "MAX_CLOCK_MHZ",
    "PAYLOAD_SHARE",
    "Answer",
    "AnswerError",
    "Conditions",
    "Settled",
    "Site",
    "SiteError",
]

MIDCUT = [sys.executable, "-m", "midcut.cli"]
MAX_CLOCK_MHZ = 1500.0
CLOCKS_MHZ = (600.0, 800.0, 1000.0, 1200.0, 1500.0)  # of the edge's profile
CLOUD_PORT, EDGE_PORT = 8700, 8701
FORECAST_S = 60.0
PAYLOAD_SHARE = 1448 / 1514  # of the line's rate that is TCP payload; the rest is headers
# Megabytes over a slow link take over the usual 10 s; the client waits longer still (`client.TIMEOUT_S`).
PATIENCE = "transport.timeout_s=60"
TELEMETRY = (
    "telemetry=[cpufreq,tcp_ping,passive_bandwidth,bandwidth_probe]",
    "telemetry.cpufreq.interval_s=0.1",
    "telemetry.bandwidth_probe.interval_s=5",
    "engine.interval_s=0.25",
)
_numbers = count()


@dataclass(frozen=True)
class Conditions:
    """What the bed is told to be.

    Attributes:
        clock_mhz: the edge's clock; the bed's `max_clock_mhz` is a core at full speed.
        bandwidth_kbps: line rate, packet headers included; TCP carries `PAYLOAD_SHARE` of it.
        ping_ms: the whole round trip.
    """

    clock_mhz: float
    bandwidth_kbps: float
    ping_ms: float


@dataclass(frozen=True)
class Settled:
    """How a change of conditions arrived in the edge's telemetry.

    Attributes:
        seconds, requests: it took.
        seen: every field came within its tolerance; `observation` is the last one looked at.
    """

    seconds: float
    requests: int
    seen: bool
    observation: dict[str, Any]


class Site:
    """A cloud and an edge on a bed, for one model. Use as a context manager.

    Args:
        bed: that is up; whose it is, ends it.
        folder: for logs, run directories and profiles. Profiles that are there already are used.
        model: name of the model component.
        overrides: for `midcut edge`, after the site's own.
        w: the planner's weight.
        max_clock_mhz: what the bed calls full speed of the edge's core.
        clocks_mhz: in the edge's profile.
        repeats: of the profiles.
        seed: of the picture that is posted.
        calibration: of the bed, for `describe`.
    """

    def __init__(
        self,
        bed: Bed,
        folder: Path,
        model: str,
        overrides: Sequence[str] = (),
        *,
        w: float = 0.0,
        max_clock_mhz: float = MAX_CLOCK_MHZ,
        clocks_mhz: Sequence[float] = CLOCKS_MHZ,
        repeats: int = 20,
        seed: int = 0,
        calibration: Sequence[Row] = (),
    ) -> None:
        self.bed, self.folder, self.model = bed, folder.resolve(), model
        self.max_clock_mhz, self.clocks_mhz = max_clock_mhz, tuple(clocks_mhz)
        self.conditions: Conditions | None = None
        self._overrides, self._w, self._repeats = tuple(overrides), w, repeats
        self._image = picture(model, seed)
        self._calibration = tuple(calibration)
        self._number = next(_numbers)
        self._processes: list[subprocess.Popen[str]] = []
        self._client: EdgeClient | None = None

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _start(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.profiles = ensure_profiles(
            self.bed,
            self.folder,
            self.model,
            max_clock_mhz=self.max_clock_mhz,
            clocks_mhz=self.clocks_mhz,
            command=MIDCUT,
            repeats=self._repeats,
        )
        self.bed.clock.set(self.max_clock_mhz)  # starting takes long enough
        self.cloud_url = f"http://{self.bed.cloud.address}:{CLOUD_PORT}"
        cloud = (f"model={self.model}", f"server.host={self.bed.cloud.address}", f"server.port={CLOUD_PORT}")
        self._server(self.bed.cloud, "cloud", cloud)
        edge = (
            *(f"model={self.model}", f"cloud_url={self.cloud_url}", f"planner.w={self._w:g}"),
            *(f"edge_profile={self.profiles}", f"cloud_profile={self.profiles}"),
            *("input=server", "input.host=0.0.0.0", f"input.port={EDGE_PORT}"),
            *(PATIENCE, *TELEMETRY, *self.bed.clock.edge_overrides, *self._overrides),
        )
        self._server(self.bed.edge, "edge", edge)
        self._client = EdgeClient(lambda: self.bed.edge.connect(EDGE_PORT), self._image)

    def _server(self, end: Any, verb: str, overrides: Sequence[str]) -> None:
        run = self.folder / "runs" / f"{verb}-{self.model}-{self._number}"
        self._processes.append(process := begin(end, [*MIDCUT, verb, *overrides, f"hydra.run.dir={run}"], run))
        wait_for(process, " ready on ", f"midcut {verb}", run)

    def close(self) -> None:
        """End the edge, then the cloud; also where starting was cut short."""
        if self._client is not None:
            self._client.close()
        for process in reversed(self._processes):
            finish(process)
        self._processes.clear()

    @property
    def client(self) -> EdgeClient:
        if self._client is None:
            raise SiteError("the site is not started: use it in a `with` block")
        return self._client

    def another_client(self) -> EdgeClient:
        """One more client, with a connection of its own; close it."""
        return EdgeClient(lambda: self.bed.edge.connect(EDGE_PORT), self._image)

    def describe(self) -> dict[str, Any]:
        """The bed as it is, and what it obtained of what it was asked for, where that was tried."""
        tried = {"calibration": [row.told() for row in self._calibration]} if self._calibration else {}
        return self.bed.describe() | tried

    def profile(self, role: str = "edge") -> Profile:
        """What was measured of a side, the edge's scaled to several clocks."""
        return read_profile(self.profiles / f"{role}-{self.model}.json")

    def fit(self) -> Path:
        """A file with the paper's clock law for this model on this bed."""
        return ensure_fit(self.profiles, self.model)

    def infer(self, cut: int | None = None, codec: str | None = None) -> Answer:
        """One request, at the cut in use or at another one.

        Raises:
            AnswerError: it was lost.
        """
        return self.client.infer(cut, codec)

    def decision(self) -> dict[str, Any]:
        """What the edge runs now: `cut`, `observation`, and with `forecast` a row for every placement."""
        found: dict[str, Any] = self.client.call("GET", "/v1/decision")
        return found

    def planned(self, timeout_s: float = FORECAST_S) -> dict[str, Any]:
        """A decision with its `forecast`; waits where the edge has none, as while its cloud is held to be away.

        Raises:
            SiteError: there was none in that time.
        """
        until = time.monotonic() + timeout_s
        while "forecast" not in (decision := self.decision()):
            if time.monotonic() > until:
                raise SiteError(f"the edge had no forecast for {timeout_s:g} s: {decision['reason']}")
            time.sleep(0.25)
        return decision

    def set(self, conditions: Conditions) -> None:
        """Change the clock and the link, as fast as the bed can."""
        self.bed.clock.set(conditions.clock_mhz)
        self.bed.link.set(bandwidth_kbps=conditions.bandwidth_kbps, ping_ms=conditions.ping_ms)
        self.conditions = conditions

    def settle(self, timeout_s: float = 20.0, cut: int | None = 0, tolerance: float = 0.1) -> Settled:
        """Ask until the edge's telemetry shows what was set, or the time is over.

        Args:
            cut: what the requests run at: one that sends enough to tell the bandwidth; None for the cut in use.
            tolerance: relative; a ping may be 2 ms more off, a clock a fifth of it.
        """
        began, requests = time.monotonic(), 0
        while True:
            observation = self.decision()["observation"]
            if self.shows(observation, tolerance):
                return Settled(time.monotonic() - began, requests, seen=True, observation=observation)
            if time.monotonic() - began > timeout_s:
                return Settled(time.monotonic() - began, requests, seen=False, observation=observation)
            if self.infer(cut).wall_s < 0.1:
                time.sleep(0.05)
            requests += 1

    def shows(self, observation: dict[str, Any], tolerance: float = 0.1) -> bool:
        """Whether an observation is of the conditions that were set last."""
        if self.conditions is None:
            raise SiteError("no conditions were set")
        asked = asdict(self.conditions)
        asked["bandwidth_kbps"] *= PAYLOAD_SHARE
        allowed = {
            "clock_mhz": asked["clock_mhz"] * tolerance / 5,
            "bandwidth_kbps": asked["bandwidth_kbps"] * tolerance,
            "ping_ms": asked["ping_ms"] * tolerance + 2.0,
        }
        return all(
            observation[name] is not None and abs(observation[name] - asked[name]) <= allowed[name] for name in asked
        )
