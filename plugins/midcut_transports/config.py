"""Settings of the transports. Imports nothing heavy."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class HttpConfig:
    """The Open Inference Protocol v2 with binary tensors, and the paper's JSON for `codec=base64`.

    Attributes:
        url: the cloud's address, `http://host:port` or `https://...`, with a path where a proxy adds one.
        timeout_s: limit for a request until it is answered, connecting included.
        connect_timeout_s: limit for connecting. A kept connection that is silent for at least this long, and for much
            longer than usual, is given up, and the request is sent again on a new one.
        max_idle_s: a connection that was unused for longer is closed, since firewalls may have forgotten it.
        plain: the server is another vendor's: it runs whole models (cut 0) and has no fingerprint to compare.
        reply_codec: one of the edge's codecs, which the cloud encodes its replies with (maps of classes); null is none.
        token_env, token_file: environment variable or file with the bearer token to send; null sends none.
        tls_ca: file with the CA that signed the cloud's certificate, PEM; null trusts the system's CAs.
        tls_cert, tls_key: files with the client's certificate and its private key, PEM; null sends none.
    """

    url: str = "${cloud_url}"
    timeout_s: float = 10.0
    connect_timeout_s: float = 2.0
    max_idle_s: float = 60.0
    plain: bool = False
    token_env: str | None = None
    token_file: str | None = None
    tls_ca: str | None = None
    tls_cert: str | None = None
    tls_key: str | None = None
    reply_codec: str | None = None
