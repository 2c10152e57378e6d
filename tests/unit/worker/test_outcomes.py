"""What a node is told for each verdict."""

from __future__ import annotations

from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest

from pydisque.dead_letters import DeadLetter
from pydisque.protocol.envelope import EARLIER, unwrap
from pydisque.worker.handlers.handler import Handler
from pydisque.worker.handlers.job import WorkerJob
from pydisque.worker.handlers.outcomes import Settlement, settle
from pydisque.worker.handlers.policy import Ack, Again, Bury

from .jobs import a_handler, a_job

NOW = datetime(2026, 11, 24, 18, 30, tzinfo=UTC)
INFO: Any = SimpleNamespace(ttl=100, retry=10, repl=1)
ERROR = ValueError("no")


def settled(
    verdict: Any, job: WorkerJob, handler: Handler | None = None, *, delays: bool = True
) -> Settlement:
    """The settlement of a job that the node knows."""
    found = settle(handler or a_handler(), job, verdict, INFO, delays=delays, at=NOW)
    assert found is not None
    return found


def words(settlement: Settlement) -> list[Any]:
    """The command that is sent first."""
    assert settlement.command is not None
    return list(settlement.command.args)


def test_what_is_done_is_acknowledged():
    """Jobs that are done or dropped need an ACKJOB alone, whether the node knows them or not."""
    job = a_job()
    for verdict, outcome in ((Ack(), "done"), (Ack(dropped=True), "dropped")):
        assert settle(a_handler(), job, verdict, None, delays=True, at=NOW) == Settlement(outcome)


def test_what_failed_is_given_back():
    """A job to be tried again is given back, at once or with its delay, and not acknowledged."""
    job = a_job()
    at_once, later = settled(Again(0, ERROR), job), settled(Again(8, ERROR), job)
    assert words(at_once) == ["NACK", job.key]
    assert words(later) == ["NACK", job.key, "DELAY", "8"]
    assert (later.outcome, later.ack) == ("retried", False)
    assert words(settled(Again(0, ERROR), job, delays=False)) == ["NACK", job.key]


def test_where_nack_knows_no_delay():
    """There the job is added anew, its attempts told beside the body, and the old acknowledged."""
    job = a_job(nacks=2, additional=1)
    later = settled(Again(8, ERROR), job, delays=False)
    add = words(later)
    body, headers = unwrap(add[2])
    assert (add[:2], body) == (["ADDJOB", b"q"], b"body")
    assert headers == {EARLIER: {"id": job.id, "nacks": 3, "additional_deliveries": 1}}
    assert {"DELAY", "8", "TTL", "100", "RETRY", "10"} <= set(add)
    assert (later.outcome, later.ack) == ("retried", True)
    again = WorkerJob(b"q", b"D-other-05a1", add[2], 0, 0)
    assert (again.attempt, again.first_id, again.body) == (5, job.id, b"body")


def test_the_dead_are_buried():
    """A dead letter is added, for as long as the handler says, and then the job acknowledged."""
    job = a_job(nacks=2)
    dead = settled(Bury("ValueError: no", "its traceback"), job)
    add = words(dead)
    letter = DeadLetter.of_body(add[2])
    assert add[:2] == ["ADDJOB", "q:dead"]
    assert add[add.index("TTL") + 1] == "60"
    assert letter == DeadLetter(
        "q", job.id, 2, 0, "ValueError: no", "its traceback", "2026-11-24T18:30:00+00:00",
        b"body", {},
    )  # fmt: skip
    assert (dead.outcome, dead.ack, dead.reason) == ("dead", True, "ValueError: no")


def test_nobody_wants_a_dead_letter():
    """Without a queue for dead letters the job is acknowledged, and why is told."""
    dead = settled(Bury("no"), a_job(), a_handler(dead_queue=None))
    assert dead == Settlement("dropped", reason="no")


@pytest.mark.parametrize(("pause", "outcome"), [(99, "retried"), (100, "dead")])
def test_no_attempt_after_the_ttl(pause, outcome):
    """A job whose ttl is over before its next attempt is dead now, not silently gone."""
    answer = settled(Again(pause, ERROR), a_job())
    assert answer.outcome == outcome
    if outcome == "dead":
        assert answer.reason == (
            "ValueError: no; its ttl is over before it could be tried again in 100 s"
        )


@pytest.mark.parametrize("verdict", [Again(1, ERROR), Bury("no")])
def test_what_the_node_knows_no_more(verdict):
    """Of a job that is gone nothing is said."""
    assert settle(a_handler(), a_job(), verdict, None, delays=True, at=NOW) is None
