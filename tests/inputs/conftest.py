from __future__ import annotations

import json
import signal
import subprocess
import sys

import pytest
from PIL import Image

from midcut_models.mnist import DIGITS

FRAMES_PER_SECOND = 10


@pytest.fixture
def labels():
    """The digits that the video shows, in order: one a frame."""
    rows = (DIGITS / "labels.csv").read_text().split()[1:]
    return [row.partition(",")[2] for row in rows[:30]]


@pytest.fixture
def make_video(tmp_path, labels):
    """Makes a video of thirty shipped digits, `repeat` times over; returns its path."""
    av = pytest.importorskip("av", reason="extra video is not installed")

    def make(name, codec, pixels, repeat=1):
        path = tmp_path / name
        with av.open(str(path), "w") as container:
            stream = container.add_stream(codec, rate=FRAMES_PER_SECOND)
            stream.width = stream.height = 112
            stream.pix_fmt = pixels
            for number in list(range(len(labels))) * repeat:
                picture = Image.open(DIGITS / f"{number:04}.png").convert("RGB").resize((112, 112))
                container.mux(stream.encode(av.VideoFrame.from_image(picture)))
            container.mux(stream.encode())
        return path

    return make


@pytest.fixture
def video(make_video):
    """A video in a lossless codec."""
    return make_video("digits.mkv", "ffv1", "bgr0")


@pytest.fixture
def mjpeg(make_video):
    """The digits as a camera's MJPEG: each frame is the file of a picture."""
    return make_video("digits.avi", "mjpeg", "yuvj420p")


class Edge:
    """`midcut edge` in an empty folder; `results` are the lines that it wrote."""

    def __init__(self, folder):
        self.folder = folder

    def start(self, *overrides):
        fixed = ("model=mnist", "telemetry=constant", "cloud_url=http://127.0.0.1:9", "hydra.run.dir=run")
        return subprocess.Popen(
            [sys.executable, "-m", "midcut.cli", "edge", *fixed, *overrides],
            cwd=self.folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip

    def run(self, *overrides):
        process = self.start(*overrides)
        out, err = process.communicate(timeout=300)
        return process.returncode, out, err

    def stop(self, process):
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=300)
        assert process.returncode == 0, err
        return out

    @property
    def results(self):
        path = self.folder / "run" / "results.jsonl"
        lines = path.read_text().splitlines(keepends=True) if path.exists() else []
        # A read while the edge appends may end inside the last line.
        return [json.loads(line) for line in lines if line.endswith("\n")]

    @property
    def summary(self):
        return json.loads((self.folder / "run" / "summary.json").read_text())


@pytest.fixture
def edge(tmp_path):
    return Edge(tmp_path)
