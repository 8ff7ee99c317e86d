"""Results as messages of MQTT, and sensors that Home Assistant finds by itself."""

from __future__ import annotations

import json
import os
import re
import secrets
import sys
import threading
from typing import TYPE_CHECKING, Any

import msgspec

from midcut.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping

_WAIT_S = 10.0
# Messages that the client keeps because the broker has not acknowledged them.
_MOST_UNACKNOWLEDGED = 256
_SENSORS: tuple[tuple[str, str, dict[str, str]], ...] = (
    ("label", "{{ value_json.label or value_json.class }}", {}),
    ("probability", "{{ (value_json.probability or 0) * 100 }}", {"unit_of_measurement": "%"}),
    ("latency", "{{ value_json.latency_s * 1000 }}", {"unit_of_measurement": "ms"}),
)


class Mqtt:
    """Publishes each result; see `midcut.protocols.Output`. It connects in the background, again and again.

    Messages are delivered at least once (QoS 1). A result that the broker did not acknowledge in time counts as failed,
    but the client keeps it and sends it again when it has connected anew: a subscriber may get it late, or twice.
    """

    def __init__(
        self,
        *,
        host: str,
        port: int,
        topic: str,
        username: str | None,
        password_env: str | None,
        tls: bool,
        discovery_prefix: str | None,
        name: str | None,
    ) -> None:
        try:
            from paho.mqtt.client import Client  # noqa: PLC0415 - an extra
            from paho.mqtt.enums import CallbackAPIVersion  # noqa: PLC0415
        except ImportError:
            raise ConfigError("output=mqtt needs paho-mqtt: pip install 'midcut[mqtt]'") from None
        if not topic.strip("/") or set(topic) & set("+#"):
            raise ConfigError(f"output.mqtt.topic must be a topic without + and #, got {topic!r}")
        password = None if password_env is None else os.environ.get(password_env)
        if password_env is not None and username is None:
            raise ConfigError("output.mqtt.password_env is set without output.mqtt.username")
        if password_env is not None and not password:
            raise ConfigError(f"output.mqtt.password_env: the environment variable {password_env} is not set")
        self._topic, self._prefix, self._name = topic.strip("/"), discovery_prefix, name
        # With an id the broker ends the connection that was lost, and its last will, before it takes the next one.
        # Without one that will came later, and said "offline" of an edge that was back.
        self._client = Client(CallbackAPIVersion.VERSION2, f"midcut{secrets.token_hex(8)}")
        self._client.max_queued_messages_set(_MOST_UNACKNOWLEDGED)
        self._connected, self._given_up = threading.Event(), False
        self._problem = ""
        if username is not None:
            self._client.username_pw_set(username, password)
        if tls:
            self._client.tls_set()
        self._client.will_set(f"{self._topic}/status", "offline", qos=1, retain=True)
        self._client.on_connect = self._announce
        self._client.on_connect_fail = self._keep_reason
        self._client.on_disconnect = lambda *_: self._connected.clear()
        try:
            self._client.connect_async(host, port)
        except ValueError as error:
            raise ConfigError(f"output.mqtt: {error}") from None
        self._client.loop_start()

    def write(self, result: Mapping[str, Any]) -> None:
        # The client would keep what it cannot send, without a limit and without saying so. Only the first result of an
        # outage waits for its end, which is what a start and a short outage need.
        if not self._connected.wait(0.0 if self._given_up else _WAIT_S):
            self._given_up = True
            raise ConnectionError(f"no connection to the broker {self._client.host}:{self._client.port}{self._problem}")
        self._given_up = False
        message = self._client.publish(f"{self._topic}/result", msgspec.json.encode(result), qos=1)
        message.wait_for_publish(_WAIT_S)
        if not message.is_published():
            raise TimeoutError(f"the broker did not take the message in {_WAIT_S:g} s")

    def close(self) -> None:
        if self._client.is_connected():
            self._tell(f"{self._topic}/status", "offline").wait_for_publish(1.0)
        self._client.disconnect()
        self._client.loop_stop()

    def _keep_reason(self, *_: Any) -> None:
        """Replace what a broker said that is not reached any more. The client calls this where it handles the error."""
        error = sys.exception()
        self._problem = f": {getattr(error, 'strerror', None) or error}" if error is not None else ""

    def _announce(self, _client: Any, _data: Any, _flags: Any, reason: Any, *_: Any) -> None:
        self._problem = f": {reason}" if reason.is_failure else ""
        if reason.is_failure:
            return
        self._connected.set()
        self._tell(f"{self._topic}/status", "online")
        if self._prefix is None:
            return
        # Home Assistant takes no other letters here than those of ASCII; two topics must not become one.
        node = re.sub(r"[^a-zA-Z0-9_]", lambda found: "_" if found[0].isascii() else f"{ord(found[0]):x}", self._topic)
        device = {"identifiers": [f"midcut_{node}"], "name": self._name or self._topic, "manufacturer": "midcut"}
        for sensor, template, extra in _SENSORS:
            config = {
                "name": sensor,
                "unique_id": f"midcut_{node}_{sensor}",
                "state_topic": f"{self._topic}/result",
                "value_template": template,
                "availability_topic": f"{self._topic}/status",
                "device": device,
                **extra,
            }
            self._tell(f"{self._prefix}/sensor/{node}/{sensor}/config", json.dumps(config))

    def _tell(self, topic: str, text: str) -> Any:
        """Publish what the broker is to keep. It is said again at each connection, so none of it waits.

        With QoS 1 the client would refuse it while it is full of results, and send it after them.
        """
        return self._client.publish(topic, text, qos=0, retain=True)
