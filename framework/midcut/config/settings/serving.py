"""Where servers listen, and how a cloud computes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from midcut.config.settings.bounds import check_at_least, check_over_zero


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

    _key: ClassVar[str] = "server"

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

    def __post_init__(self) -> None:
        check_over_zero(self, f"{self._key}.body_timeout_s", f"{self._key}.idle_timeout_s")
        check_at_least(0, self, f"{self._key}.leave_s", f"{self._key}.drain_s")


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
        batch_delay_s: how long a free worker waits, at most, for as many of them as there were last time; 0 takes what
            is there.
        device: where tails run: cpu, cuda, cuda:1. Away from the CPU they are not bit-identical to the edge's.
    """

    threads: int = 1
    workers: int = 1
    max_batch: int = 1
    queue: int = 32
    batch_requests: int = 1
    batch_delay_s: float = 0.003
    device: str = "cpu"

    def __post_init__(self) -> None:
        check_at_least(1, self, "cloud.threads", "cloud.workers", "cloud.max_batch", "cloud.batch_requests")
        check_at_least(0, self, "cloud.queue", "cloud.batch_delay_s")
