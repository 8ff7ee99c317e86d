from __future__ import annotations

import importlib
import inspect
import subprocess
import sys
from dataclasses import fields

import pytest
from omegaconf import OmegaConf
from omegaconf.errors import ValidationError

from midcut.component import Kind
from midcut.config.build import build
from midcut.config.composition import compose
from midcut.errors import ConfigError
from midcut_telemetry.config import Aggregate
from midcut_telemetry.hooks import midcut_telemetry_sources

SOURCES = {component.name: component for component in midcut_telemetry_sources()}


def test_the_names_people_type():
    assert list(SOURCES) == [
        "constant",
        "replay",
        "cpufreq",
        "vcgencmd",
        "rapl",
        "hwmon",
        "pmic",
        "nvml",
        "tcp_ping",
        "icmp_ping",
        "http_ping",
        "conditions",
        "bandwidth_probe",
        "passive_bandwidth",
    ]
    assert all(component.summary for component in SOURCES.values())


@pytest.mark.parametrize("name", [name for name, made in SOURCES.items() if hasattr(made.config, "timeout_s")])
@pytest.mark.parametrize("value", ["0", "-1", "nan", "inf"])
def test_a_timeout_must_be_finite_and_over_zero(name, value):
    key = f"telemetry.{name}.timeout_s"
    config = compose("edge", ["model=mnist", f"telemetry=[{name}]", f"{key}={value}"])
    with pytest.raises(ConfigError, match=f"^{key} must be finite and over 0, got {float(value)}$"):
        build(Kind.TELEMETRY, config.telemetry[name])


@pytest.mark.parametrize("name", SOURCES)
def test_every_target_takes_exactly_its_settings(name):
    module, _, attribute = SOURCES[name].target.rpartition(".")
    taken = inspect.signature(getattr(importlib.import_module(module), attribute)).parameters
    assert set(taken) == {field.name for field in fields(SOURCES[name].config)}


@pytest.mark.parametrize(
    "name", ["tcp_ping", "icmp_ping", "http_ping", "conditions", "bandwidth_probe", "passive_bandwidth"]
)
def test_the_url_is_the_clouds_unless_given(name):
    cfg = OmegaConf.create({"cloud_url": "http://10.0.0.7:8700", "telemetry": {name: SOURCES[name].config}})
    assert cfg.telemetry[name].url == "http://10.0.0.7:8700"


def test_settings_are_typed():
    cfg = OmegaConf.structured(SOURCES["cpufreq"].config)
    cfg.aggregate = "mean"
    assert cfg.aggregate is Aggregate.mean
    with pytest.raises(ValidationError):
        cfg.aggregate = "median"
    with pytest.raises(ValidationError):
        cfg.core = "first"


def test_the_hooks_import_nothing_heavy():
    heavy = ("numpy", "torch", "scipy", "aiohttp", "structlog", "icmplib", "http.client")
    code = f"import sys, midcut_telemetry.hooks\nprint([name for name in {heavy!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=600)
    assert done.stdout.strip() == "[]"
