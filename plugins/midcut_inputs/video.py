"""Frames of cameras, video files and streams, read by FFmpeg's libraries (PyAV)."""

from __future__ import annotations

import io
import math
import time
from functools import partial
from typing import TYPE_CHECKING, Any

import structlog
from PIL import Image

from midcut.errors import ConfigError, FileError
from midcut.types import Frame

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_log = structlog.get_logger("midcut.stream")
_JPEG = b"\xff\xd8"
_JPEG_END = b"\xff\xd9"
_MOST_DAMAGED = 100  # packets in a row
_Picture = tuple[float | None, "Callable[[], Image.Image]", bytes | None]
_STREAMS = ("rtsp://", "rtsps://", "http://", "https://", "rtmp://", "udp://", "tcp://")


class Video:
    """A video by its path or URL; see `midcut.protocols.Input`.

    Attributes:
        damaged: packets that could not be decoded and were left out.
    """

    def __init__(
        self,
        *,
        url: str,
        realtime: bool,
        every: int,
        timeout_s: float,
        concurrency: int,
        limit: int | None,
        plot: bool,
        format: str | None = None,  # noqa: A002 - FFmpeg's name for it
        options: dict[str, str] | None = None,
    ) -> None:
        for name, value in (("every", every), ("concurrency", concurrency), ("limit", limit)):
            if value is not None and value < 1:
                raise ConfigError(f"input.{name} must be at least 1, got {value}")
        if not 0.0 < timeout_s < math.inf:
            raise ConfigError(f"input.timeout_s must be finite and over 0, got {timeout_s}")
        self.endless = format is not None or url.startswith(_STREAMS)
        self.live = self.endless or realtime
        self.concurrency, self.limit, self.plot = concurrency, limit, plot
        self.source = _without_password(url)
        self._url, self._every, self._format = url, every, format
        self._options = options if options is not None else _stream_options(url, timeout_s)
        self._timeout_s = timeout_s
        self.damaged = 0

    def check(self) -> None:
        """Open it once, so that a mistake is found before the model is loaded."""
        _import_av()
        if not self.endless:
            self._open().close()

    def frames(self) -> Iterator[Frame]:
        """See `midcut.protocols.Input`."""
        container = self._open()
        try:
            began, first_s = time.monotonic(), None
            for number, (time_s, image, data) in enumerate(self._pictures(container)):
                if number % self._every:
                    continue
                if self.live and not self.endless and time_s is not None:
                    first_s = time_s if first_s is None else first_s
                    time.sleep(max(began + time_s - first_s - time.monotonic(), 0.0))
                yield Frame(image=image(), source=self.source, at_s=time.time(), number=number, data=data)
        except _import_av().error.FFmpegError as error:
            raise FileError(f"{self.source}: {_reason(error)}") from None
        finally:
            container.close()

    def _pictures(self, container: Any) -> Iterator[_Picture]:
        """Time, picture, and the file of it where the video is one of JPEG files (MJPEG), as most cameras send them."""
        stream = container.streams.video[0]
        is_upright = False  # until a frame says so
        pictures = in_a_row = 0
        for packet in container.demux(stream):
            data = bytes(packet) if stream.codec_context.name == "mjpeg" else b""
            is_file = _is_whole(data, stream)
            decoded = []
            if not (is_file and is_upright):
                try:
                    decoded = packet.decode()
                except _import_av().error.InvalidDataError as error:
                    in_a_row += 1
                    self._count_damaged(error)
                    if in_a_row >= _MOST_DAMAGED:
                        raise
                    continue
            if decoded:
                is_upright = not any(map(_angle, decoded))
            if is_file and is_upright:
                time_s = None if packet.pts is None else float(packet.pts * packet.time_base)
                found: list[_Picture] = [(time_s, partial(Image.open, io.BytesIO(data)), data)]
            else:
                found = [(frame.time, partial(_upright, frame), None) for frame in decoded]
            if found:
                in_a_row = 0
            pictures += len(found)
            yield from found
        if in_a_row and not pictures:
            raise FileError(f"{self.source}: none of its packets can be decoded")

    def _count_damaged(self, error: Exception) -> None:
        self.damaged += 1
        if self.damaged == 1:
            _log.warning("damaged packets are left out", source=self.source, reason=_reason(error))

    def _open(self) -> Any:
        av = _import_av()
        try:
            container = av.open(
                self._url,
                format=self._format,
                options=self._options,
                timeout=(self._timeout_s, self._timeout_s) if self.endless else None,
            )
        except (av.error.FFmpegError, OSError) as error:
            raise FileError(f"input: cannot open {self.source}: {_reason(error)}") from None
        if not container.streams.video:
            container.close()
            raise FileError(f"input: {self.source} has no video")
        stream = container.streams.video[0]
        # Threads for each frame would give the first one of MJPEG, which says how it is turned, only after others.
        stream.thread_type = "SLICE" if stream.codec_context.name == "mjpeg" else "AUTO"
        return container


def camera(
    *,
    device: str,
    width: int | None,
    height: int | None,
    frames_per_second: float | None,
    concurrency: int,
    limit: int | None,
    plot: bool,
) -> Video:
    """A camera by Video4Linux."""
    if (width is None) != (height is None):
        raise ConfigError("input.width and input.height are given together")
    options = {} if width is None else {"video_size": f"{width}x{height}"}
    if frames_per_second is not None:
        options["framerate"] = f"{frames_per_second:g}"
    return Video(
        url=device,
        realtime=True,
        every=1,
        timeout_s=10.0,
        concurrency=concurrency,
        limit=limit,
        plot=plot,
        format="v4l2",
        options=options,
    )


def _upright(frame: Any) -> Image.Image:
    """The frame as players show it, by the quarter turns of the container's display matrix, as phones write it."""
    turned: Image.Image = frame.to_image().rotate(_angle(frame), expand=True)
    return turned


def _angle(frame: Any) -> int:
    """Counterclockwise degrees that make it upright: 0, 90, 180 or 270."""
    degrees: int = frame.rotation
    return round(degrees / 90) * 90 % 360


def _is_whole(data: bytes, stream: Any) -> bool:
    """Whether data are the JPEG of one frame; interlaced video has two, one for each field."""
    if not data.startswith(_JPEG):
        return False
    if not data.rstrip(b"\x00").endswith(_JPEG_END):
        return False
    try:
        with Image.open(io.BytesIO(data), formats=("JPEG",)) as image:
            return bool(image.size == (stream.width, stream.height))
    except Exception:  # noqa: BLE001 - Pillow raises many types of errors for broken files; FFmpeg says what it is
        return False


def _import_av() -> Any:
    try:
        import av  # noqa: PLC0415 - an extra
    except ImportError:
        raise ConfigError("input=camera and input=video need PyAV: pip install 'midcut[video]'") from None
    return av


def _stream_options(url: str, timeout_s: float) -> dict[str, str]:
    if url.startswith("rtsp"):
        # TCP, because lost packets of UDP damage pictures.
        return {"rtsp_transport": "tcp", "timeout": str(int(timeout_s * 1e6)), "fflags": "nobuffer"}
    return {}


def _without_password(url: str) -> str:
    scheme, separator, rest = url.partition("://")
    return f"{scheme}{separator}{rest.rpartition('@')[2]}" if separator else url


def _reason(error: Exception) -> str:
    return str(getattr(error, "strerror", "") or type(error).__name__)
