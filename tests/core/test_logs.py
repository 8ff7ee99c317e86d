from __future__ import annotations

import json
import logging

import structlog

from midcut import logs


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
