"""`midcut profile agreement=FOLDER`: what codecs do on pictures, and how plans use it."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from msgspec import structs
from PIL import Image
from rich.console import Console

from midcut.cli.coding_table import print_codings
from midcut.cli.verbs import profile as verb
from midcut.component import Kind
from midcut.config.build import build_each
from midcut.config.composition import compose
from midcut.errors import ConfigError
from midcut.planning.placements import placements
from midcut.profiles import read_profile
from midcut.profiles.agreement import check_pictures, measure_codings
from midcut.profiles.coding_rows import coded_cuts, narrowing_cuts
from midcut.profiles.codings import build_measured_codecs, settings_text
from midcut.serving.picture_folder import picture_files, read_pictures
from midcut_models.mnist import DIGITS


@pytest.fixture(scope="module")
def mnist():
    from midcut.graph import partition
    from midcut.settings import CutSettings

    (component,) = build_each(Kind.MODEL, compose("profile", ["model=mnist"]).model).values()
    model = component.load()
    return model, partition(model, CutSettings(verify=False, modules=True))


CODECS = ("codec=[zstd,int4-zstd]", "codec.int4-zstd.int4.scale=tensor")


@pytest.fixture(scope="module")
def measured(mnist):
    """Codings on 20 digits, and the inputs."""
    torch.set_num_threads(1)
    model, cut = mnist
    inputs = read_pictures(model, picture_files(str(DIGITS), 20))
    config = compose("profile", ["model=mnist", *CODECS])
    codecs = {
        name: (codec, settings_text(config.codec[name])) for name, codec in build_each(Kind.CODEC, config.codec).items()
    }
    return (
        inputs,
        {name: codec for name, (codec, _) in codecs.items()},
        measure_codings(cut, inputs, codecs, 900.0, lambda: None),
    )


def test_agreement_and_error_are_those_of_the_unsplit_model_on_what_arrives(mnist, measured):
    model, cut = mnist
    inputs, codecs, codings = measured
    by_name = {coding.codec: coding for coding in codings}
    assert set(by_name["zstd"].agreement.values()) == {1.0}
    assert set(by_name["zstd"].error.values()) == {0.0}
    at = cut.legal[1]
    (spec,) = cut.table.cuts[at].values
    same, errors, sizes = [], [], []
    with torch.inference_mode():
        for value in inputs:
            expected = model.module(value)
            encoded = codecs["int4-zstd"].encode(cut.head(at, (value,))[0])
            output = cut.tail(at, [codecs["int4-zstd"].decode(encoded, spec)])[0]
            same.append(output.argmax() == expected.argmax())
            errors.append(np.linalg.norm(output - expected) / np.linalg.norm(expected))
            sizes.append(encoded.size_bytes)
    coarse = by_name["int4-zstd"]
    assert coarse.agreement[at] == pytest.approx(np.mean(same))
    assert coarse.error[at] == pytest.approx(np.mean(errors), rel=1e-3)
    assert coarse.value_bytes[spec.name] == pytest.approx(np.mean(sizes))
    assert coarse.pictures == 20


def noise_folder(folder):
    for number in range(12):
        pixels = np.random.default_rng(number).integers(0, 255, (28, 28), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")


def one_kind_folder(folder):
    for number in range(12):
        Image.fromarray(np.full((28, 28), number, dtype=np.uint8)).save(folder / f"{number}.png")


@pytest.mark.parametrize(
    ("make", "part"),
    [
        (noise_folder, "are noise, for which a model's class hardly changes"),
        (one_kind_folder, "pictures get class"),
        (lambda folder: (folder / "a.txt").write_text("x"), "has 0 pictures, and agreement takes 10 or more"),
    ],
)
def test_pictures_that_say_nothing_are_refused_before_anything_is_measured(tmp_path, monkeypatch, make, part):
    monkeypatch.setattr(verb, "measure", lambda *_, **__: pytest.fail("measured first"))
    make(tmp_path)
    config = compose("profile", ["model=mnist", "cuts.verify=false", "cuts.modules=true", "repeats=1", "warmup=0"])
    config.agreement = str(tmp_path)
    config.out = str(tmp_path / "p.json")
    with pytest.raises(ConfigError, match=part):
        verb.run(config)
    assert not (tmp_path / "p.json").exists()


def test_pictures_of_several_kinds_are_known_by_all_pixels():
    from midcut.graph import partition
    from midcut.settings import CutSettings
    from midcut.types import LoadedModel

    # Class 1 where a pixel is over 0.5; the first pixel is background in each picture, as in most.
    conv = torch.nn.Conv2d(1, 2, 1)
    conv.weight.data, conv.bias.data = torch.tensor([0.0, 1.0]).view(2, 1, 1, 1), torch.tensor([0.0, -0.5])
    background, object_ = torch.zeros(1, 1, 4, 4), torch.zeros(1, 1, 4, 4)
    object_[..., 2:, 2:] = 1.0
    module = torch.nn.Sequential(torch.nn.ReLU(), conv).eval()
    cut = partition(LoadedModel("seg", module, (background,), lambda _: None), CutSettings())
    check_pictures(cut, [background, object_])
    check_pictures(cut, [object_, object_])
    with pytest.raises(ConfigError, match="all 2 pictures get class 0"):
        check_pictures(cut, [background, background])


def test_random_inputs_are_refused_by_name():
    with pytest.raises(ConfigError, match="random inputs agree with anything"):
        picture_files("random", 50)


@pytest.fixture
def profile_file(tmp_path):
    out = tmp_path / "mnist-edge.json"
    short = [
        "cuts.verify=false",
        "cuts.modules=true",
        "repeats=1",
        "warmup=0",
        "pictures=12",
        "plot=true",
        f"out={out}",
    ]
    verb.run(compose("profile", ["model=mnist", f"agreement={DIGITS}", f"out={out}", *CODECS, *short]))
    return out


def test_a_table_and_a_figure_show_each_codec_where_less_crosses_than_before(profile_file, capsys):
    profile = read_profile(profile_file)
    by_codec = coded_cuts(profile)
    narrowing = narrowing_cuts(profile.table, [row.cut for row in by_codec["zstd"]])
    sizes = [profile.table.cuts[cut].payload_bytes for cut in narrowing]
    assert narrowing[0] == 0
    assert sizes == sorted(set(sizes), reverse=True)
    print_codings(profile, Console(width=200))
    lines = capsys.readouterr().out.splitlines()
    assert "on 12 pictures" in lines[0]
    assert [line.split()[0] for line in lines[2:]] == [str(cut) for cut in narrowing]
    first = next(row for row in by_codec["int4-zstd"] if row.cut == 0)
    assert f"{first.sent_bytes / first.raw_bytes:.3f} {first.agreement:.1%}" in lines[2]
    assert profile_file.with_suffix(".png").stat().st_size > 10_000


def test_a_figure_of_codecs_needs_pictures():
    with pytest.raises(ConfigError, match="plot=true draws what codecs do to pictures: give agreement=FOLDER"):
        verb.run(compose("profile", ["model=mnist", "plot=true"]))


def test_a_plan_takes_sizes_and_agreement_at_each_cut_from_the_profile(profile_file):
    found = {coding.codec: coding for coding in read_profile(profile_file).codings}
    text = json.loads(profile_file.read_text())
    first = min(int(cut) for cut in found["int4-zstd"].agreement if cut)
    for coding in text["codings"]:
        if coding["codec"] == "int4-zstd":
            coding["agreement"] |= dict.fromkeys(coding["agreement"], 0.5) | {str(first): 1.0}
    profile_file.write_text(json.dumps(text))
    table = read_profile(profile_file).table
    legal = [0, first, first + 1, table.last]
    config = compose("plan", ["model=mnist", f"edge_profile={profile_file}", "accuracy_floor=0.9", *CODECS])
    offered = placements(table, legal, build_measured_codecs(config, table))
    rows = [(int(cut), codec) for cut, codec in zip(offered.cut, offered.codec, strict=True)]
    assert (first, "int4-zstd") in rows
    assert (0, "int4-zstd") not in rows
    assert (0, "zstd") in rows
    (spec,) = table.cuts[first].values
    sent = offered.request_bytes[rows.index((first, "int4-zstd"))]
    assert 0 < sent - found["int4-zstd"].value_bytes[spec.name] < 1000
    # Other settings were not measured: their agreement is unknown, so that the codec is left out.
    other = compose(
        "plan", ["model=mnist", f"edge_profile={profile_file}", "accuracy_floor=0.9", "codec=[zstd,int4-zstd]"]
    )
    assert list(build_measured_codecs(other, table)) == ["zstd"]
    # So were other weights.
    retrained = structs.replace(table, weights="retrained")
    assert list(build_measured_codecs(config, retrained)) == ["zstd"]
    # However many pictures agreed, the codec is not exact.
    strict = compose("plan", ["model=mnist", f"edge_profile={profile_file}", "accuracy_floor=1", *CODECS])
    assert list(build_measured_codecs(strict, table)) == ["zstd"]


def test_a_profile_without_pictures_is_read_by_older_versions(tmp_path):
    out = tmp_path / "plain.json"
    verb.run(compose("profile", ["model=mnist", "cuts.verify=false", "repeats=1", "warmup=0", f"out={out}"]))
    assert "codings" not in json.loads(out.read_text())
