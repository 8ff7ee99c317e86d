"""Settings out of bounds: one line that names the setting, before anything is loaded or measured."""

from __future__ import annotations

import importlib

import pytest

from midcut.config.build import settings_of
from midcut.config.composition import compose
from midcut.config.settings import EdgeConfig, EngineSettings, InputServer, ServerSettings
from midcut.errors import ConfigError

REFUSED = [
    ("plan", "accuracy_floor=-0.1", "accuracy_floor must be from 0 to 1, got -0.1"),
    ("plan", "wait_s=inf", "wait_s must be finite and at least 0, got inf"),
    ("profile", "repeats=0", "repeats must be at least 1, got 0"),
    ("profile", "warmup=-1", "warmup must be at least 0, got -1"),
    ("profile", "clocks_mhz=[600,0]", "clocks_mhz must be over 0, got 0.0"),
    ("profile", "stated_clock_mhz=inf", "stated_clock_mhz must be finite and over 0, got inf"),
    ("fit", "seed=-1", "seed must be at least 0, got -1"),
    ("cloud", "cloud.batch_delay_s=nan", "cloud.batch_delay_s must be at least 0, got nan"),
    ("cloud", "cloud.batch_delay_s=inf", "cloud.batch_delay_s must be finite and at least 0, got inf"),
    ("edge", "engine.interval_s=-1", "engine.interval_s must be over 0, got -1.0"),
    ("edge", "engine.interval_s=inf", "engine.interval_s must be finite and over 0, got inf"),
    ("edge", "engine.deadline_s=inf", "engine.deadline_s must be finite and over 0, got inf"),
    ("edge", "engine.give_up_factor=inf", "engine.give_up_factor must be finite and over 0, got inf"),
    ("edge", "engine.retry_after_s=inf", "engine.retry_after_s must be finite and at least 0, got inf"),
    ("edge", "engine.max_age_s=inf", "engine.max_age_s must be finite and over 0, got inf"),
    ("edge", "calibration.forget_s=inf", "calibration.forget_s must be finite and over 0, got inf"),
]


@pytest.mark.parametrize(("verb", "override", "message"), REFUSED)
def test_a_verb_refuses_a_setting_out_of_bounds(verb, override, message):
    plain = ["model=mnist"] if verb in ("plan", "profile", "cloud", "edge") else []
    with pytest.raises(ConfigError) as caught:
        importlib.import_module(f"midcut.cli.verbs.{verb}").run(compose(verb, [*plain, override]))
    assert str(caught.value) == message


def test_an_error_names_the_place_where_settings_stand():
    with pytest.raises(ConfigError, match=r"^server\.drain_s must be at least 0, got -1\.0$"):
        ServerSettings(drain_s=-1.0)
    with pytest.raises(ConfigError, match=r"^input\.drain_s must be at least 0, got -1\.0$"):
        InputServer(drain_s=-1.0)


def test_settings_are_typed_and_components_stay_config_nodes():
    config = compose("edge", ["model=mnist", "engine.deadline_s=0.5", "cuts.keep_on_edge=[fc1]"])
    settings = settings_of(config, EdgeConfig)
    assert settings.engine == EngineSettings(deadline_s=0.5)
    assert settings.cuts.keep_on_edge == ["fc1"]
    assert settings.model.mnist == config.model.mnist
