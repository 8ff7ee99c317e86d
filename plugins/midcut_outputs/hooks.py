"""The outputs that come with midcut."""

from __future__ import annotations

from typing import TYPE_CHECKING

from midcut import Component, hookimpl
from midcut_outputs.config import JsonLinesConfig, MqttConfig, StdoutConfig, WebhookConfig

if TYPE_CHECKING:
    from collections.abc import Sequence


@hookimpl
def midcut_outputs() -> Sequence[Component]:
    return (
        Component("stdout", StdoutConfig, "midcut_outputs.lines.stdout", "JSON lines on stdout"),
        Component("jsonl", JsonLinesConfig, "midcut_outputs.lines.JsonLines", "JSON lines in a file"),
        Component("webhook", WebhookConfig, "midcut_outputs.webhook.Webhook", "a POST of JSON for each result"),
        Component("mqtt", MqttConfig, "midcut_outputs.mqtt.Mqtt", "MQTT, with Home Assistant discovery (extra mqtt)"),
    )
