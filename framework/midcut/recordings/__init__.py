"""Recorded links as the field publishes them, read into `midcut.traces.Trace`."""

from midcut.recordings.formats import FORMATS, ReadOptions, read_recording
from midcut.recordings.rows import Recording, Repeats
from midcut.recordings.shaping import average_in_bins, fill_columns

__all__ = ["FORMATS", "ReadOptions", "Recording", "Repeats", "average_in_bins", "fill_columns", "read_recording"]
