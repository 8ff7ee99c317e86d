"""An error in a setting names the key that was given, also where the setting takes its value from elsewhere."""

from __future__ import annotations

import pytest

from midcut.api.composing import compose
from midcut.component import Kind
from midcut.config.build import build
from midcut.errors import ConfigError

TELEMETRY = "telemetry=[tcp_ping,http_ping,bandwidth_probe,passive_bandwidth,conditions]"
SOURCES = ("tcp_ping", "http_ping", "bandwidth_probe", "passive_bandwidth", "conditions")


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize(
    ("overrides", "key"),
    [
        (("cloud_url=htp://x",), "cloud_url"),
        (("telemetry.{source}.url=htp://x",), "telemetry.{source}.url"),
        (("cloud_url=htp://x", "telemetry.{source}.url=${{cloud_url}}"), "cloud_url"),
    ],
)
def test_a_wrong_address_is_named_as_it_was_given(source, overrides, key):
    cfg = compose("edge", (TELEMETRY, *(each.format(source=source) for each in overrides)))[0]
    with pytest.raises(ConfigError) as caught:
        build(Kind.TELEMETRY, cfg.telemetry[source])
    assert str(caught.value).startswith(f"{key.format(source=source)}: the cloud's url must be http://host:port")


def test_a_transports_address_is_named_as_it_was_given():
    for override, key in (("cloud_url=htp://x", "cloud_url"), ("transport.url=htp://x", "transport.url")):
        cfg = compose("edge", (override,))[0]
        with pytest.raises(ConfigError, match=rf"^{key} must look like http://host:port"):
            build(Kind.TRANSPORT, cfg.transport, codecs={})


def test_credentials_that_a_source_shares_with_the_transport_are_named_once():
    cfg = compose("edge", (TELEMETRY, "transport.token_file=nowhere"))[0]
    with pytest.raises(ConfigError) as caught:
        build(Kind.TELEMETRY, cfg.telemetry.http_ping)
    assert "telemetry" not in str(caught.value)
    assert "nowhere" in str(caught.value)
