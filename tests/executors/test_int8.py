"""`accuracy=fast` in ONNX Runtime: 8-bit integers whose ranges come from a folder of pictures."""

from __future__ import annotations

import shutil
from contextlib import closing

import numpy as np
import pytest
import structlog
import torch
from PIL import Image
from torch import nn

from midcut.config.settings import CutSettings
from midcut.errors import ConfigError, ExecutorError
from midcut.graph import partition
from midcut.profiles import Role, Run, speed_key
from midcut.profiles.measuring import finish
from midcut.profiles.segments import measuring_segments
from midcut.tensors import largest_error
from midcut.testing.networks import small_network
from midcut.types import LoadedModel
from midcut_executors import choosing
from midcut_executors.config import Accuracy

runtime = pytest.importorskip("midcut_executors.onnxruntime", reason="needs the extra `onnx`", exc_type=ImportError)
OnnxRuntime = runtime.OnnxRuntime
SIZE = 32


def to_input(image):
    pixels = np.asarray(image.convert("RGB").resize((SIZE, SIZE)), dtype=np.float32) / 255.0
    return torch.from_numpy(pixels).permute(2, 0, 1)[None].contiguous()


def network():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        module = nn.Sequential(
            *(nn.Conv2d(3, 16, 3), nn.BatchNorm2d(16), nn.ReLU6()),
            *(nn.Conv2d(16, 16, 3, groups=16), nn.BatchNorm2d(16), nn.ReLU()),
            *(nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(64, 10)),
        )
        module.train()(torch.rand(16, 3, SIZE, SIZE) * 2.0)
    example = (torch.rand(1, 3, SIZE, SIZE),)
    return partition(LoadedModel("pictured", module.eval(), example, to_input), CutSettings())


