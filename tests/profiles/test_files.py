"""Profiles and fits as files: round trips, and a message of one line for each fault."""

from __future__ import annotations

import json
import math

import msgspec
import pytest

from midcut.errors import FileError
from midcut.profiles import (
    find_fit,
    find_layer_fit,
    find_profile,
    read_fit,
    read_profile,
    write_fit,
    write_profile,
)
from midcut.profiles.choosing import AUTO, own_where_unknown

DELETE = object()


def edited(path, profile, where, value):
    """Write a profile with one place of its JSON changed."""
    write_profile(profile, path)
    document = json.loads(path.read_text())
    *parents, last = where
    target = document
    for step in parents:
        target = target[step]
    if value is DELETE:
        del target[last]
    else:
        target[last] = value
    path.write_text(json.dumps(document))
    return path


@pytest.fixture
def profile(profile_of):
    return profile_of({500.0: (0.006, 0.002), 1000.0: (0.003, 0.002)})


def test_round_trip(tmp_path, profile):
    path = write_profile(profile, tmp_path / "new" / "folder" / "p.json")
    assert read_profile(path) == profile
    assert [entry.name for entry in path.parent.iterdir()] == ["p.json"], "nothing temporary is left"


@pytest.mark.parametrize(
    ("where", "value", "message"),
    [
        (("format",), "midcut-profile/9", r"\$\.format is 'midcut-profile/9', this version reads 'midcut-profile/1'"),
        (("model",), "other", r"\$\.model is 'other' but \$\.table\.model is 'two'"),
        (("role",), "fog", r"Invalid enum value 'fog' - at `\$\.role`"),
        (("runs",), [], r"\$\.runs is empty"),
        (("runs", 1, "node_s", 0), -1.0, r"\$\.runs\[1\]\.node_s\[0\] is -1\.0, must be seconds, 0 or more"),
        (("runs", 0, "node_s"), [1.0], r"\$\.runs\[0\]\.node_s has 1 numbers for 2 nodes"),
        (("runs", 0, "node_spread_s"), [1.0] * 3, r"node_spread_s has 3 numbers for 2 nodes"),
        (("runs", 0, "node_s", 0), "quick", r"Expected `float`, got `str` - at `\$\.runs\[0\]\.node_s\[0\]`"),
        (("runs", 0, "whole_s"), 0.0, r"\$\.runs\[0\]\.whole_s is 0, must be more than 0"),
        (("runs", 0, "whole_s"), DELETE, r"missing required field `whole_s` - at `\$\.runs\[0\]`"),
        (("runs", 0, "wohle_s"), 1.0, r"unknown field `wohle_s`"),
        (("runs", 0, "clock_mhz"), 1000.0, r"\$\.runs has clock_mhz 1000\.0 more than once"),
        (("runs", 0, "clock_mhz"), None, r"\$\.runs has several runs, one of them without clock_mhz"),
        (("runs", 0, "clock_mhz"), 0.0, r"\$\.runs\[0\]\.clock_mhz is 0\.0, must be more than 0"),
        (("runs", 0, "repeats"), -3, r"\$\.runs\[0\]\.repeats is -3"),
        (("table", "cuts", 1, "index"), 2, r"\$\.table\.cuts must count from 0 to the number of nodes, 2"),
        (
            ("table", "cuts", 2, "layer"),
            0,
            r"\$\.table\.cuts\[2\]\.layer is 0, must not be less",
        ),
        (
            ("table", "cuts", 1, "values", 0, "dtype"),
            "float31",
            r"cuts\[1\]\.values\[0\]\.dtype is 'float31'",
        ),
        (("table", "cuts", 1, "values", 0, "shape"), [1, -4], r"cuts\[1\]\.values\[0\]\.shape is \[1, -4\]"),
        (("machine",), DELETE, r"missing required field `machine`"),
    ],
)
def test_wrong_content(tmp_path, profile, where, value, message):
    path = edited(tmp_path / "p.json", profile, where, value)
    with pytest.raises(FileError, match=message) as error:
        read_profile(path)
    assert str(path) in str(error.value)
    assert "midcut profile model=" in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "\xff\xfe", '{"runs": NaN}'])
def test_not_a_profile(tmp_path, text):
    path = tmp_path / "p.json"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(FileError, match=r"^profile .*p\.json: "):
        read_profile(path)


def test_unreadable(tmp_path):
    with pytest.raises(FileError, match="No such file"):
        read_profile(tmp_path / "none.json")
    with pytest.raises(FileError, match="Is a directory"):
        read_profile(tmp_path)


def test_a_wrong_profile_is_not_written(tmp_path, profile_of):
    with pytest.raises(FileError, match=r"not written: \$\.runs\[0\]\.node_s\[0\] is nan"):
        write_profile(profile_of({1000.0: (math.nan, 0.1)}, whole_s=1.0), tmp_path / "p.json")
    assert not list(tmp_path.iterdir())


def test_a_failed_write_leaves_the_old_file(tmp_path, profile):
    path = write_profile(profile, tmp_path / "p.json")
    before = path.read_bytes()
    with pytest.raises(FileError, match="cannot write"):
        write_profile(profile, path / "below-a-file.json")
    assert path.read_bytes() == before


