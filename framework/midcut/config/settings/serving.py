"""Settings of HTTP servers, and of how a cloud computes tails."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from midcut.config.settings.bounds import check_at_least, check_over_zero, count_threads
from midcut.errors import ConfigError


@dataclass
class ServerSettings:
    """Where an HTTP server listens, its timeouts, and what it asks of clients.

    Attributes:
        host, port: address; port 0 lets the system choose (it is printed).
        body_timeout_s: a request body must be complete after this long.
        bodies_mb: the most MB of all request bodies that are held at once, never less than two of the largest; beyond,
            the slowest upload ends with 503. A body that arrives at less than 240 bytes/s after 5 s ends with 408.
            As many MB of answers may wait for clients to take them; beyond, the slowest is hung up on, as are those
            that take less than 240 bytes/s.
        connections: the most connections at once; beyond, the one that has been idle for longest is closed.
        idle_timeout_s: a connection without a complete request header is closed after this long.
        leave_s: after SIGTERM, how long requests are still accepted while readiness already answers 503, so that load
            balancers notice.
        drain_s: after that, how long requests in flight may take to finish.
        token_env, token_file: environment variable or file with the bearer token that requests must bring; null asks
            for none. Health needs no token. A file is read anew when it changes, as certificates are.
        admin_token_env, admin_token_file: the same for administration: what changes the server, like deleting an edge's
            calibration. Where only the other token is set, nobody may.
        hosts: names by which browsers may open pages and change the server where no token is set, besides addresses,
            names without a dot and private ones (.local, .lan, .internal); `*` takes every name. Other names could be
            those of a strange site that points its own name here. Also the hosts of a proxy that replaces `Host`
            without `X-Forwarded-Host`, with the port unless it is 80 or 443: `edge.example.org:8443`.
        tls_cert, tls_key: files with certificate and key, PEM; null is plain HTTP.
        tls_client_ca: file with the CA whose certificates clients must show (mutual TLS); null asks for none.
    """

    section: ClassVar[str] = "server"

    host: str = "127.0.0.1"
    port: int = 8700
    body_timeout_s: float = 30.0
    bodies_mb: float = 256.0
    connections: int = 900
    idle_timeout_s: float = 75.0
    leave_s: float = 0.0
    drain_s: float = 10.0
    token_env: str | None = None
    token_file: str | None = None
    admin_token_env: str | None = None
    admin_token_file: str | None = None
    hosts: list[str] = field(default_factory=list)
    tls_cert: str | None = None
    tls_key: str | None = None
    tls_client_ca: str | None = None

    def __post_init__(self) -> None:
        check_over_zero(self, f"{self.section}.body_timeout_s", f"{self.section}.idle_timeout_s")
        check_at_least(0, self, f"{self.section}.bodies_mb")
        check_at_least(1, self, f"{self.section}.connections")
        check_at_least(0, self, f"{self.section}.leave_s", f"{self.section}.drain_s")


@dataclass
class CloudSettings:
    """How tails are computed.

    Attributes:
        threads: torch's intra-op threads, or `auto` for every core; equal counts on both sides keep results
            bit-identical.
        workers: tails computed at once.
        max_batch: largest batch in one request; the body limit grows with it.
        queue: inferences that wait beside those being computed; further ones are refused with 503 and Retry-After. A
            connection that comes back sooner waits for its turn.
        queue_s: so are those that would wait for longer than this for a worker.
        batch_requests: most requests of one model, cut and shape computed together; only 1 (no batching) keeps results
            bit-identical.
        batch_delay_s: longest wait of a free worker for as many requests as its last batch had; 0 computes at once what
            has arrived.
        max_picture_mb: largest request with a picture's file in place of the model's input, MB.
        max_pixels: a picture of more pixels is refused before it is decoded; of large pictures, no more than that
            are decoded at once; see the edge's input.max_pixels for their memory.
        device: where tails run: cpu, cuda, cuda:1. Away from the CPU they are not bit-identical to the edge's.
    """

    threads: int | str = 1
    workers: int = 1
    max_batch: int = 1
    queue: int = 32
    queue_s: float = 5.0
    batch_requests: int = 1
    batch_delay_s: float = 0.003
    max_picture_mb: float = 32.0
    max_pixels: int = 50_000_000
    device: str = "cpu"

    def __post_init__(self) -> None:
        count_threads("cloud.threads", self.threads)
        check_at_least(1, self, "cloud.workers", "cloud.max_batch", "cloud.batch_requests", "cloud.max_pixels")
        check_at_least(0, self, "cloud.queue", "cloud.batch_delay_s")
        check_over_zero(self, "cloud.queue_s")
        check_at_least(0, self, "cloud.max_picture_mb")

    @property
    def thread_count(self) -> int:
        """`threads` as a number."""
        return count_threads("cloud.threads", self.threads)


@dataclass
class PriceSettings:
    """The price that a cloud asks, which rises with its load; edges plan by it (`objective=sharing`, `cost=billed`).

    Attributes:
        base_usd_per_hour: of a busy hour of the idle cloud; null asks none.
        slope_usd_per_hour: by how much it rises for each busy second a second.
        window_s: how long the past counts for the load; older requests fade.
    """

    base_usd_per_hour: float | None = None
    slope_usd_per_hour: float = 0.0
    window_s: float = 5.0

    def __post_init__(self) -> None:
        check_at_least(0, self, "price.base_usd_per_hour", "price.slope_usd_per_hour")
        check_over_zero(self, "price.window_s")
        if self.base_usd_per_hour is None and self.slope_usd_per_hour:
            raise ConfigError("price.slope_usd_per_hour needs price.base_usd_per_hour, which may be 0")


@dataclass
class RepositorySettings:
    """Weights that a cloud loads and unloads while it runs (the Open Inference Protocol's model repository).

    Attributes:
        folder: holds weights as MODEL/ANY.safetensors, MODEL as in `model=`; each file is a version of the model,
            beside the others of that name. null is no repository. Loading and unloading need the administration token.
        load_at_start: whether a start loads all of them; the file that was changed last is the newest version, which
            requests without a fingerprint get.
        most_versions: how many versions of all models may be held, those of `model=` included.
        memory_mb: how many MB of weights may be held.
        timeout_s: how long capturing a version may take.
    """

    folder: str | None = None
    load_at_start: bool = True
    most_versions: int = 8
    memory_mb: float = 4096.0
    timeout_s: float = 600.0

    def __post_init__(self) -> None:
        check_at_least(1, self, "repository.most_versions")
        check_over_zero(self, "repository.memory_mb", "repository.timeout_s")


@dataclass
class UpstreamSettings:
    """How a relay treats its upstream.

    Attributes:
        breaker_failures: after so many failures in a row, or one that took longer than retry_after_s, requests are
            finished here.
        retry_after_s: how long, or as long as the failed try took if that is longer, twice and four times as long after
            the next failures; then one request tries the upstream again. 0 tries with every request. A wait that
            the upstream asks for is kept in any case.
        max_age_s: a value of the link's telemetry that is older is not reported.
    """

    breaker_failures: int = 3
    retry_after_s: float = 1.0
    max_age_s: float = 30.0

    def __post_init__(self) -> None:
        check_at_least(1, self, "upstream.breaker_failures")
        check_at_least(0, self, "upstream.retry_after_s")
        check_over_zero(self, "upstream.max_age_s")
