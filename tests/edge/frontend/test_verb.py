from __future__ import annotations

import asyncio
import os
import signal
import socket
from types import SimpleNamespace
from urllib.parse import urlsplit

import aiohttp
import pytest
import structlog
from omegaconf import OmegaConf

from midcut.cli.verbs import edge
from midcut.config.composition import compose
from midcut.errors import ConfigError, FileError, MidcutError
from midcut.serving import DRAIN
from midcut_models.mnist import DIGITS

UNUSED = "without effect: server.port, server.page"
ENABLE = "server.enabled=true serves beside the stream"


@pytest.mark.parametrize(
    ("overrides", "error", "part"),
    [
        (["model=[]"], ConfigError, "edge works on one model, got none"),
        (["model=[mnist,alexnet]"], ConfigError, "edge works on one model, got mnist, alexnet"),
        (["engine.interval_s=0"], ConfigError, "engine.interval_s must be over 0, got 0.0"),
        (["engine.threads=0"], ConfigError, "engine.threads must be at least 1, got 0"),
        (["engine.dwell=-1"], ConfigError, "engine.dwell must be at least 0, got -1"),
        (["engine.retry_after_s=-1"], ConfigError, "engine.retry_after_s must be at least 0, got -1.0"),
        (["calibration.window=2"], ConfigError, "calibration.window must be at least 3, got 2"),
        (["calibration.forget_s=0"], ConfigError, "calibration.forget_s must be over 0, got 0.0"),
        (["cloud_url=cloud"], ConfigError, "url must"),
        (["transport.timeout_s=0"], ConfigError, "transport.timeout_s must be finite and over 0, got 0.0"),
        (["transport.connect_timeout_s=inf"], ConfigError, "transport.connect_timeout_s must be finite and over 0"),
        (
            ["telemetry=[tcp_ping]", "telemetry.tcp_ping.timeout_s=inf"],
            ConfigError,
            "telemetry.tcp_ping.timeout_s must be finite and over 0, got inf",
        ),
        (["planner.w=1.5"], MidcutError, "1.5"),
        (["input=folder", "input.path=/no/such"], FileError, "input.path=/no/such is not a folder"),
        (["input.body_timeout_s=-1"], ConfigError, "input.body_timeout_s must be over 0, got -1.0"),
        (["input.max_body_mb=nan"], ConfigError, "input.max_body_mb must be at least 0, got nan"),
        (["input.max_pixels=0"], ConfigError, "input.max_pixels must be at least 1, got 0"),
        (["input.max_requests=0"], ConfigError, "input.max_requests must be at least 1, got 0"),
        (["engine.breaker_failures=0"], ConfigError, "engine.breaker_failures must be at least 1, got 0"),
        (["engine.deadline_s=-0.5"], ConfigError, "engine.deadline_s must be over 0, got -0.5"),
        (["input.max_body_mb=inf"], ConfigError, "input.max_body_mb must be finite and at least 0, got inf"),
        (["accuracy_floor=1.5"], ConfigError, "accuracy_floor must be from 0 to 1, got 1.5"),
        (["input.token_env=NO_SUCH_VARIABLE"], ConfigError, "the environment variable NO_SUCH_VARIABLE is empty"),
        (["input.tls_client_ca=ca.pem"], ConfigError, "need tls_cert"),
        (["input.host=203.0.113.7"], ConfigError, "cannot listen on input.host=203.0.113.7 input.port=0: "),
    ],
)
def test_a_config_that_cannot_run_is_one_line(overrides, error, part):
    plain = ["model=mnist", "cuts.verify=false", "telemetry=constant", "input.port=0", "cloud_url=http://127.0.0.1:9"]
    if any(one.startswith("input=") for one in overrides):
        plain.remove("input.port=0")
    config = compose("edge", [*plain, *overrides])
    with pytest.raises(error) as caught:
        edge.run(config)
    assert part in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("overrides", "lines"),
    [
        (["server.port=80", "server.page=false"], [f"{UNUSED}; input=server takes input.port, input.page"]),
        (["input=folder", "server.port=80", "server.page=false"], [f"{UNUSED}; {ENABLE}"]),
        (["input=video", "input.url=x", "server.port=80", "server.page=false"], [f"{UNUSED}; {ENABLE}"]),
        (["input=folder", "server.port=80", "server.enabled=true"], []),
        (["input=server", "input.port=80"], []),
        (["input=folder"], []),
    ],
)
def test_settings_of_a_server_that_is_not_started_are_named_with_what_is_meant(overrides, lines):
    config = compose("edge", [*overrides, f"input.path={DIGITS}"] if "input=folder" in overrides else overrides)
    source = OmegaConf.to_object(config.input) if "input=video" not in overrides else object()
    with structlog.testing.capture_logs() as logs:
        edge._checked_server(config, source)
    assert [line["event"] for line in logs] == lines


def test_a_signal_turns_readiness_off_while_the_stream_still_runs_and_results_are_drawn_when_nothing_is_served(
    monkeypatch,
):
    apps, urls, steps = [], [], []

    def app_of(*args):
        apps.append(make_app(*args))
        return apps[0]

    async def finish_window(_edge, _source, _outputs, stop, _live):
        async with aiohttp.ClientSession(urls[0]) as session, session.get("/v2/health/ready") as response:
            assert response.status == 200
        os.kill(os.getpid(), signal.SIGTERM)
        await stop.wait()
        async with asyncio.timeout(60):
            while apps[0][DRAIN].ready:  # noqa: ASYNC110 - no event for it
                await asyncio.sleep(0.01)
        steps.append("streamed")
        return SimpleNamespace(summary={})

    def report(_):
        assert apps[0][DRAIN].draining
        with pytest.raises(OSError, match="refused"), socket.create_connection(urlsplit(urls[0]).netloc.split(":")):
            pass
        steps.append("reported")

    make_app = edge.app_of
    replaced = {"app_of": app_of, "_ready": urls.append, "_stream": finish_window, "_report": report}
    for name, stand_in in replaced.items():
        monkeypatch.setattr(edge, name, stand_in)
    overrides = ["model=mnist", "cuts.verify=false", "telemetry=constant", "cloud_url=http://127.0.0.1:9"]
    overrides += ["input=folder", f"input.path={DIGITS}", "server.enabled=true", "server.port=0"]
    assert edge.run(compose("edge", overrides)) == {}
    assert steps == ["streamed", "reported"]
