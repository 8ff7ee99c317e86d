"""The formats by name."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from midcut.errors import ConfigError, FileError
from midcut.recordings import iperf3, tables, text_logs
from midcut.recordings.rows import Recording, Repeats

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path


@dataclass(frozen=True)
class ReadOptions:
    """How a recording is read.

    Attributes:
        repeats: what becomes of rows that repeat a time or go back.
        direction: `up` or `down`, in formats that record both.
        columns: of `csv`: field -> column of the file, e.g. `{"bandwidth_kbps": "tput*1000"}`.
        packet_bytes: of `mahimahi`: what one delivery opportunity carries.
        bin_s: of `mahimahi`: length of a bin, seconds.
    """

    repeats: Repeats = Repeats.merge
    direction: str = "down"
    columns: Mapping[str, str] = field(default_factory=dict)
    packet_bytes: int = 1500
    bin_s: float = 0.1


@dataclass(frozen=True)
class Format:
    """A format: one line for people, and its reader."""

    summary: str
    read: Callable[[Path, ReadOptions], Recording]


FORMATS: Final = {
    "mahimahi": Format(
        "mahimahi's .up and .down: a millisecond a line, at which one packet may leave",
        lambda path, options: text_logs.read_mahimahi(path, options.packet_bytes, options.bin_s),
    ),
    "cooked": Format(
        "Pensieve's seconds and Mbit/s without header (FCC, HSDPA, Oboe, Puffer); a rate holds before its time",
        lambda path, options: text_logs.read_cooked(path, options.repeats),
    ),
    "norway": Format(
        "raw logs of Norway HSDPA: s, ms, latitude, longitude, bytes, ms since the last row",
        lambda path, options: text_logs.read_byte_log(path, options.repeats),
    ),
    "ghent": Format(
        "raw logs of Ghent 4G: ms, ms, latitude, longitude, bytes, ms since the last row",
        lambda path, options: text_logs.read_byte_log(path, options.repeats),
    ),
    "ucc": Format(
        "CSV of UCC's 4G and 5G sets: Timestamp, DL_bitrate and UL_bitrate in kbit/s, PINGAVG",
        lambda path, options: tables.read_ucc(path, options.repeats, options.direction),
    ),
    "iperf3": Format(
        "the output of iperf3 -J",
        lambda path, options: iperf3.read_iperf3(path, options.repeats),
    ),
    "csv": Format(
        "CSV with columns of your choice: --columns time_s=t,bandwidth_kbps=Mbps*1000",
        lambda path, options: tables.read_table(path, options.repeats, options.columns),
    ),
}


def read_recording(name: str, path: Path, options: ReadOptions | None = None) -> Recording:
    """Read a recording; its first row is at time zero.

    Args:
        name: of the format, see `FORMATS`.
        path: the file.
        options: None takes the defaults.

    Raises:
        ConfigError: there is no such format, or an option does not fit it.
        FileError: the file is not of the format; the message names the file and the line.
    """
    if name not in FORMATS:
        raise ConfigError(f"there is no format {name!r}; there are {', '.join(FORMATS)}")
    if not path.exists():
        raise FileError(f"{path}: no such file")
    return FORMATS[name].read(path, options or ReadOptions())
