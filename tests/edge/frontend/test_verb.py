from __future__ import annotations

import pytest

from midcut.cli.verbs import edge
from midcut.config.composition import compose
from midcut.errors import ConfigError, FileError, MidcutError


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
        (["transport.timeout_s=0"], ConfigError, "transport.timeout_s must be over 0, got 0.0"),
        (["planner.w=1.5"], MidcutError, "1.5"),
        (["input=folder", "input.path=/no/such"], FileError, "input.path=/no/such is not a folder"),
        (["input.body_timeout_s=-1"], ConfigError, "input.body_timeout_s must be over 0, got -1.0"),
        (["input.max_body_mb=nan"], ConfigError, "input.max_body_mb must be finite and at least 0, got nan"),
        (["input.max_pixels=0"], ConfigError, "input.max_pixels must be at least 1, got 0"),
        (["input.max_requests=0"], ConfigError, "input.max_requests must be at least 1, got 0"),
        (["engine.breaker_failures=0"], ConfigError, "engine.breaker_failures must be at least 1, got 0"),
        (["engine.deadline_s=-0.5"], ConfigError, "engine.deadline_s must be over 0, got -0.5"),
        (["input.max_body_mb=inf"], ConfigError, "input.max_body_mb must be finite and at least 0, got inf"),
        (["accuracy_floor=1.5"], ConfigError, "accuracy_floor must be from 0 to 1, got 1.5"),
        (["input.token_env=NO_SUCH_VARIABLE"], ConfigError, "the environment variable NO_SUCH_VARIABLE is empty"),
        (["input.tls_client_ca=ca.pem"], ConfigError, "need tls_cert"),
        (["input.host=203.0.113.7"], ConfigError, "cannot listen on host=203.0.113.7"),
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
