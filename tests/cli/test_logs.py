from __future__ import annotations

import json
import logging
import subprocess
import sys

import structlog

from midcut.cli import logs
from midcut.errors import FileError


def test_an_event_is_a_readable_line_and_a_json_object():
    logs.configure()
    console, file = logs.console_formatter(), logs.json_formatter()
    captured = []

    class Capture(logging.Handler):
        def emit(self, record):
            captured.append(record)

    logger = logging.getLogger("midcut.test_logs")
    logger.addHandler(Capture())
    logger.setLevel(logging.INFO)
    structlog.get_logger("midcut.test_logs").info("cut moves", cut=3, chosen={"latency_s": 0.123456789, "cut": 3})
    (record,) = captured
    line = console.format(record)
    assert "latency_s=0.1235 cut=3" in line
    assert "\n" not in line
    parsed = json.loads(file.format(record))
    assert (parsed["event"], parsed["level"], parsed["logger"]) == ("cut moves", "info", "midcut.test_logs")
    assert parsed["chosen"]["latency_s"] == 0.123456789


def test_the_file_has_every_step_and_the_terminal_only_moves_of_the_cut(tmp_path):
    """Runs in its own process, because it configures all of logging."""
    script = f"""
import logging, logging.config, structlog, yaml
from midcut.cli import logs
from midcut.errors import FileError
from midcut.config import folders
text = (folders.conf_dir() / "hydra" / "job_logging" / "midcut.yaml").read_text()
file = "${{hydra.runtime.output_dir}}/${{hydra.job.name}}.jsonl"
config = yaml.safe_load(text.replace(file, {str(tmp_path / "log.jsonl")!r}))
logging.config.dictConfig(config)
logs.configure()
structlog.get_logger("midcut.edge").debug("cut stays", cut=3)
structlog.get_logger("midcut.edge").info("cut moves", cut=4)
logging.getLogger("some.library").debug("chatter")
logging.getLogger("some.library").info("news")
"""
    finished = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=600, check=True)
    events = [json.loads(line)["event"] for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert events == ["cut stays", "cut moves", "news"]
    assert "cut moves" in finished.stderr
    assert "news" in finished.stderr
    assert "cut stays" not in finished.stderr


def test_what_comes_from_outside_neither_moves_the_cursor_nor_forges_a_line():
    logs.configure()
    hostile = "ok\n2026-01-01 [error] forged \x1b[2J\x9b31m \u202eesrever \r\x07"
    for text in (logs.shorten(hostile), logs.shorten({"why": hostile}), str(FileError(hostile.replace("\n", " ")))):
        assert text.isprintable()
        assert "forged" in text
    assert logs.shorten("Zürich, 東京, µ$") == "Zürich, 東京, µ$"
