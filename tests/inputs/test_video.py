"""Videos, streams and folders as inputs of an edge process; the servers are those of Debian."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import time
from pathlib import Path

import pytest
from common.processes import free_port
from PIL import Image

from midcut_models.mnist import DIGITS


def wait_for(condition, what, limit_s=120.0):
    end = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < end, f"no {what} in {limit_s:g} s"
        time.sleep(0.1)


@contextlib.contextmanager
def server(*command, **options):
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **options)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def test_every_frame_of_a_file_is_answered_in_order(edge, video, labels):
    status, out, err = edge.run("input=video", f"input.url={video}", "input.concurrency=4")
    assert status == 0, err
    assert f"midcut edge takes frames of {video}" in out
    answers = [line["label"] for line in edge.results]
    assert sum(answer == label for answer, label in zip(answers, labels, strict=True)) >= 28
    assert [line["n"] for line in edge.results] == list(range(30))
    times = [line["frame_at_s"] for line in edge.results]
    assert times == sorted(times)
    assert all(0.0 < line["probability"] <= 1.0 for line in edge.results)
    assert (edge.summary["requests"], edge.summary["dropped"]) == (30, 0)


def test_a_limit_and_every_nth_frame(edge, video, labels):
    status, _, err = edge.run("input=video", f"input.url={video}", "input.every=3", "input.limit=5", "input.plot=true")
    assert status == 0, err
    assert [line["label"] for line in edge.results] == labels[:15:3]
    assert (edge.folder / "run" / "stream.png").exists()


def test_late_frames_of_a_live_input_are_dropped_and_counted(edge, video):
    # Each request takes 0.4 s of the edge's emulated slow clock, and a frame comes every 0.1 s.
    slow = (
        "executor=emulated_clock",
        "executor.trace=null",
        "executor.root=clock",
        "executor.max_clock_mhz=1000000",
    )
    folder = edge.folder / "clock/sys/devices/system/cpu/cpufreq/policy0"
    folder.mkdir(parents=True)
    (folder / "scaling_cur_freq").write_text("600000\n")
    status, out, err = edge.run(
        "input=video", f"input.url={video}", "input.realtime=true", "input.concurrency=1", *slow
    )
    assert status == 0, err
    summary = edge.summary
    assert summary["dropped"] > 0
    assert summary["requests"] + summary["dropped"] == 30
    assert f"{summary['dropped']} late frames dropped" in " ".join(out.split())


def test_what_cannot_be_opened_is_one_line(edge, tmp_path):
    (tmp_path / "text.mkv").write_text("no video")
    for overrides, line in (
        (("input=video", "input.url=nowhere.mkv"), "input: cannot open nowhere.mkv: No such file or directory"),
        (("input=video", "input.url=text.mkv"), "input: cannot open text.mkv: Invalid data found"),
        (("input=video", "input.url=text.mkv", "input.every=0"), "input.every must be at least 1, got 0"),
        (("input=video",), "url must be given"),
    ):
        status, out, err = edge.run(*overrides)
        assert (status, out) == (1, "")
        assert line in err
        assert len(err.splitlines()) == 1, err


# Debian's GStreamer RTSP server, run by Debian's own Python: it repeats the pictures of a folder for ever.
RTSP_SERVER = """
import sys, gi
gi.require_version("Gst", "1.0"); gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtspServer
Gst.init(None)
server = GstRtspServer.RTSPServer(service=sys.argv[1])
factory = GstRtspServer.RTSPMediaFactory(shared=True)
source = "multifilesrc location=%04d.jpg loop=true caps=image/jpeg,framerate=(fraction)10/1"
factory.set_launch(f"( {source} ! jpegdec ! videoconvert ! jpegenc ! rtpjpegpay name=pay0 )")
server.get_mount_points().add_factory("/digits", factory)
server.attach(None)
GLib.MainLoop().run()
"""
IMPORTS = 'import gi; gi.require_version("GstRtspServer", "1.0"); from gi.repository import GstRtspServer'


def has_rtsp_server():
    python = Path("/usr/bin/python3")
    return python.exists() and not subprocess.run([python, "-c", IMPORTS], capture_output=True, check=False).returncode


@pytest.mark.skipif(
    not has_rtsp_server(), reason="Debian's gir1.2-gst-rtsp-server-1.0 and python3-gi are not installed"
)
def test_a_camera_by_rtsp_and_again_after_it_was_gone(edge, tmp_path, labels):
    pytest.importorskip("av", reason="extra video is not installed")
    served = tmp_path / "served"
    served.mkdir()
    for number in range(10):
        picture = Image.open(DIGITS / f"{number:04}.png").convert("RGB").resize((112, 112))
        picture.save(served / f"{number:04}.jpg", quality=95)
    port = free_port()
    rtsp = ("/usr/bin/python3", "-c", RTSP_SERVER, str(port))
    url = f"rtsp://127.0.0.1:{port}/digits"
    with server(*rtsp, cwd=served):
        process = edge.start("input=video", f"input.url={url}", "input.timeout_s=3")
        try:
            wait_for(lambda: len(edge.results) > 3, "frames")
        except AssertionError:
            pytest.fail(edge.printed(process)[1][-2000:])
    before = len(edge.results)
    with server(*rtsp, cwd=served):
        try:
            wait_for(lambda: len(edge.results) > before + 5, "frames after the camera came back")
        finally:
            edge.stop(process)
    assert edge.summary["stopped_early"]
    assert {line["file"] for line in edge.results} == {url}
    answers = [line["label"] for line in edge.results]
    assert sum(label in labels[:10] for label in answers) > len(answers) * 0.8


@pytest.mark.skipif(not shutil.which("ffmpeg"), reason="Debian's ffmpeg is not installed")
def test_mjpeg_by_http(edge, video):
    port = free_port()
    url = f"http://127.0.0.1:{port}/feed"
    command = ("ffmpeg", "-v", "error", "-re", "-stream_loop", "-1", "-i", str(video), "-f", "mpjpeg", "-listen", "1")
    with server(*command, f"http://127.0.0.1:{port}/feed"):
        time.sleep(1.0)  # it takes a single connection, so that no probe may come before
        status, _, err = edge.run("input=video", f"input.url={url}", "input.limit=8")
    assert status == 0, err
    assert len(edge.results) == 8


def test_a_watched_folder_takes_what_arrives(edge, tmp_path):
    (tmp_path / "photos").mkdir()
    process = edge.start("input=folder", "input.path=photos", "input.watch=true", "input.plot=false")
    try:
        for number, name in enumerate(("0000.png", "0001.png")):
            picture = Image.open(DIGITS / name)
            picture.save(tmp_path / "photos" / name)
            wait_for(lambda count=number: len(edge.results) == count + 1, f"answer to {name}")
    finally:
        edge.stop(process)
    assert [line["file"] for line in edge.results] == ["photos/0000.png", "photos/0001.png"]
    assert edge.summary["stopped_early"]
