"""`midcut fit` as users run it."""

from __future__ import annotations

import pytest

from midcut.profiles import SHIPPED, read_fit


def test_figure4(midcut, tmp_path):
    for name in ("one", "two"):
        status, _, err = midcut("fit", "experiment=figure4", f"out={name}/fit.json")
        assert status == 0, err
    fit = read_fit(tmp_path / "one" / "fit.json")
    assert sorted(fit.laws["minmax"].models) == ["alexnet", "mnist", "vgg16"]
    assert fit.laws["minmax"].models["alexnet"].b == pytest.approx(-2.385, abs=1e-3)
    for name in ("fit.json", "fit.svg"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


@pytest.fixture
def shipped():
    paths = (SHIPPED / "profiles" / "pi4" / f"{model}.json" for model in ("alexnet", "vgg16", "mnist"))
    return f"profiles=[{','.join(map(str, paths))}]"


def test_parameters_plot_and_use(midcut, tmp_path, shipped):
    status, out, err = midcut("fit", shipped, "out=fitted/fit.json")
    assert status == 0, err
    fit = read_fit(tmp_path / "fitted" / "fit.json")
    assert (fit.fitted, fit.validated, fit.modelled) == (18, 12, True)
    assert (tmp_path / "fitted" / "fit.png").read_bytes().startswith(b"\x89PNG")
    assert f"{fit.laws['minmax'].models['alexnet'].b:.4f}" in out
    status, out, err = midcut(
        "plan", "policy=paper", "predictor.edge.fit=fitted/fit.json", "predictor.edge.normalisation=loglog"
    )
    assert status == 0, err


def test_the_path_that_is_printed_is_the_one_that_is_written(midcut, tmp_path, shipped):
    status, out, err = midcut("fit", shipped, "what=layers", "out='of[all]:on:pi.json'")
    assert status == 0, err
    assert out.endswith("written: of[all]:on:pi.json\n")
    assert (tmp_path / "of[all]:on:pi.json").exists()


@pytest.mark.parametrize(
    ("profiles", "message"),
    [
        ("profiles=[none.json]", "no profile 'none.json': not a file, not a folder, not a shipped device"),
        (f"profiles=[{SHIPPED}/profiles/cloud/vgg16.json]", "is of role cloud"),
    ],
)
def test_refusals(midcut, profiles, message):
    status, _, err = midcut("fit", profiles)
    assert status == 1
    assert message in err
    assert "Traceback" not in err