def picture(number):
    """A smooth picture, each with other colours."""
    across, down = np.meshgrid(np.linspace(0, 1, 40), np.linspace(0, 1, 40))
    channels = [128 + 127 * np.sin(3 * across * (number % 3 + 1) + down * number + shade) for shade in range(3)]
    return Image.fromarray(np.stack(channels, -1).astype(np.uint8))


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """One export of the network for all tests."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def pictures(tmp_path, cache, monkeypatch):
    monkeypatch.setenv("MIDCUT_CACHE", str(cache))
    shutil.rmtree(cache / "speeds", ignore_errors=True)
    folder = tmp_path / "pictures"
    folder.mkdir()
    for number in range(12):
        picture(number).save(folder / f"{number}.png")
    return folder


def fast(folder, tolerance=None):
    return OnnxRuntime(1, tolerance, 64, Accuracy.fast, str(folder))


def test_whole_head_and_tail_compute_in_integers_near_pytorch(pictures):
    parts = network()
    last, inputs = parts.table.last, (to_input(picture(3)),)
    expected = parts.run(0, last, inputs)
    with closing(fast(pictures)) as executor:
        whole = executor.prepare(parts, 0, last).run(inputs)[0]
        assert executor.identity.endswith(" int8")
        assert 1e-5 < largest_error(whole, expected) < 0.1  # float32 is nearer than that
        for cut in parts.legal[1:-1]:
            payload = executor.prepare(parts, 0, cut).run(inputs)[0]
            assert all(value.dtype == torch.float32 for value in payload)
            answer = executor.prepare(parts, cut, last).run(payload)[0]
            assert largest_error(answer, expected) < 0.15
            assert largest_error(parts.run(cut, last, payload), expected) < 0.1  # a cloud in PyTorch


def test_a_part_that_integers_change_too_much_stays_in_pytorch(pictures):
    parts = network()
    with closing(fast(pictures, 1e-6)) as executor, pytest.raises(ExecutorError, match=r"int8 differs from PyTorch by"):
        executor.prepare(parts, 0, parts.table.last)


def test_a_profile_has_the_errors_of_integers_on_the_pictures(pictures):
    parts = network()
    last = parts.table.last
    nodes = Run(None, (1e-3,) * last, (0.0,) * last, 1e-3 * last, 0.0, 1)
    with closing(fast(pictures)) as executor:
        passes = measuring_segments(parts, parts.example, Role.edge, nodes, executor, 1)
        errors = finish(passes, lambda: None).cut_errors
        samples = executor.samples(parts)
        whole = executor.prepare(parts, 0, last)
        expected = [largest_error(whole.run(inputs)[0], parts.run(0, last, inputs)) for inputs in samples]
    assert len(samples) == 5
    assert errors[last] == pytest.approx(sorted(expected)[2])


def broken(folder):
    (folder / "3.png").write_bytes(b"no picture")


def emptied(folder):
    for file in folder.iterdir():
        file.unlink()


def only_text(folder):
    emptied(folder)
    (folder / "notes.txt").write_text("x")


def noisy(folder):
    generator = np.random.default_rng(0)
    for file in folder.iterdir():
        Image.fromarray(generator.integers(0, 256, (40, 40, 3), dtype=np.uint8)).save(file)


def removed(folder):
    emptied(folder)
    folder.rmdir()


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (removed, "is not a folder of pictures"),
        (emptied, "has 0 pictures, and calibration takes 10 or more"),
        (only_text, "has 0 pictures, and calibration takes 10 or more"),
        (broken, "3.png cannot be used"),
        (noisy, "these pictures are noise"),
    ],
)
def test_a_folder_that_cannot_be_used_is_one_line_and_float32_answers(pictures, spoil, reason):
    spoil(pictures)
    parts = network()
    last, inputs = parts.table.last, (to_input(picture(3)),)
    with closing(fast(pictures)) as executor, structlog.testing.capture_logs() as logs:
        for cut in (2, 4, last):
            executor.prepare(parts, 0, cut)
        answer = executor.prepare(parts, 0, last).run(inputs)[0]
        assert executor.identity.endswith(" float32")
    assert largest_error(answer, parts.run(0, last, inputs)) < 1e-5
    (line,) = [entry for entry in logs if entry["log_level"] == "warning"]
    assert line["event"] == "executor.accuracy=fast computes in float32"
    assert reason in line["reason"]
    assert line["reason"].startswith("executor.calibration")
    assert "\n" not in line["reason"]


def test_a_network_without_preprocessing_is_one_line(pictures):
    parts = small_network()
    parts.pictures = None
    with closing(fast(pictures)) as executor, structlog.testing.capture_logs() as logs:
        executor.prepare(parts, 0, parts.table.last)
    (line,) = [entry for entry in logs if entry["log_level"] == "warning"]
    assert line["reason"] == "no pictures become inputs of model 'small' here"


def test_settings_that_do_not_fit_are_one_line():
    given = {"threads": None, "tolerance": None, "segments": 8}
    for make in (choosing.onnxruntime, choosing.Auto):
        with pytest.raises(ConfigError, match=r"executor\.calibration is of 8-bit integers"):
            make(**given, accuracy=Accuracy.float32, calibration="pictures")
    with pytest.raises(ConfigError, match=r"needs executor\.calibration=FOLDER"):
        choosing.onnxruntime(**given, accuracy=Accuracy.fast)


def test_seconds_of_other_threads_or_pictures_are_not_taken_for_these(tmp_path):
    keys = set()
    for threads, number in ((1, 3), (2, 3), (1, 4)):
        picture(number).save(tmp_path / "a.png")
        with closing(OnnxRuntime(threads, None, 8, Accuracy.fast, str(tmp_path))) as executor:
            keys.add(speed_key(executor))
    assert len(keys) == 3
    assert all(key.startswith("onnxruntime") for key in keys)


@pytest.mark.parametrize(("int8_s", "expected"), [(1e-9, " int8"), (9.0, "native torch ")])
def test_auto_takes_integers_only_where_they_are_faster(pictures, monkeypatch, int8_s, expected):
    monkeypatch.setattr(choosing, "missing", lambda name: [] if name == "onnxruntime" else [name])
    monkeypatch.setattr(choosing, "_WORTH_IT", 1e-4)  # nothing that really runs is that fast
    run = runtime.RuntimeExecutor.prepare

    def prepare(self, network, start, stop):
        segment = run(self, network, start, stop)
        if self.identity.endswith(" int8"):
            inner = segment.run
            segment.run = lambda values: (inner(values)[0], int8_s)
        return segment

    monkeypatch.setattr(runtime.RuntimeExecutor, "prepare", prepare)
    parts = network()
    with closing(choosing.Auto(1, None, 8, Accuracy.fast, str(pictures))) as auto:
        auto.prepare(parts, 0, parts.table.last)
        assert expected in auto.identity
