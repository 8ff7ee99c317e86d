"""The inputs that come with midcut, besides the server and the folder, which are part of the edge."""

from __future__ import annotations

from typing import TYPE_CHECKING

from midcut import Component, hookimpl
from midcut_inputs.config import CameraConfig, VideoConfig

if TYPE_CHECKING:
    from collections.abc import Sequence


@hookimpl
def midcut_inputs() -> Sequence[Component]:
    return (
        Component("camera", CameraConfig, "midcut_inputs.video.camera", "a camera at this machine (V4L2, extra video)"),
        Component("video", VideoConfig, "midcut_inputs.video.Video", "a video file, RTSP or MJPEG (extra video)"),
    )
