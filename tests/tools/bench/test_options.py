"""A benchmark refuses a number that it cannot work with in one line, before it measures anything."""

from __future__ import annotations

import ast
import subprocess
import sys
from argparse import ArgumentParser, ArgumentTypeError
from pathlib import Path

import pytest
from common.options import at_least, over_zero, several

TOOLS = Path(__file__).parents[3] / "tools"
# A cut that a model lacks and a ping are up to edge, cloud and link, a delay is up to the cloud.
_PLAIN = {"--cut", "cut", "--mqtt-port", "--ping-ms", "--delay"}


def test_numbers_below_the_least_are_refused_in_one_line(capsys):
    assert [at_least(6)("6"), at_least(0)("0"), over_zero("0.5"), several(1)("64,128")] == [6, 0, 0.5, [64, 128]]
    for parse, text in (
        (at_least(6), "5"),
        (at_least(6), "six"),
        (over_zero, "0"),
        (over_zero, "nan"),
        (several(1), "64,"),
    ):
        with pytest.raises(ArgumentTypeError, match=f"must be a .*number .*, got '{text.removeprefix('64,')}'$"):
            parse(text)
    parser = ArgumentParser(prog="stream.py")
    parser.add_argument("--images", type=at_least(6))
    with pytest.raises(SystemExit):
        parser.parse_args(["--images", "5"])
    assert capsys.readouterr().err.splitlines()[-1] == (
        "stream.py: error: argument --images: must be a whole number of at least 6, got '5'"
    )


def test_a_stream_needs_two_images_more_than_are_in_flight():
    command = [sys.executable, TOOLS / "bench/stream.py", "--images", "5"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].endswith("--images: must be a whole number of at least 6, got '5'")


def test_all_numbers_that_benchmarks_take_have_bounds():
    found = 0
    for file in (*TOOLS.glob("bench/*.py"), TOOLS / "common/linked.py"):
        for call in ast.walk(ast.parse(file.read_text())):
            if not (isinstance(call, ast.Call) and ast.unparse(call.func).endswith("add_argument")):
                continue
            kind = next((ast.unparse(word.value) for word in call.keywords if word.arg == "type"), "")
            found += kind.startswith(("at_least", "several", "over_zero"))
            assert kind not in ("int", "float") or call.args[0].value in _PLAIN, f"{file.name}: {ast.unparse(call)}"
    assert found > 20
