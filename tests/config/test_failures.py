"""Overrides that break Hydra's grammar are named, with the way to write them."""

from __future__ import annotations

import shlex

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException

from midcut.config.failures import one_line


def parsed(override):
    (result,) = OverridesParser.create().parse_overrides([override])
    return result.value()


def failure(override):
    with pytest.raises(HydraException) as caught:
        parsed(override)
    return one_line(caught.value)


@pytest.mark.parametrize(
    "override",
    [
        "cloud_url=http://[::1]:8700",
        "input.path=photos (1)/a.png",
        "model.module.path=my-net.Net(3)",
        "input.url=rtsp://camera/live?a=b&c={d}",
        'model.module.title=a"b',
    ],
)
def test_a_value_with_special_characters_is_shown_as_it_must_be_typed(override):
    line = failure(override)
    assert "\n" not in line
    assert line.startswith(f"cannot read {override!r}")
    (typed,) = shlex.split(line.partition("in the shell ")[2])
    name, _, value = override.partition("=")
    assert typed.startswith(f"{name}=")
    assert parsed(typed) == value


@pytest.mark.parametrize("override", ["planner.w=[1", "model.module.inputs={x: [1, 2}", "codec=[a b"])
def test_brackets_that_do_not_fit_together_are_named(override):
    line = failure(override)
    assert "\n" not in line
    assert line.startswith(f"cannot read {override!r}: its brackets, quotes or commas do not fit together")
