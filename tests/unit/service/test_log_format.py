"""How a log line is written as JSON."""

from __future__ import annotations

import json
import logging
import sys

from pydisque.service.log_format import JSONFormatter


def test_a_record_is_one_line() -> None:
    """Whatever is in it, line ends too; a failure has its traceback."""
    try:
        {}["x"]
    except KeyError:
        record = logging.LogRecord(
            "pydisque.node", logging.ERROR, "f", 1, "%s\nfailed", ("it",), sys.exc_info()
        )
    record.created = 1.5
    line = JSONFormatter().format(record)
    assert "\n" not in line
    told = json.loads(line)
    assert told.pop("exception").startswith("Traceback (most recent call last):\n")
    assert told == {
        "time": "1970-01-01T00:00:01.500+00:00",
        "level": "error",
        "logger": "pydisque.node",
        "message": "it\nfailed",
    }
