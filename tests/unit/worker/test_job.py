"""A job as a worker reads it, whoever wrote it."""

from __future__ import annotations

import json

import pytest

from pydisque.protocol.envelope import EARLIER, MARK, wrap
from pydisque.worker.handlers.job import MOST_ATTEMPTS

from .jobs import a_job

FIRST = "D-dcb833cf-8YL1NT17e9+wsA/09NqxscQI-05a1"


def earlier(**fields) -> bytes:
    """A body of a job that was added again, or says so."""
    story = {"id": FIRST, "nacks": 2, "additional_deliveries": 1, **fields}
    return wrap(b"body", {EARLIER: story})


def test_a_job_that_was_added_again():
    """Its first ID and its attempts before are those that its worker wrote."""
    job = a_job(earlier(), nacks=1)
    assert (job.first_id, job.nacks, job.additional_deliveries, job.attempt) == (FIRST, 3, 1, 5)
    assert job.body == b"body"


ABSURD = [-1, -1000, True, False, 1.0, 2.5, "2", None, [], {}, 10**7, 2**31, 2**63, 10**100,
          float("nan"), float("inf"), -float("inf"), MOST_ATTEMPTS + 1]  # fmt: skip


@pytest.mark.parametrize("name", ["nacks", "additional_deliveries"])
@pytest.mark.parametrize("number", ABSURD, ids=repr)
def test_absurd_counters_are_not_believed(name, number):
    """A header that no worker writes counts for nothing; the server's own counters do."""
    job = a_job(earlier(**{name: number}), nacks=1, additional=1)
    assert (job.nacks, job.additional_deliveries, job.attempt) == (1, 1, 3)
    assert job.first_id == job.id


@pytest.mark.parametrize(
    "id_", ["", "D-", 5, None, [FIRST], f"{FIRST}\n", f"{FIRST}x", "x" * 10**6, "../../etc/passwd"]
)
def test_a_first_id_is_an_id(id_):
    """What is no job ID is not taken for the first one, which apps remember jobs by."""
    job = a_job(earlier(id=id_))
    assert job.first_id == job.id
    assert job.attempt == 1


@pytest.mark.parametrize("header", [5, None, [], "text", {}, {"nacks": 1}, [["id", FIRST]]])
def test_headers_of_the_wrong_shape(header):
    """Any JSON may be there, and is no error."""
    job = a_job(wrap(b"body", {EARLIER: header}))
    assert (job.attempt, job.first_id, job.body) == (1, job.id, b"body")


@pytest.mark.parametrize(
    "line", [b"{", b"[]", b"\xff", b"[" * 100_000, b'{"a":' + b"9" * 10_000 + b"}", b"NaN", b""]
)
def test_an_envelope_that_cannot_be_read(line):
    """A body whose headers make no sense is a body without headers."""
    body = MARK + line + b"\nbody"
    job = a_job(body)
    assert (job.body, job.headers, job.attempt) == (body, {}, 1)


def test_an_envelope_in_an_envelope():
    """Only the outer one is opened, in another process as well."""
    inner = earlier(nacks=7)
    job = a_job(MARK + json.dumps({"a": 1}).encode() + b"\n" + inner, nacks=1)
    assert (job.body, job.attempt) == (inner, 2)
    assert job.parts() == (job.name, job.key, job.sent, 1, 0)
