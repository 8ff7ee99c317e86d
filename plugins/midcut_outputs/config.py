"""Settings of the outputs."""

from __future__ import annotations

from dataclasses import dataclass

from omegaconf import MISSING


@dataclass
class StdoutConfig:
    """A JSON line for each result on stdout. It has no settings."""


@dataclass
class JsonLinesConfig:
    """A JSON line for each result, at the end of a file.

    Attributes:
        path: the file; it is made if it does not exist.
    """

    path: str = MISSING


@dataclass
class WebhookConfig:
    """A POST with the result as JSON.

    Attributes:
        url: `http://` or `https://`.
        timeout_s: for one POST.
        token_env: environment variable with a bearer token to send; null sends none.
    """

    url: str = MISSING
    timeout_s: float = 5.0
    token_env: str | None = None


@dataclass
class MqttConfig:
    """A message for each result to an MQTT broker. Needs the extra `mqtt`.

    Attributes:
        host, port: of the broker.
        topic: the messages go to `TOPIC/result`, and `TOPIC/status` is `online` or `offline`.
        username, password_env: credentials; the password is read from that environment variable.
        tls: encrypt, and verify the broker by the system's CAs.
        discovery_prefix: Home Assistant finds label and probability as sensors there, usually `homeassistant`; null
            publishes nothing there.
        name: of the device in Home Assistant; null is made from the topic.
    """

    host: str = "127.0.0.1"
    port: int = 1883
    topic: str = "midcut"
    username: str | None = None
    password_env: str | None = None
    tls: bool = False
    discovery_prefix: str | None = "homeassistant"
    name: str | None = None
