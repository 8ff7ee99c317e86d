"""Files of lines on disks that are full: the last line is whole, and there is space for what must be written."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from midcut.errors import FileError
from midcut.results.lines import LineFile, reserved_space
from midcut.results.sweep import Job, append_job

LIMITED = """
import resource, sys
from pathlib import Path
from midcut.errors import FileError
from midcut.results.lines import LineFile
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
with LineFile(Path(sys.argv[1]), append=len(sys.argv) > 2) as lines:
    try:
        while True:
            lines.write(b"x" * 89 + b"\\n")
    except FileError as error:
        print(error)
"""


def test_a_file_ends_with_a_whole_line_where_its_size_is_limited(tmp_path):
    path = tmp_path / "lines"
    done = subprocess.run([sys.executable, "-c", LIMITED, path], capture_output=True, text=True, check=True)
    assert done.stdout == f"cannot write {path}: File too large\n"
    assert path.read_bytes() == (b"x" * 89 + b"\n") * 11


def test_appending_keeps_what_was_there(tmp_path):
    path = tmp_path / "lines"
    path.write_bytes(b"first\n")
    subprocess.run([sys.executable, "-c", LIMITED, path, "append"], capture_output=True, text=True, check=True)
    assert path.read_bytes() == b"first\n" + (b"x" * 89 + b"\n") * 11


def test_a_full_device_is_one_line():
    with LineFile(Path("/dev/full")) as lines, pytest.raises(FileError, match="No space left on device"):
        lines.write(b"x\n")


@pytest.mark.parametrize("name", ["", "no/such/folder/x"])
def test_a_place_that_cannot_be_written_is_named(tmp_path, name):
    with pytest.raises(FileError, match="cannot write"):
        LineFile(tmp_path / name)


def test_reserved_space_is_given_back(tmp_path):
    with reserved_space(tmp_path):
        (reserve,) = tmp_path.iterdir()
        assert reserve.stat().st_blocks * 512 >= 64 * 1024
    assert list(tmp_path.iterdir()) == []


def test_a_place_without_space_to_reserve_is_no_error(tmp_path):
    with reserved_space(tmp_path / "nowhere"):
        pass


def test_jobs_of_a_sweep_stay_whole_where_the_disk_is_full(tmp_path):
    path = tmp_path / "sweep.jsonl"
    job = Job(job=0, verb="plan", overrides=("a=1",), status="completed", run_dir="x" * 300)
    pid = os.fork()
    if not pid:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
        try:
            for _ in range(9):
                append_job(path, job)
        except FileError:
            os._exit(7)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7
    lines = path.read_bytes().splitlines(keepends=True)
    assert len(lines) == 2
    assert all(line.endswith(b"}\n") for line in lines)
