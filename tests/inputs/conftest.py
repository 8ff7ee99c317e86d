from __future__ import annotations

import json
import signal
import subprocess
import sys
import time

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
        self.folder, self._files = folder, {}

    def start(self, *overrides):
        fixed = ("model=mnist", "telemetry=constant", "cloud_url=http://127.0.0.1:9", "hydra.run.dir=run")
        # Files, because a process waits for a pipe that nobody reads.
        files = [self.folder / f"{name}_{len(self._files)}.txt" for name in ("stdout", "stderr")]
        with files[0].open("wb") as out, files[1].open("wb") as err:
            process = subprocess.Popen(
                [sys.executable, "-m", "midcut.cli", "edge", *fixed, *overrides],
                cwd=self.folder, stdout=out, stderr=err,
            )  # fmt: skip
        self._files[process] = files
        return process

    def printed(self, process):
        """What a process has written to stdout and stderr."""
        return tuple(file.read_text() for file in self._files[process])

    def first_line(self, process, limit_s=300.0):
        """The first line on stdout."""
        end = time.monotonic() + limit_s
        while "\n" not in self.printed(process)[0]:
            assert process.poll() is None and time.monotonic() < end, self.printed(process)  # noqa: PT018
            time.sleep(0.05)
        return self.printed(process)[0].partition("\n")[0]

    def run(self, *overrides):
        process = self.start(*overrides)
        process.wait(300)
        return process.returncode, *self.printed(process)

    def stop(self, process):
        process.send_signal(signal.SIGTERM)
        process.wait(300)
        out, err = self.printed(process)
        assert process.returncode == 0, err
        return out

    def kill(self):
        """End what a failed test left running."""
        for process in self._files:
            process.kill()
            process.wait()

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
    started = Edge(tmp_path)
    yield started
    started.kill()
