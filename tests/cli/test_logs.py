from __future__ import annotations

import json
import logging
import subprocess
import sys

import structlog

from midcut.cli import logs


def test_one_event_reads_as_a_line_and_parses_as_json():
    logs.configure()
    console, file = logs.console_formatter(), logs.json_formatter()
    captured = []

    class Keep(logging.Handler):
        def emit(self, record):
            captured.append(record)

    logger = logging.getLogger("midcut.test_logs")
    logger.addHandler(Keep())
    logger.setLevel(logging.INFO)
    structlog.get_logger("midcut.test_logs").info("cut moves", cut=3, chosen={"latency_s": 0.123456789, "cut": 3})
    (record,) = captured
    line = console.format(record)
    assert "latency_s=0.1235 cut=3" in line
    assert "\n" not in line
    parsed = json.loads(file.format(record))
    assert (parsed["event"], parsed["level"], parsed["logger"]) == ("cut moves", "info", "midcut.test_logs")
    assert parsed["chosen"]["latency_s"] == 0.123456789


def test_every_step_goes_into_the_file_moves_onto_the_terminal_and_other_libraries_stay_quiet(tmp_path):
    """In a process of its own: this sets up the whole of logging."""
    script = f"""
import logging, logging.config, structlog, yaml
from midcut.cli import logs
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
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=600, check=True)
    events = [json.loads(line)["event"] for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert events == ["cut stays", "cut moves", "news"]
    assert "cut moves" in done.stderr
    assert "news" in done.stderr
    assert "cut stays" not in done.stderr
