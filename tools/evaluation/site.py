"""One model running on the test bed: a cloud process, an edge process, and a client that asks the edge.

with Bed(BedOptions()) as bed, Site(bed, folder, "alexnet", w=0.0) as site:
    site.set(Conditions(clock_mhz=900, bandwidth_kbps=10_000, ping_ms=20))
    site.settle()
    answer = site.infer(cut=13)
"""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass
from itertools import count
from typing import TYPE_CHECKING, Any

from bed.links import PAYLOAD_SHARE
from common.processes import MIDCUT, stop

from evaluation.client import Answer, EdgeClient, noise_image
from evaluation.options import NATIVE
from evaluation.processes import LOG, SiteError, require_ready, start_on
from evaluation.profiling import ensure_fit, ensure_profiles
from midcut.profiles import read_profile

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Sequence
    from pathlib import Path
    from typing import Self

    from bed import Bed
    from bed.hosts import Host

    from midcut.profiles import Profile

CLOCKS_MHZ = (600.0, 800.0, 1000.0, 1200.0, 1500.0)
"""Clocks in the edge's profile: those of a Raspberry Pi 4."""
MIN_CLOCK_MHZ, MAX_CLOCK_MHZ = CLOCKS_MHZ[0], CLOCKS_MHZ[-1]
CLOUD_PORT, EDGE_PORT = 8700, 8701
FORECAST_S = 60.0
READY_S = 600.0
# Megabytes over a slow link take over the usual 10 s; the client waits longer still (`client.TIMEOUT_S`).
TRANSPORT_TIMEOUT = "transport.timeout_s=60"
TELEMETRY = (
    "telemetry=[cpufreq,tcp_ping,passive_bandwidth,bandwidth_probe]",
    "telemetry.cpufreq.interval_s=0.1",
    "telemetry.bandwidth_probe.interval_s=5",
    "engine.interval_s=0.25",
)
_REPEATED = 2  # cuts at which a request also follows a change of conditions
_numbers = count()


@dataclass(frozen=True)
class Conditions:
    """What the bed is set to.

    Attributes:
        clock_mhz: the edge's clock; the bed's `max_clock_mhz` is a core at full speed.
        bandwidth_kbps: line rate, packet headers included; TCP carries `PAYLOAD_SHARE` of it.
        ping_ms: the whole round trip.
    """

    clock_mhz: float
    bandwidth_kbps: float
    ping_ms: float

    def __str__(self) -> str:
        return f"{self.clock_mhz:.0f} MHz, {self.bandwidth_kbps / 1e3:.1f} Mbit/s, {self.ping_ms:.0f} ms"


@dataclass(frozen=True)
class Settled:
    """How a change of conditions arrived in the edge's telemetry.

    Attributes:
        seconds, requests: until it had.
        seen: every field came within its tolerance; `observation` is the last one that was read.
    """

    seconds: float
    requests: int
    seen: bool
    observation: dict[str, Any]


