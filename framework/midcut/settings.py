"""The core's own knobs, typed. Plugins bring theirs with their components."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from omegaconf import MISSING

from midcut.terms import Role


class Capture(Enum):
    """How a graph is made."""

    fx = "fx"
    export = "export"


class Fallback(Enum):
    """What to run when an observation is incomplete."""

    edge = "edge"
    cloud = "cloud"
    hold = "hold"


@dataclass
class CutSettings:
    """How the model is captured and which of its cuts are on offer.

    Attributes:
        capture: the tracer; the other one is tried where it fails.
        verify: compare every cut with the whole model once, at load.
        single_tensor: offer only cuts that one tensor crosses.
        modules: offer one cut per leaf module (the paper's counting), beside cut 0.
        first_cut, last_cut: bounds, inclusive; negative counts from the end, null is none.
        keep_on_edge: names of nodes or modules that must run at the edge.
        keep_in_cloud: names of nodes or modules that must run in the cloud.
    """

    capture: Capture = Capture.fx
    verify: bool = True
    single_tensor: bool = False
    modules: bool = False
    first_cut: int | None = None
    last_cut: int | None = None
    keep_on_edge: list[str] = field(default_factory=list)
    keep_in_cloud: list[str] = field(default_factory=list)


@dataclass
class EngineSettings:
    """The edge's planning loop and execution.

    Attributes:
        interval_s: seconds between two planning steps.
        threads: torch's intra-op threads; equal counts on both sides keep results bit-identical.
        dwell: planning steps a cut is kept at least; 0 follows the planner at once.
        max_age_s: a telemetry value older than this is missing.
        fallback: what runs while a needed telemetry value is missing.
        breaker_failures: after so many failures in a row, or one that took longer than retry_after_s, the cloud is
            left alone, and planning is for the edge alone where it may be.
        retry_after_s: for how long, or for four times the time the failed try took where that is more; then one
            request tries it again. 0 tries every time.
        deadline_s: a request is answered after this long; the edge finishes it by itself when the time left only
            just suffices for that. null waits for the cloud as long as the transport does.
    """

    interval_s: float = 1.0
    threads: int = 1
    dwell: int = 0
    max_age_s: float = 30.0
    fallback: Fallback = Fallback.edge
    breaker_failures: int = 3
    retry_after_s: float = 1.0
    deadline_s: float | None = None


@dataclass
class ServerSettings:
    """Where an HTTP server listens and what it takes.

    Attributes:
        host, port: address; port 0 lets the system choose (it is printed).
        body_timeout_s: a request body must be complete after this long.
        idle_timeout_s: a connection without a complete request head is closed after this long.
        leave_s: after SIGTERM, how long work is still taken while readiness already says 503, so that balancers notice.
        drain_s: after that, how long requests in flight may take to finish.
        token_env, token_file: environment variable or file with the bearer token that requests must bring; null asks
            for none. Health needs no token.
        tls_cert, tls_key: files with certificate and key, PEM; null is plain HTTP.
        tls_client_ca: file with the CA whose certificates clients must show (mutual TLS); null asks for none.
    """

    host: str = "127.0.0.1"
    port: int = 8700
    body_timeout_s: float = 30.0
    idle_timeout_s: float = 75.0
    leave_s: float = 0.0
    drain_s: float = 10.0
    token_env: str | None = None
    token_file: str | None = None
    tls_cert: str | None = None
    tls_key: str | None = None
    tls_client_ca: str | None = None


@dataclass
class CloudSettings:
    """How tails are computed.

    Attributes:
        threads: torch's intra-op threads; equal counts on both sides keep results bit-identical.
        workers: tails computed at once.
        max_batch: largest batch in one request; the body limit grows with it.
        queue: inferences taken in beyond those being computed; more are told to come back (503, Retry-After).
        batch_requests: requests of one model, cut and shape computed together, at most; 1 computes one by one, which
            alone is bit-identical.
        batch_delay_s: how long a free worker waits for more of them; 0 takes what is there.
        device: where tails run: cpu, cuda, cuda:1. Away from the CPU they are not bit-identical to the edge's.
    """

    threads: int = 1
    workers: int = 1
    max_batch: int = 1
    queue: int = 32
    batch_requests: int = 1
    batch_delay_s: float = 0.0
    device: str = "cpu"


@dataclass
class PlanConfig:
    """`midcut plan`.

    Attributes:
        model, telemetry, predictor, cost, planner, codec: the chosen components and their knobs.
        cuts: which cuts are on offer.
        accuracy_floor: share of inputs whose class must stay what it was: codecs of less agreement, or an unknown one,
            are left out; null leaves out none.
        edge_profile, cloud_profile: measured seconds, for the predictors that use them: a profile file, a folder of
            profiles, or a shipped device. The model's cut list is the edge profile's.
        cloud_url: the cloud that probing telemetry sources reach.
        wait_s: how long the telemetry sources may take to answer.
        max_age_s: a telemetry value older than this is missing.
        plot: also draw `plan.png`.
        objectives: numbers of the result, by name, that a sweeper like Optuna searches by: `[latency_s,cost_usd]`.
    """

    model: Any = field(default_factory=dict)
    telemetry: Any = field(default_factory=dict)
    predictor: Any = MISSING
    cost: Any = MISSING
    planner: Any = MISSING
    codec: Any = field(default_factory=dict)
    cuts: CutSettings = field(default_factory=CutSettings)
    accuracy_floor: float | None = None
    edge_profile: str = "pi4"
    cloud_profile: str = "cloud"
    cloud_url: str = "http://127.0.0.1:8700"
    wait_s: float = 10.0
    max_age_s: float = 30.0
    plot: bool = False
    objectives: list[str] = field(default_factory=list)


class InputKind(Enum):
    """What feeds an edge."""

    server = "server"
    folder = "folder"


@dataclass
class InputServer(ServerSettings):
    """`midcut edge input=server`: requests come by HTTP, an image or a tensor each.

    Attributes:
        kind: goes with input=NAME.
        max_body_mb: largest request body, MB; at least what the model's own input takes.
        max_pixels: an image of more pixels is refused before it is decoded.
    """

    kind: InputKind = InputKind.server
    port: int = 8701
    max_body_mb: float = 32.0
    max_pixels: int = 50_000_000


@dataclass
class InputFolder:
    """`midcut edge input=folder`: images of a folder, in order of their names.

    Attributes:
        kind: goes with input=NAME.
        path: the folder.
        pattern: which files, as a glob; `**/*` goes into subfolders. By default all images of the folder.
        repeat: how often the folder is gone through.
        limit: stop after that many images; null is all.
        rate_hz: images per second; null is as fast as they are answered.
        labels: CSV file with the header `file,label` (class number or label text), to count right answers.
        plot: draw `stream.png` at the end: telemetry, cut, latency and cost over time.
    """

    kind: InputKind = InputKind.folder
    path: str = MISSING
    pattern: str | None = None
    repeat: int = 1
    limit: int | None = None
    rate_hz: float | None = None
    labels: str | None = None
    plot: bool = True


@dataclass
class CloudConfig:
    """`midcut cloud`.

    Attributes:
        model, executor: the models to serve, and what runs their tails.
        codec: the codecs that requests may use; bare bytes and the paper's base64 they always may.
        cuts: which cuts are on offer; the edge must capture likewise.
        server: where to listen.
        cloud: how tails are computed.
    """

    model: Any = field(default_factory=dict)
    executor: Any = MISSING
    codec: Any = field(default_factory=dict)
    cuts: CutSettings = field(default_factory=CutSettings)
    server: ServerSettings = field(default_factory=ServerSettings)
    cloud: CloudSettings = field(default_factory=CloudSettings)


@dataclass
class EdgeConfig:
    """`midcut edge`.

    Attributes:
        model, telemetry, predictor, cost, planner, codec, transport, executor: the chosen components and their knobs.
        cuts: which cuts are on offer.
        accuracy_floor: share of inputs whose class must stay what it was: codecs of less agreement, or an unknown one,
            are left out; null leaves out none.
        engine: planning loop and execution.
        edge_profile, cloud_profile: measured seconds, for the predictors that use them: a profile file, a folder of
            profiles, or a shipped device.
        cloud_url: where the cloud listens; transport and telemetry take it from here. A list is in order of
            preference: requests go to the first cloud that is well.
        input: a server, or a folder of images.
    """

    model: Any = field(default_factory=dict)
    telemetry: Any = field(default_factory=dict)
    predictor: Any = MISSING
    cost: Any = MISSING
    planner: Any = MISSING
    codec: Any = field(default_factory=dict)
    transport: Any = MISSING
    executor: Any = MISSING
    cuts: CutSettings = field(default_factory=CutSettings)
    accuracy_floor: float | None = None
    engine: EngineSettings = field(default_factory=EngineSettings)
    edge_profile: str = "pi4"
    cloud_profile: str = "cloud"
    cloud_url: Any = "http://127.0.0.1:8700"
    input: Any = MISSING


@dataclass
class ProfileConfig:
    """`midcut profile`.

    Attributes:
        model: the model to measure.
        cuts: how it is captured.
        role: the side of the cut this machine stands on.
        repeats: passes that count, at each clock.
        warmup: passes before them.
        threads: torch's intra-op threads.
        batch: images per pass; predictors and fits take profiles of 1.
        clocks_mhz: clocks to set; null is all the machine lists, where it lets them be set.
        stated_clock_mhz: the clock this machine runs at, where it does not tell; nothing is set then.
        cpufreq_root: the sysfs folder with the clock policies.
        out: a `.json` file, or a folder for it; null is the run directory.
    """

    model: Any = field(default_factory=dict)
    cuts: CutSettings = field(default_factory=CutSettings)
    role: Role = Role.edge
    repeats: int = 20
    warmup: int = 3
    threads: int = 1
    batch: int = 1
    clocks_mhz: list[float] | None = None
    stated_clock_mhz: float | None = None
    cpufreq_root: str = "/sys/devices/system/cpu"
    out: str | None = None


@dataclass
class FitConfig:
    """`midcut fit`.

    Attributes:
        profiles: edge profiles of different models on one machine, three or more clocks each: files, folders of
            profiles, or shipped devices.
        seed: of the split into 60 % to fit and 40 % to validate.
        out: the file to write, the plot beside it; null is the run directory.
    """

    profiles: list[str] = field(default_factory=list)
    seed: int = 0
    out: str | None = None


class DistributionKind(Enum):
    """How one telemetry field goes over the samples."""

    constant = "constant"
    values = "values"
    uniform = "uniform"
    normal = "normal"
    poisson = "poisson"


@dataclass
class Distribution:
    """One telemetry field over the samples. A kind reads its own knobs; the others do not count.

    Attributes:
        kind: `constant`: value; `values`: values, gone through again and again; `uniform`: from low to high;
            `normal`: mean and sd, clipped to low and high; `poisson`: counts with a mean, times unit.
        value: of `constant`.
        values: of `values`.
        mean: of `normal`, in the field's unit; of `poisson`, in counts.
        sd: of `normal`.
        low, high: bounds of `uniform`; what `normal` is clipped to, null is no bound; of `poisson` the fewest
            counts, 1 where it is null.
        unit: of `poisson`: the field's value for one count.
    """

    kind: DistributionKind = DistributionKind.constant
    value: float | None = None
    values: list[float] = field(default_factory=list)
    mean: float | None = None
    sd: float | None = None
    low: float | None = None
    high: float | None = None
    unit: float = 1.0


class ScenarioKind(Enum):
    """Where a simulation's samples come from."""

    drawn = "drawn"
    trace = "trace"


@dataclass
class ScenarioDrawn:
    """Samples drawn from distributions, or gone through as listed.

    Attributes:
        kind: goes with scenario=NAME.
        samples: how many; null is the length of the longest list of values.
        seed: of numpy's default generator. bandwidth_kbps is drawn first, then clock_mhz, then ping_ms.
        clock_mhz, bandwidth_kbps, ping_ms: how each goes.
    """

    kind: ScenarioKind = ScenarioKind.drawn
    samples: int | None = None
    seed: int = 0
    clock_mhz: Distribution = field(default_factory=Distribution)
    bandwidth_kbps: Distribution = field(default_factory=Distribution)
    ping_ms: Distribution = field(default_factory=Distribution)


@dataclass
class ScenarioTrace:
    """Samples of a recorded trace.

    Attributes:
        kind: goes with scenario=NAME.
        path: a CSV or JSON file with time_s, clock_mhz, bandwidth_kbps and ping_ms.
        step_s: seconds between two samples, from 0 to the trace's end.
    """

    kind: ScenarioKind = ScenarioKind.trace
    path: str = MISSING
    step_s: float = 1.0


class Metric(Enum):
    """What a published number is about."""

    latency_s = "latency_s"
    cost_usd = "cost_usd"


@dataclass
class ClaimSettings:
    """A published number: how much more or less one strategy takes than another, over the means.

    Attributes:
        where: e.g. `Figure 6`.
        what: in words.
        metric: latency_s or cost_usd.
        strategy: whose mean; `against`: relative to whose.
        against: a planner, latency_optimal, cost_optimal, edge_only, cloud_only, static_best or oracle.
        w: weight of both; null where only one is simulated.
        published: as printed, percent.
        note: why the simulation differs, for the report.
    """

    where: str = MISSING
    what: str = MISSING
    metric: Metric = MISSING
    strategy: str = MISSING
    against: str = MISSING
    published: float = MISSING
    w: float | None = None
    note: str = ""


@dataclass
class SimulateConfig:
    """`midcut simulate`.

    Attributes:
        model: the chosen one; its cut list is the edge profile's.
        predictor: the set that the planners pick by.
        truth: the set that says what the picks really take.
        cost, strategy, codec: the cost model of both, the planners and the codecs with their knobs.
        scenario: the samples.
        cuts: which cuts are on offer.
        accuracy_floor: share of inputs whose class must stay what it was: codecs of less agreement, or an unknown one,
            are left out; null leaves out none.
        edge_profile, cloud_profile: measured seconds, for the predictors that use them: a profile file, a folder of
            profiles, or a shipped device.
        w: weight that every planner is asked at; a list, or `"0:1:0.01"` for 0 to 1 in steps of 0.01.
        population: repetitions of a drawn scenario, with the seeds 0, 1, ...
        dwell: planners are also evaluated with these numbers of samples between two switches, at least.
        keep_samples: up to that many samples are written out one by one.
        claims: published numbers to put beside the simulated ones.
        title: what the report calls this run; null is the model's name.
        objectives: numbers of the result, by name, that a sweeper like Optuna searches by, e.g.
            `[algorithm1.latency_s,algorithm1.cost_usd]`.
    """

    model: Any = field(default_factory=dict)
    predictor: Any = MISSING
    truth: Any = MISSING
    cost: Any = MISSING
    strategy: Any = field(default_factory=dict)
    codec: Any = field(default_factory=dict)
    scenario: Any = MISSING
    cuts: CutSettings = field(default_factory=CutSettings)
    accuracy_floor: float | None = None
    edge_profile: str = "pi4"
    cloud_profile: str = "cloud"
    w: Any = 0.5
    population: int = 0
    dwell: list[int] = field(default_factory=list)
    keep_samples: int = 1000
    claims: list[ClaimSettings] = field(default_factory=list)
    title: str | None = None
    objectives: list[str] = field(default_factory=list)


# Name of the primary config -> its schema, and the nodes of the core's own config groups.
SCHEMAS: dict[str, type] = {
    "plan": PlanConfig,
    "profile": ProfileConfig,
    "fit": FitConfig,
    "cloud": CloudConfig,
    "edge": EdgeConfig,
    "simulate": SimulateConfig,
}
NODES: list[tuple[str, str, Any]] = [
    ("schema", "input_server", InputServer),
    ("schema", "input_folder", InputFolder),
    ("schema", "scenario_drawn", ScenarioDrawn),
    ("schema", "scenario_trace", ScenarioTrace),
]
