"""The clock law: it is recovered exactly from exact data, and the shipped fit is reproduced from its profiles."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

from midcut.errors import ConfigError, FileError
from midcut.profiles import Normalisation, find_fit, find_profile, read_fit, write_fit
from midcut.profiles.fitting import fit, points_of, predicted_slope_s, split_points
from midcut.reporting.figures_fit import draw_fit
from midcut.reporting.style import figure_style, save_figure

CLOCKS = [600.0, 700.0, 800.0, 900.0, 1000.0, 1100.0, 1200.0, 1300.0, 1400.0, 1500.0]


def on_a_power_law(profile_of, model, scale, b=-1.0):
    # Two layers: whole_s = 2 * slope.
    return profile_of({mhz: (scale * mhz**b, scale * mhz**b) for mhz in CLOCKS}, model=model)


def test_a_law_without_offset_is_found_exactly(profile_of):
    fitted = fit([on_a_power_law(profile_of, "one", 3.0), on_a_power_law(profile_of, "two", 40.0)], seed=0)
    # Divided by the slope at 600 MHz the law is 600 / CS: a = 600, b = -1.
    law = fitted.laws[Normalisation.max]
    assert law.models["one"].a == pytest.approx(600.0, rel=1e-6)
    assert law.models["one"].b == law.models["two"].b == pytest.approx(-1.0, rel=1e-9)
    assert law.models["two"].upper == pytest.approx(40.0 / 600, rel=1e-15)
    assert law.models["two"].lower == 0.0
    assert law.max_error < 1e-8
    assert law.r2 == pytest.approx(1.0)
    loglog = fitted.laws[Normalisation.loglog].models
    assert (loglog["one"].a, loglog["two"].a) == (pytest.approx(3.0, rel=1e-9), pytest.approx(40.0, rel=1e-9))
    assert (fitted.clock_min_mhz, fitted.clock_max_mhz) == (600.0, 1500.0)
    assert (fitted.fitted, fitted.validated) == (12, 8), "60 % and 40 % of twenty points"


def test_minmax_cannot_reach_the_lower_bound(profile_of):
    law = fit([on_a_power_law(profile_of, "one", 3.0)], seed=0).laws[Normalisation.minmax]
    model_law = law.models["one"]
    assert (model_law.upper, model_law.lower) == (pytest.approx(3.0 / 600), pytest.approx(3.0 / 1500))
    assert -3.2 < model_law.b < -2.0, "far from the true -1"
    assert predicted_slope_s(model_law, np.array([1500.0]))[0] > 1.04 * 3.0 / 1500


def test_the_error_is_that_of_the_validation_points(profile_of):
    profiles = [on_a_power_law(profile_of, "one", 3.0)]
    (measured,) = split_points(profiles, seed=4)
    law = fit(profiles, seed=4).laws[Normalisation.minmax]
    errors = np.abs(predicted_slope_s(law.models["one"], measured.clock_mhz) / measured.slope_s - 1)[~measured.fitted]
    assert measured.fitted.sum() == 6
    assert law.mean_error == pytest.approx(errors.mean())
    assert law.max_error == pytest.approx(errors.max())
    again, other = split_points(profiles, seed=4)[0].fitted, split_points(profiles, seed=5)[0].fitted
    assert (again == measured.fitted).all()
    assert (other != measured.fitted).any()


def test_three_clocks_suffice(profile_of):
    profile = profile_of({600.0: (5, 5), 1000.0: (3, 3), 1500.0: (2, 2)})
    fitted = fit([profile], seed=0)
    assert (fitted.fitted, fitted.validated) == (2, 1)
    assert fitted.laws[Normalisation.loglog].models["two"].b == pytest.approx(-1.0)


def test_the_shipped_fit_is_reproduced():
    shipped = find_fit("pi4")
    again = fit([find_profile("pi4", "edge", model) for model in ("alexnet", "vgg16", "mnist")], shipped.seed)
    assert shipped.modelled
    for name, law in shipped.laws.items():
        for model, model_law in law.models.items():
            assert again.laws[name].models[model].b == pytest.approx(model_law.b, rel=1e-6)
            assert again.laws[name].models[model].upper == pytest.approx(model_law.upper, rel=1e-12)
    assert -2.7 < shipped.laws[Normalisation.minmax].models["alexnet"].b < -2.2
    assert shipped.laws[Normalisation.loglog].mean_error < 0.01


def test_a_curve_that_does_not_converge_is_left_out_with_a_warning(profile_of, caplog):
    # Two points are fitted; min-max normalised they are 1 and 0, and no power law is 0.
    profile = profile_of({600.0: (5, 5), 1000.0: (3, 3), 1500.0: (2, 2)})
    seed = next(seed for seed in range(99) if split_points([profile], seed)[0].fitted.tolist() == [True, False, True])
    fitted = fit([profile], seed)
    assert list(fitted.laws) == [Normalisation.max, Normalisation.loglog]
    assert "no power law fits the slopes normalised by minmax" in caplog.text


def test_the_plot_is_drawn(tmp_path, profile_of):
    profiles = [on_a_power_law(profile_of, "one", 3.0)]
    png, svg = tmp_path / "fit.png", tmp_path / "fit.svg"
    with figure_style():
        save_figure(draw_fit(fit(profiles, 0)), png, svg)
    assert png.read_bytes().startswith(b"\x89PNG")
    assert b"<svg" in svg.read_bytes()


def test_refusals(profile_of):
    profile = on_a_power_law(profile_of, "one", 3.0)
    for profiles, message in [
        ([], "midcut fit needs profiles"),
        ([profile, profile], "got 2 profiles of model 'one'"),
        ([profile_of({600.0: (2, 2), 900.0: (1, 1)})], "'two' has 2 clock settings, a fit needs 3 or more"),
        ([profile_of({None: (2, 2)})], "'two' has 0 clock settings"),
        ([profile_of({1.0: (2, 2), 2.0: (1, 1), 3.0: (1, 1)}, role="cloud")], "is of role cloud"),
        ([profile_of({1.0: (2, 2), 2.0: (2, 2), 3.0: (2, 2)})], "takes the same time at every clock"),
    ]:
        with pytest.raises(ConfigError, match=message):
            fit(profiles, 0)


def test_seconds_of_several_images_are_refused(profile_of):
    profile = on_a_power_law(profile_of, "one", 3.0)
    with pytest.raises(FileError, match="profile of 'one' as edge was measured with 4 images at once"):
        fit([msgspec.structs.replace(profile, batch=4)], 0)


def test_several_machines_are_refused_by_name(profile_of):
    one, two = (on_a_power_law(profile_of, model, 3.0) for model in ("one", "two"))
    updated = msgspec.structs.replace(two, machine=msgspec.structs.replace(two.machine, system="Linux 99"))
    assert fit([one, updated], 0).device == "board"
    for other in (
        msgspec.structs.replace(two, machine=msgspec.structs.replace(two.machine, name="laptop")),
        msgspec.structs.replace(two, threads=4),
    ):
        with pytest.raises(ConfigError) as error:
            fit([one, other], 0)
        name, threads = other.machine.name, other.threads
        assert str(error.value) == (
            "midcut fit takes profiles of one machine: that of 'one' is of board (core, 2 cores), threads=1, "
            f"that of 'two' of {name} (core, 2 cores), threads={threads}"
        )


def test_the_points_are_saved_in_the_file(tmp_path, profile_of):
    profiles = [on_a_power_law(profile_of, "one", 3.0), on_a_power_law(profile_of, "two", 5.0)]
    read = read_fit(write_fit(fit(profiles, 0), tmp_path / "fit.json"))
    for before, after in zip(split_points(profiles, 0), points_of(read), strict=True):
        assert (after.model, after.clock_mhz.tolist()) == (before.model, before.clock_mhz.tolist())
        assert (after.slope_s.tolist(), after.fitted.tolist()) == (before.slope_s.tolist(), before.fitted.tolist())

    without_fitted = msgspec.structs.replace(read.points["one"], fitted=())
    with pytest.raises(FileError, match=r"\$.points.one: clock_mhz, slope_s and fitted must have equal lengths"):
        write_fit(msgspec.structs.replace(read, points={"one": without_fitted}), tmp_path / "wrong.json")
