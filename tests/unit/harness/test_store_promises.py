"""The judge of the chaos runs on Valkey: it sees each kind of broken promise, and no other."""

from __future__ import annotations

import pytest

from harness.chaos.history import Fate, History, Job
from harness.chaos.store_promises import Promises, Trouble, is_documented
from pydisque.errors import (
    ConnectionLostError,
    DisqueError,
    MisconfError,
    NoReplError,
    OOMError,
    UnreachableError,
)

YES, NO, ABSENT, UNKNOWN = Fate.CONFIRMED, Fate.REFUSED, Fate.ABSENT, Fate.UNKNOWN
ID, OTHER = b"D-1", b"D-2"


@pytest.fixture
def history() -> History:
    """One in which nothing happened yet."""
    return History(0)


def added(history: History, fate: Fate = YES, *, delay: int = 0, copies: int = 2) -> Job:
    """A job that was added in the first second, to be delivered again after two."""
    job = history.new_job(b"work", 2, delay, 10)
    job.copies = copies
    job.note("add", 0.1, 0.2, fate, "producer", ID if fate is YES else b"")
    return job


def delivered(job: Job, *times: float, id_: bytes = ID) -> Job:
    """Delivered then, each time within a tenth of a second."""
    for time in times:
        job.note("delivery", time, time + 0.1, YES, "consumer", id_)
    return job


def acked(job: Job, sent: float, told: float, fate: Fate = YES) -> Job:
    """Acknowledged then."""
    job.note("ack", sent, told, fate, "consumer", ID)
    return job


def broken(history: History, *troubles: Trouble, replicate: int = 2) -> str:
    """What was found, in one text; what was not promised stands in brackets."""
    found = Promises(history, list(troubles), replicate).broken()
    return "; ".join(one.what if one.fatal else f"[{one.what}]" for one in found)


def test_a_good_life(history: History) -> None:
    """Delivered, delivered again in time, acknowledged: nothing is wrong with that."""
    acked(delivered(added(history), 1, 4), 5, 5.1)
    acked(delivered(added(history, UNKNOWN), 1), 2, 2.1, UNKNOWN)
    added(history, UNKNOWN)
    added(history, NO)
    acked(acked(delivered(added(history), 1), 2, 2.1, UNKNOWN), 3, 3.1, ABSENT)
    assert not broken(history)


def test_a_lost_job(history: History) -> None:
    """One that was confirmed and never came is missed, by those who waited for copies of it."""
    added(history)
    assert broken(history).startswith("its add was confirmed")
    history.jobs.clear()
    added(history, copies=1)
    assert broken(history, replicate=0).startswith("[its add was confirmed")


def test_a_job_that_vanished(history: History) -> None:
    """One that is gone was acknowledged by somebody, who may not know it."""
    job = delivered(added(history), 1)
    assert "nobody acknowledged it" in broken(history)
    acked(job, 2, 2.1, UNKNOWN)
    assert not broken(history)
    job.note("show", 1.2, 1.3, ABSENT, "consumer", ID)
    assert "as show told" in broken(history)
    assert not broken(history, Trouble("cut", 1.1, 1.25, 1.25, 1.4))
    assert "as show told" in broken(history, Trouble("cut", 3, 4, 4, 4))


def test_a_job_at_most_once(history: History) -> None:
    """One may never come, as its only delivery may be lost, and comes twice in no case."""
    job = history.new_job(b"work", 0, 0, 10)
    job.note("add", 0.1, 0.2, YES, "producer", ID)
    assert not broken(history)
    delivered(job, 1, 4)
    job.note("nack", 2.3, 2.4, YES, "consumer", ID)
    assert broken(history) == "at most once, and delivered twice"


def test_a_job_after_its_end(history: History) -> None:
    """None may come after its ack was confirmed, unless it was on its way already."""
    job = acked(delivered(added(history), 1, 4), 1.2, 4.05)
    assert not broken(history)
    acked(job, 1.2, 3.9)
    assert broken(history) == "delivered after its ack was confirmed"
    assert broken(history, replicate=0) == "[delivered after its ack was confirmed]"


def test_an_ack_that_is_not_certain(history: History) -> None:
    """Whoever was not told that it is done may get the job again."""
    acked(acked(delivered(added(history), 1, 4), 1.2, 1.3, UNKNOWN), 5, 5.1)
    acked(acked(delivered(added(history), 1, 4), 1.2, 1.3, ABSENT), 5, 5.1)
    assert not broken(history)


def test_a_job_too_early(history: History) -> None:
    """None may come again within its retry time, unless it was nacked."""
    job = acked(delivered(added(history), 1, 2.5), 5, 5.1)
    assert broken(history) == "delivered again before its retry time was over"
    assert broken(history, replicate=0).startswith("[delivered again")
    job.note("nack", 2.3, 2.4, UNKNOWN, "consumer", ID)
    assert not broken(history)
    job = acked(delivered(added(history), 11, 13.5), 15, 15.1)
    job.note("working", 12, 12.1, YES, "consumer", ID)
    assert broken(history).count("before its retry") == 1


def test_a_nack_that_lay_in_a_stopped_node(history: History) -> None:
    """It may be done when that node goes on, though another one has answered it meanwhile."""
    job = acked(delivered(added(history), 1, 4.2, 5), 6, 6.1)
    job.note("nack", 1.2, 4.0, ABSENT, "consumer", ID)
    assert "before its retry" in broken(history)
    assert not broken(history, Trouble("stop-node", 1.1, 4.9, 4.9, 5.0))
    assert "before its retry" in broken(history, Trouble("stop-primary", 1.1, 4.9, 4.9, 5.0))


def test_a_job_before_its_delay(history: History) -> None:
    """None may come before its delay is over."""
    acked(delivered(added(history, delay=1), 0.5), 2, 2.1)
    assert broken(history) == "delivered before its delay was over"


def test_a_job_that_is_there_twice(history: History) -> None:
    """Only who sends a job again may find two of it; each then has a life of its own."""
    job = acked(delivered(delivered(added(history), 1), 1.5, id_=OTHER), 2, 2.1)
    assert broken(history) == "added once, but there are two of it"
    job.resent = True
    assert not broken(history)


def test_a_job_nobody_sent(history: History) -> None:
    """What was refused, and what nobody knows, must not come."""
    delivered(added(history, NO), 1)
    assert "refused" in broken(history)
    assert history.delivered(b"stranger") is None
    assert "nobody sent" in broken(history)


def test_errors() -> None:
    """Clients are told which errors to expect, and any other is a surprise."""
    assert is_documented(ConnectionLostError("the node hung up"))
    assert is_documented(UnreachableError("no node answered"))
    assert is_documented(MisconfError("Valkey cannot be reached: it hung up"))
    assert is_documented(NoReplError())
    assert is_documented(DisqueError("Valkey went away meanwhile: it is not known"))
    assert not is_documented(MisconfError("Valkey refuses: WRONGTYPE"))
    assert not is_documented(DisqueError("wrong number of arguments"))
    assert not is_documented(OOMError())
