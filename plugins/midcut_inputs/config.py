"""Settings of the inputs."""

from __future__ import annotations

from dataclasses import dataclass

from omegaconf import MISSING


@dataclass
class CameraConfig:
    """A camera of this machine, by Video4Linux. Frames that come while all places are taken are dropped and counted.

    Attributes:
        device: e.g. `/dev/video0`.
        width, height: of the frames, which the camera must offer; null is its default.
        frames_per_second: of the camera; null is its default.
        concurrency: frames in work at once, so that head, link and tail of successive ones overlap.
        limit: stop after that many frames were taken up, also where some could not be read; null never stops.
        plot: draw `stream.png` at the end.
    """

    device: str = "/dev/video0"
    width: int | None = None
    height: int | None = None
    frames_per_second: float | None = None
    concurrency: int = 2
    limit: int | None = None
    plot: bool = False


@dataclass
class VideoConfig:
    """A video: a file, or a stream by RTSP, or MJPEG by HTTP.

    Attributes:
        url: a path, `rtsp://user:password@camera/stream`, or `http://camera/mjpeg`.
        realtime: a file is played at its own speed, and frames that come while all places are taken are dropped and
            counted, as of a stream; false takes every frame of a file.
        every: take every n-th frame only.
        timeout_s: a stream without a frame for so long is opened again.
        concurrency: frames in work at once, so that head, link and tail of successive ones overlap.
        limit: stop after that many frames were taken up, also where some could not be read; null: at a file's end.
        plot: draw `stream.png` at the end.
    """

    url: str = MISSING
    realtime: bool = False
    every: int = 1
    timeout_s: float = 10.0
    concurrency: int = 2
    limit: int | None = None
    plot: bool = False
