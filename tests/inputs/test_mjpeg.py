"""A camera's MJPEG: its frames are files of pictures, which may be sent as they came."""

from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
from PIL import Image

import midcut
from midcut.edge.frontend.frame_stream import _infer_frame
from midcut_inputs.config import VideoConfig
from midcut_inputs.video import Video


def frames_of(path, **given):
    settings = vars(VideoConfig(url=str(path), **given))
    return list(Video(**settings).frames())


def test_frames_of_mjpeg_keep_the_files_that_they_came_as(mjpeg, video, labels):
    frames = frames_of(mjpeg)
    assert [frame.number for frame in frames] == list(range(len(labels)))
    content = mjpeg.read_bytes()
    for frame in frames:
        assert frame.data.startswith(b"\xff\xd8")
        assert frame.data in content  # as it was, nothing is coded again
        assert np.array_equal(np.asarray(frame.image), np.asarray(Image.open(io.BytesIO(frame.data))))
    assert [frame.number for frame in frames_of(mjpeg, every=7)] == list(range(0, len(labels), 7))
    assert all(frame.data is None for frame in frames_of(video))  # FFV1 has no files in it


def test_a_frame_of_mjpeg_that_is_no_whole_picture_is_left_to_ffmpeg(mjpeg):
    data = bytearray(mjpeg.read_bytes())
    first, second = frames_of(mjpeg)[:2]
    at = bytes(data).index(second.data)
    data[at : at + 2] = b"\x00\x00"
    mjpeg.write_bytes(bytes(data))
    found = frames_of(mjpeg)
    assert found[0].data == first.data
    assert len(found) in (29, 30)  # FFmpeg makes something of it or leaves it out


async def test_a_cameras_frame_may_cross_the_first_cut_as_it_came(mjpeg):
    both = ("model=mnist", "cuts.verify=false", "executor=native")
    async with (
        midcut.Cloud(*both, "server.port=0") as cloud,
        midcut.Edge(
            *both, "telemetry=constant", f"cloud_url={cloud.url}", "codec=[file,raw]", "cuts.last_cut=0"
        ) as edge,
    ):
        frame = frames_of(mjpeg)[3]
        record = await _infer_frame(edge._edge.engine, edge._edge.model, frame)
        assert (record.codec, record.finished_by) == ("file", "cloud")
        assert 0 < record.sent_bytes - len(frame.data) < 1000
        pixels = await _infer_frame(edge._edge.engine, edge._edge.model, replace(frame, data=None))
        assert (record.class_, record.probability) == (pixels.class_, pixels.probability)
