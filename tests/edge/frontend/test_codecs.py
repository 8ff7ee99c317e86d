"""`midcut edge` with several codecs, beside a cloud that takes some of them."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path

import pytest

from midcut.config.settings import CutSettings
from midcut.graph import partition
from midcut_codecs.config import Int8Config, WebpConfig, ZstdConfig
from midcut_codecs.packed import Zstd
from midcut_codecs.pictures import Webp
from midcut_codecs.rounded import Int8
from midcut_models.mnist import DIGITS, Mnist

TAKEN = {
    "int8": Int8(name="int8", **vars(Int8Config())),
    "webp": Webp(name="webp", **vars(WebpConfig())),
    "zstd": Zstd(name="zstd", **vars(ZstdConfig())),
}


@pytest.fixture(scope="module")
def digits_cloud(running_cloud):
    with running_cloud(partition(Mnist(name="mnist").load(), CutSettings()), codecs=TAKEN) as url:
        yield url


def stream(folder, url, *overrides):
    done = subprocess.run(
        [
            *(sys.executable, "-m", "midcut.cli", "edge", "model=mnist", f"cloud_url={url}"),
            *("telemetry=constant", "telemetry.constant.bandwidth_kbps=200", "planner.w=0"),
            *("input=folder", f"input.path={DIGITS}", "input.limit=10", "input.plot=false", "hydra.run.dir=out"),
            *overrides,
        ],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    lines = (folder / "out" / "results.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines], done.stderr + done.stdout


def test_the_cloud_finishes_what_the_chosen_codec_brings(tmp_path, digits_cloud):
    # Cut 7 at the latest: 320 values to send. On 200 kbit/s a quarter of the bytes is the fastest way.
    records, said = stream(
        tmp_path, digits_cloud, "codec=[raw,fp16,int8]", "cuts.first_cut=7", "cuts.last_cut=7", "cuts.verify=false"
    )
    with (DIGITS / "labels.csv").open() as file:
        labels = {row["file"]: int(row["label"]) for row in csv.DictReader(file)}
    assert {(one["cut"], one["codec"], one["finished_by"]) for one in records} == {(7, "int8", "cloud")}
    assert [one["class"] for one in records] == [labels[Path(one["file"]).name] for one in records]
    assert {one["predicted"]["codec"] for one in records} == {"int8"}
    # 320 bytes, 20 pairs of scale and offset, a head; bare it would be 1280 bytes and the head.
    assert all(320 + 160 < one["sent_bytes"] < 1280 for one in records)
    assert "the cloud does not take codec fp16; it takes: raw, base64, int8, webp, zstd" in " ".join(said.split())


def test_a_cloud_takes_chains_of_its_codecs(tmp_path, digits_cloud):
    given = ("codec=[raw,int8-zstd,fp16-zstd]", "cuts.first_cut=7", "cuts.last_cut=7", "cuts.verify=false")
    records, said = stream(tmp_path, digits_cloud, *given, "codec.int8-zstd.zstd.min_saving=0")
    assert {(one["cut"], one["codec"], one["finished_by"]) for one in records} == {(7, "int8-zstd", "cloud")}
    assert all(one["sent_bytes"] < 1280 for one in records)
    assert "the cloud does not take codec fp16-zstd; it takes: raw, base64, int8, webp, zstd" in " ".join(said.split())


def test_pictures_cross_the_first_cut_as_pictures(tmp_path, digits_cloud):
    records, _ = stream(tmp_path, digits_cloud, "codec=[raw,webp]", "cuts.last_cut=0")
    here, _ = stream(tmp_path, digits_cloud, "cuts.first_cut=13", "executor=native", "hydra.run.dir=out")
    assert {(one["cut"], one["codec"], one["finished_by"]) for one in records} == {(0, "webp", "cloud")}
    assert [one["class"] for one in records] == [one["class"] for one in here]
    assert [one["probability"] for one in records] == [one["probability"] for one in here]
    assert all(one["sent_bytes"] < 28 * 28 * 4 / 2 for one in records)


def test_the_papers_codec_goes_by_the_papers_route(tmp_path, digits_cloud):
    records, _ = stream(tmp_path, digits_cloud, "codec=base64", "cuts.first_cut=7", "cuts.last_cut=7")
    assert {(one["codec"], one["finished_by"]) for one in records} == {("base64", "cloud")}
    assert all(1280 * 4 / 3 < one["sent_bytes"] < 1280 * 4 / 3 + 450 for one in records)
