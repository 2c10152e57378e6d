"""Headers beside a body, and the dead letters made of them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pydisque.dead_letters import DeadLetter, queue_for
from pydisque.protocol.envelope import EARLIER, MARK, MAX_DEPTH, unwrap, wrap
from pydisque.worker.handlers.job import WorkerJob

ID = b"D-0123abcd-" + b"x" * 24 + b"-05a1"


@given(st.binary(), st.dictionaries(st.text(), st.text() | st.integers()))
def test_what_was_wrapped_comes_out(body, headers):
    """Any body and any headers come out as they went in."""
    if body.startswith(MARK):
        return
    assert unwrap(wrap(body, headers)) == (body, headers)


@given(st.binary())
def test_no_body_is_misread(body):
    """A body that nobody wrapped is left as it is, whatever is in it."""
    assert unwrap(body)[0] == body or body.startswith(MARK)


def test_nothing_is_added_for_nothing():
    """A body without headers stays as it is."""
    assert wrap(b"body", {}) == b"body"


def test_headers_are_joined():
    """A body wrapped twice has the headers of both, and the later ones win."""
    twice = wrap(wrap(b"body", {"a": 1, "b": 1}), {"b": 2})
    assert unwrap(twice) == (b"body", {"a": 1, "b": 2})


@pytest.mark.parametrize("rest", [b"", b"{}", b"{", b"{\n", b"[]\nbody", b"\xff\nbody", b"1\n",
                                  b"[" * 100_000 + b"\nbody"])  # fmt: skip
def test_a_broken_head_is_a_body(rest):
    """What begins like an envelope and is none is handed on whole."""
    assert unwrap(MARK + rest) == (MARK + rest, {})


def nested(depth: int) -> bytes:
    """A body whose headers are so deep, and have many brackets."""
    deep = b"[" * (depth - 1) + b"]" * (depth - 1)
    return MARK + b'{"flat":[' + b",".join([b"[]"] * 500) + b'],"deep":' + deep + b"}\nbody"


def test_headers_too_deep_are_none():
    """They could not be written again, as a dead letter's are, without overflowing the stack."""
    body, headers = unwrap(nested(MAX_DEPTH))
    assert body == b"body"
    assert unwrap(wrap(body, headers)) == (body, headers)
    for depth in (MAX_DEPTH + 1, 900):
        assert unwrap(nested(depth)) == (nested(depth), {})
        assert DeadLetter.of_body(nested(depth)) is None


def test_headers_that_are_long_are_not_read():
    """Those who show them say how long they may be; others read them all."""
    body = wrap(b"body", {"a": 1000 * "x"})
    assert unwrap(body, 100) == (body, {})
    assert unwrap(body, 2000)[0] == unwrap(body)[0] == b"body"
    letter = DeadLetter("q", "D-1", 1, 0, "error", 1000 * "x", "2026").to_body()
    assert DeadLetter.of_body(letter, 100) is None
    assert DeadLetter.of_body(letter) == DeadLetter.of_body(letter, 2000) != None  # noqa: E711


def test_a_job_is_seen_without_its_envelope():
    """A handler sees body and headers apart, and counters that go on where they were."""
    earlier = {"id": "D-first", "nacks": 3, "additional_deliveries": 1}
    job = WorkerJob(b"q", ID, wrap(b'{"a":1}', {"trace": "t", EARLIER: earlier}), 1, 0)
    assert job.json() == {"a": 1}
    assert job.headers["trace"] == "t"
    assert (job.nacks, job.additional_deliveries, job.attempt) == (4, 1, 6)
    assert (job.first_id, job.id) == ("D-first", ID.decode())
    assert job.counters == (1, 0)


@pytest.mark.parametrize("earlier", [7, {"nacks": "x"}, {"nacks": None}, {"id": 5}])
def test_counters_nobody_can_read_are_none(earlier):
    """A header that somebody else wrote cannot break the worker."""
    job = WorkerJob(b"q", ID, wrap(b"body", {EARLIER: earlier}), 1, 2)
    assert (job.nacks, job.additional_deliveries) == (1, 2)
    assert isinstance(job.first_id, str)


def test_a_dead_letter_is_read_as_it_was_written():
    """Everything about a dead job is in its letter; its body and headers are untouched."""
    letter = DeadLetter("q", "D-1", 3, 1, "E: no", "trace", "2026-01-01T00:00:00+00:00", b"\x00b")
    letter = letter._replace(headers={"traceparent": "t"})
    assert DeadLetter.of_body(letter.to_body()) == letter
    assert unwrap(letter.reborn()) == (b"\x00b", {"traceparent": "t"})


def test_a_dead_letter_forgets_the_counters():
    """A job that is replayed begins with its first attempt."""
    letter = DeadLetter("q", "D-1", 3, 1, "E", "", "", b"b", {EARLIER: {"nacks": 3}})
    read = DeadLetter.of_body(letter.to_body())
    assert read is not None
    assert read.reborn() == b"b"


NAMELESS = DeadLetter("\ud800", "D", 1, 0, "", "", "")._asdict()
del NAMELESS["body"], NAMELESS["headers"]


@pytest.mark.parametrize("body", [b"", b"body", wrap(b"b", {"pydisque-dead": 1}),
                                  wrap(b"b", {"pydisque-dead": {"other": 1}}),
                                  wrap(b"b", {"pydisque-dead": NAMELESS})])  # fmt: skip
def test_what_is_no_dead_letter_is_none(body):
    """Other jobs in the same queue are not taken for dead letters."""
    assert DeadLetter.of_body(body) is None


def test_dead_letters_have_a_queue_of_their_own():
    """They are in a queue named after the one they come from."""
    assert queue_for("emails") == "emails:dead"