class Site:
    """A cloud and an edge on a bed, for one model. Use as a context manager.

    Args:
        bed: stays up when the site ends.
        folder: for logs, run directories and profiles. Profiles that are there already are used.
        model: name of the model component.
        overrides: for `midcut edge`, after the site's own.
        w: the planner's weight.
        repeats: of the profiles.
        seed: of the image that is posted.
        executor: what runs the network on both sides.
    """

    def __init__(
        self,
        bed: Bed,
        folder: Path,
        model: str,
        overrides: Sequence[str] = (),
        *,
        w: float,
        repeats: int,
        seed: int,
        executor: str = NATIVE,
    ) -> None:
        self.bed, self.folder, self.model = bed, folder.resolve(), model
        self.conditions: Conditions | None = None
        self._overrides, self._w, self._repeats = tuple(overrides), w, repeats
        self._client = EdgeClient(lambda: bed.edge.connect(EDGE_PORT), noise_image(model, seed))
        self._number = next(_numbers)
        self._executor = executor
        self._answered: set[int] = set()
        self._processes: list[subprocess.Popen[str]] = []

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
        bed = self.bed
        self.profiles = ensure_profiles(bed, self.folder, self.model, CLOCKS_MHZ, MIDCUT, self._repeats, self._executor)
        bed.clock.set(bed.clock.max_mhz)  # starting at full speed takes long enough
        cloud = (
            *(f"model={self.model}", f"executor={self._executor}"),
            *(f"server.host={bed.cloud.address}", f"server.port={CLOUD_PORT}"),
        )
        self._start_server(bed.cloud, "cloud", cloud)
        edge = (
            *(f"model={self.model}", f"cloud_url=http://{bed.cloud.address}:{CLOUD_PORT}", f"planner.w={self._w:g}"),
            *(f"edge_profile={self.profiles}", f"cloud_profile={self.profiles}"),
            *("input=server", "input.host=0.0.0.0", f"input.port={EDGE_PORT}"),
            *(TRANSPORT_TIMEOUT, *TELEMETRY, *bed.clock.edge_overrides_for(self._executor), *self._overrides),
        )
        self._start_server(bed.edge, "edge", edge)

    def _start_server(self, host: Host, verb: str, overrides: Sequence[str]) -> None:
        run = self._run_folder(verb)
        self._processes.append(process := start_on(host, [*MIDCUT, verb, *overrides, f"hydra.run.dir={run}"], run))
        require_ready(process, f"midcut {verb}", run)

    def _run_folder(self, verb: str) -> Path:
        return self.folder / "runs" / f"{verb}-{self.model}-{self._number}"

    def close(self) -> None:
        """End the edge, then the cloud; also where starting was cut short."""
        self._client.close()
        for process in reversed(self._processes):
            stop(process)
        self._processes.clear()

    def profile(self) -> Profile:
        """The edge's profile, scaled to several clocks."""
        return read_profile(self.profiles / f"edge-{self.model}.json")

    def fit(self) -> Path:
        """A file with the paper's clock law for this model on this bed."""
        return ensure_fit(self.profiles, self.model)

    def infer(self, cut: int | None = None) -> Answer:
        """One request, at the cut in use or at another one.

        Raises:
            AnswerError: it was lost.
        """
        return self._client.infer(cut)

    def warm_up(self, cuts: Sequence[int]) -> None:
        """Answer requests at cuts where the edge has not answered yet, and wait until both runtimes are ready for them.

        Raises:
            SiteError: that took too long.
        """
        for cut in dict.fromkeys([*(cut for cut in cuts if cut not in self._answered), *cuts[-_REPEATED:]]):
            self.infer(cut)
        self._answered.update(cuts)
        if self._executor == NATIVE:
            return
        last = self.profile().table.last
        inner = [cut for cut in cuts if 0 < cut < last]  # both have the whole model since they began
        heads = {f"cuts='0 to {cut}'" for cut in inner}
        tails = {f"cuts='{cut} to {last}'" for cut in inner}
        until = time.monotonic() + READY_S
        while not (self._logs_ready("edge", heads) and self._logs_ready("cloud", tails)):
            if time.monotonic() > until:
                raise SiteError(f"{self._executor} did not make cuts {list(cuts)} ready in {READY_S:g} s")
            time.sleep(0.25)

    def _logs_ready(self, verb: str, segments: set[str]) -> bool:
        """Whether the log of a server has each of the segments as made ready, or as run in PyTorch."""
        log = (self._run_folder(verb) / LOG).read_text(encoding="utf-8").splitlines()
        ready = [line for line in log if "segment ready" in line or "runs in PyTorch instead" in line]
        return all(any(segment in line for line in ready) for segment in segments)

    def decision(self) -> dict[str, Any]:
        """What the edge runs now: `cut`, `observation`, and with `forecast` a row for every placement."""
        decision: dict[str, Any] = json.loads(self._client.request("GET", "/v1/decision"))
        return decision

    def decision_with_forecast(self, timeout_s: float = FORECAST_S) -> dict[str, Any]:
        """A decision with its `forecast`; waits where the edge has none, as while it takes its cloud for lost.

        Raises:
            SiteError: there was none in that time.
        """
        until = time.monotonic() + timeout_s
        while "forecast" not in (decision := self.decision()):
            if time.monotonic() > until:
                raise SiteError(f"the edge had no forecast for {timeout_s:g} s: {decision['reason']}")
            time.sleep(0.25)
        return decision

    def counter(self, name: str) -> float:
        """A counter of the edge's `/metrics`; 0 where it has counted nothing yet."""
        lines = self._client.request("GET", "/metrics").splitlines()
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith((f"{name} ", f"{name}{{")))

    def set(self, conditions: Conditions) -> None:
        """Change the clock and the link, as fast as the bed can."""
        self.bed.clock.set(conditions.clock_mhz)
        self.bed.link.set(bandwidth_kbps=conditions.bandwidth_kbps, ping_ms=conditions.ping_ms)
        self.conditions = conditions

    def settle(self, timeout_s: float = 20.0, cut: int | None = 0, tolerance: float = 0.1) -> Settled:
        """Send requests until the edge's telemetry shows what was set, or the time is over.

        Args:
            cut: what the requests run at: one that sends enough to measure the bandwidth by; None for the cut in use.
            tolerance: relative; a ping may be 2 ms further off, a clock a fifth of it.
        """
        began, requests = time.monotonic(), 0
        while True:
            observation = self.decision()["observation"]
            seen, seconds = self.shows(observation, tolerance), time.monotonic() - began
            if seen or seconds > timeout_s:
                return Settled(seconds, requests, seen, observation)
            answer = self.infer(cut)
            if answer.ended_s - answer.began_s < 0.1:
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
