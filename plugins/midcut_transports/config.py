"""Knobs of the transports. Light: no aiohttp."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class HttpConfig:
    """The Open Inference Protocol v2 with binary tensors, and the paper's JSON for `codec=base64`.

    Attributes:
        url: where the cloud listens, `http://host:port` or `https://...`, with a path where a proxy adds one.
        timeout_s: a request must be answered after this long, connecting included.
        connect_timeout_s: a connection must stand after this long.
        plain: the server is another vendor's: it runs whole models (cut 0), and there is no fingerprint to compare.
        token_env, token_file: environment variable or file with the bearer token to show; null shows none.
        tls_ca: file with the CA that signed the cloud's certificate, PEM; null trusts the system's.
        tls_cert, tls_key: files with a certificate to show and its key, PEM; null shows none.
    """

    url: str = "${cloud_url}"
    timeout_s: float = 10.0
    connect_timeout_s: float = 2.0
    plain: bool = False
    token_env: str | None = None
    token_file: str | None = None
    tls_ca: str | None = None
    tls_cert: str | None = None
    tls_key: str | None = None
