"""What a worker logs of jobs: nothing that a job brings along can look like a line of the log."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator

import pytest

from pydisque.service.log_format import JSONFormatter
from pydisque.worker import Drop, Hook
from pydisque.worker.handlers.hooks import Course, LogHook
from pydisque.worker.handlers.job import WorkerJob

from .jobs import a_handler, a_job

FORGED = "2030-01-01 00:00:00,000 CRITICAL all is lost"
TEXTS = [
    f"a\n{FORGED}", f"a\r{FORGED}", f"a\x0b{FORGED}", f"a\x85{FORGED}", f"a\u2028{FORGED}",
    f"a\x1b[2J\n{FORGED}", f"\n\n{FORGED}\n", f"a\x00\x07\udc80\n{FORGED}",
]  # fmt: skip


@pytest.fixture(params=["plain", "json"])
def log(request: pytest.FixtureRequest) -> Iterator[io.StringIO]:
    """The log of a worker, as `pydisque worker` writes it."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    plain = logging.Formatter("%(asctime)s %(levelname)s %(message)s")
    handler.setFormatter(plain if request.param == "plain" else JSONFormatter())
    logger = logging.getLogger("pydisque.worker")
    logger.addHandler(handler)
    before = logger.level
    logger.setLevel(logging.DEBUG)
    yield stream
    logger.setLevel(before)
    logger.removeHandler(handler)


def grouped(text: str) -> BaseException:
    return ExceptionGroup(text, [ValueError(text), ExceptionGroup("in", [KeyError(text)])])


def chained(text: str) -> BaseException:
    error = ValueError("outer")
    error.__cause__ = RuntimeError(text)
    return error


def noted(text: str) -> BaseException:
    error = ValueError("noted")
    error.add_note(text)
    return error


def misspelt(text: str) -> BaseException:
    return SyntaxError(text, (text, 1, 1, text))


class FailingHook(Hook):
    """Fails after the job, as its body says."""

    def after(self, job: WorkerJob, seconds: float) -> None:
        raise ValueError(job.body.decode("utf-8", "surrogateescape"))


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("make", [ValueError, Drop, SystemExit, grouped, chained, noted, misspelt])
def test_an_error_forges_no_line(log, make, text):
    """Text of an exception, its notes, causes and groups stays within the line that tells of it."""

    def fail(job):
        raise make(text)

    Course({b"q": a_handler(function=fail)}, [LogHook()]).run(a_job())
    check(log)


@pytest.mark.parametrize("text", TEXTS)
def test_a_hooks_error_forges_no_line(log, text):
    """The same of a hook that fails."""
    body = text.encode("utf-8", "surrogateescape")
    Course({b"q": a_handler(function=repr)}, [LogHook(), FailingHook()]).run(a_job(body))
    check(log)


@pytest.mark.parametrize("text", TEXTS)
def test_names_forge_no_line(log, text):
    """The same of a queue's name and of an ID, whatever a node may say."""
    name = text.encode("utf-8", "surrogateescape")
    job = WorkerJob(name, name[:-4] + b"05a1", b"body", 0, 0)
    Course({name: a_handler(function=repr)}, [LogHook()]).run(job)
    check(log)


def check(log: io.StringIO) -> None:
    """No line of the log begins with what was forged, or controls a terminal."""
    text = log.getvalue()
    assert text
    for line in text.split("\n"):
        assert line.isprintable()
        assert not line.startswith("2030")
        if line.startswith("{"):
            assert json.loads(line)["message"].partition("\n")[0].isprintable()


def test_a_huge_error_is_a_short_log(log):
    """Of 10 MB in an exception some kilobytes are logged."""

    def fail(job):
        raise ValueError("x" * 10_000_000)

    Course({b"q": a_handler(function=fail)}, [LogHook()]).run(a_job())
    assert len(log.getvalue()) < 50_000
    assert "characters cut" in log.getvalue()


def test_a_record_has_the_error(caplog):
    """What collects errors gets the exception itself."""

    def fail(job):
        raise ValueError("text")

    with caplog.at_level(logging.WARNING, "pydisque.worker"):
        Course({b"q": a_handler(function=fail)}, [LogHook()]).run(a_job())
    [record] = caplog.records
    assert record.exc_info[0] is ValueError
    assert "in fail\n" in record.exc_text