def test_a_folder_with_the_name_of_a_device_changes_no_default(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("pi4", "cloud"):
        (tmp_path / name).mkdir()
    assert find_profile("cloud", "cloud", "alexnet").table.model == "alexnet"
    assert find_fit("pi4").modelled
    assert find_layer_fit("cloud").modelled
    assert own_where_unknown("pi4", "resnet18") == AUTO
    write_profile(find_profile("cloud", "cloud", "alexnet"), tmp_path / "cloud" / "mine.json")
    with pytest.raises(FileError, match=r"'\./cloud' has no profile of 'mnist' as cloud; it has: alexnet as cloud"):
        find_profile("./cloud", "cloud", "mnist")


@pytest.mark.parametrize("model", ["alexnet", "vgg16", "mnist"])
@pytest.mark.parametrize(("device", "role"), [("pi4", "edge"), ("cloud", "cloud")])
def test_shipped_profiles(device, role, model):
    profile = find_profile(device, role, model)
    assert profile.modelled
    assert "modelled, not measured" in profile.origin
    assert profile.table.weights == "", "the seconds hold for any weights"
    clocks = [run.clock_mhz for run in profile.runs]
    assert clocks == ([float(mhz) for mhz in range(600, 1501, 100)] if role == "edge" else [None])


def test_find_by_file_and_folder(tmp_path, profile_of):
    edge, cloud = profile_of({1.0: (1, 1)}), profile_of({1.0: (1, 1)}, role="cloud")
    write_profile(edge, tmp_path / "a.json")
    write_profile(cloud, tmp_path / "b.json")
    (tmp_path / "notes.json").write_text("{}")
    assert find_profile(tmp_path, "edge", "two") == edge
    assert find_profile(str(tmp_path), "cloud", "two") == cloud
    assert find_profile(tmp_path / "b.json", "cloud", "two") == cloud
    with pytest.raises(
        FileError, match=r"b\.json is of model 'two' as cloud, but 'two' as edge is needed; measure one"
    ):
        find_profile(tmp_path / "b.json", "edge", "two")
    with pytest.raises(FileError, match="has no profile of 'three' as edge; it has: two as edge, two as cloud"):
        find_profile(tmp_path, "edge", "three")
    write_profile(edge, tmp_path / "c.json")
    with pytest.raises(FileError, match=r"several profiles of 'two' as edge: a\.json, c\.json; name the file"):
        find_profile(tmp_path, "edge", "two")


def test_find_nothing():
    with pytest.raises(
        FileError,
        match=r"not a shipped device \(cloud, paper_cloud, paper_edge, pi4\); measure one with `midcut profile",
    ) as error:
        find_profile("pi5", "edge", "vgg16")
    assert str(error.value).endswith("`midcut profile model=vgg16 role=edge`, then edge_profile=FILE")
    with pytest.raises(FileError, match="'pi4' has no profile of 'resnet18' as edge; it has: alexnet as edge, mnist"):
        find_profile("pi4", "edge", "resnet18")
    with pytest.raises(FileError, match=r"profile of 'resnet18' as cloud; .* role=cloud`, then cloud_profile=FILE"):
        find_profile("cloud", "cloud", "resnet18")
    with pytest.raises(FileError, match="'cloud' has no profile of 'vgg16' as edge; it has: alexnet as cloud"):
        find_profile("cloud", "edge", "vgg16")


def test_a_wrong_fit_is_not_written(tmp_path):
    wrong = msgspec.structs.replace(find_fit("pi4"), clock_max_mhz=math.inf)
    with pytest.raises(
        FileError, match=r"^fit for .*fit\.json not written: \$\.clock_min_mhz, .* not a range of clocks"
    ):
        write_fit(wrong, tmp_path / "fit.json")
    assert not list(tmp_path.iterdir())


def test_fit_round_trip_and_refusals(tmp_path):
    fit = find_fit("pi4")
    path = write_fit(fit, tmp_path / "fit.json")
    assert read_fit(path) == fit
    document = json.loads(path.read_text())
    for where, value, message in [
        (("laws", "minmax", "models", "alexnet", "a"), -1.0, r"\$\.laws\.minmax\.models\.alexnet: a is -1\.0"),
        (("laws", "max", "models", "vgg16", "lower"), 9.0, r"\$\.laws\.max\.models\.vgg16: bounds must be"),
        (("laws", "median"), {}, "Invalid enum value 'median'"),
        (("laws",), {}, r"\$\.laws is empty"),
        (("laws", "max", "models"), {}, r"\$\.laws\.max\.models is empty"),
        (("clock_min_mhz",), 9e9, "not a range of clocks"),
        (("format",), "fit", r"\$\.format is 'fit'"),
    ]:
        changed = json.loads(json.dumps(document))
        target = changed
        for step in where[:-1]:
            target = target[step]
        target[where[-1]] = value
        path.write_text(json.dumps(changed))
        with pytest.raises(FileError, match=message):
            read_fit(path)
