"""The live page, metrics and requests of an edge that streams."""

from __future__ import annotations

import contextlib
import json
import re
import time
import urllib.request

import pytest
from PIL import Image

from midcut_models.mnist import DIGITS

SERVED = ("server.enabled=true", "server.port=0", "input.plot=false")


@contextlib.contextmanager
def streaming(edge, *overrides):
    """A stream that is stopped at the end, and its address."""
    process = edge.start(*SERVED, *overrides)
    found = re.fullmatch(r"midcut edge ready on (http://\S+)", edge.first_line(process))
    assert found, edge.printed(process)
    yield found[1]
    edge.stop(process)


def states(url):
    """The states that an open page gets."""
    with urllib.request.urlopen(f"{url}/v1/events", timeout=60) as events:
        for line in events:
            if line.startswith(b"data: "):
                yield json.loads(line.removeprefix(b"data: "))


def last_answer(url):
    end = time.monotonic() + 120
    for state in states(url):
        if state["last"] is not None:
            return state
        assert time.monotonic() < end
    raise AssertionError("no answer was shown")


def test_the_page_shows_the_frames_of_a_camera_and_requests_are_answered_in_between(edge, make_video, labels):
    camera = make_video("camera.avi", "mjpeg", "yuvj420p", repeat=40)  # two minutes, of which seconds are streamed
    with streaming(edge, "input=video", f"input.url={camera}", "input.realtime=true") as url:
        state = last_answer(url)
        assert state["last"]["label"] in labels
        assert state["last"]["picture"].startswith("data:image/jpeg;base64,")
        assert state["requests"] > 0
        request = urllib.request.Request(
            f"{url}/v1/infer", (DIGITS / "0000.png").read_bytes(), {"Content-Type": "image/png"}
        )
        with urllib.request.urlopen(request, timeout=60) as response:
            assert json.load(response)["label"] == labels[0]
        with urllib.request.urlopen(f"{url}/metrics", timeout=60) as response:
            assert b"midcut_" in response.read()
    assert edge.summary["stopped_early"]


def test_the_page_shows_the_files_of_a_folder(edge, tmp_path):
    (tmp_path / "photos").mkdir()
    with streaming(edge, "input=folder", "input.path=photos", "input.watch=true") as url:
        opened = states(url)
        assert next(opened)["last"] is None
        Image.open(DIGITS / "0000.png").save(tmp_path / "photos" / "0000.png")
        shown = next(state["last"] for state in opened if state["last"] is not None)
        opened.close()
    assert shown["label"] == edge.results[0]["label"]
    assert shown["picture"].startswith("data:image/jpeg;base64,")


FOLDER = ("input=folder", f"input.path={DIGITS}", "server.enabled=true")


@pytest.mark.parametrize(
    ("overrides", "line"),
    [
        (("input=server", "server.enabled=true"), "server.enabled=true is for streams: input=server serves already"),
        ((*FOLDER, "server.queue_s=0"), "server.queue_s must be"),
        ((*FOLDER, "server.token_file=no"), "server.token_file: no cannot be read"),
        (("input=server", "input.tls_key=no"), "input.tls_key and tls_client_ca need tls_cert"),
    ],
)
def test_a_server_that_cannot_be_is_refused_in_one_line(edge, overrides, line):
    status, out, err = edge.run(*overrides)
    assert (status, out) == (1, "")
    assert line in err
    assert len(err.splitlines()) == 1
