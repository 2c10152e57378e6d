"""What becomes of each job that is moved: decided from what nodes show of it, without any node."""

from __future__ import annotations

from collections import Counter

import pytest

from pydisque.errors import ConnectionLostError, NoReplError, OOMError, UnreachableError
from pydisque.migration.plan import (
    BATCH_BYTES,
    BATCH_JOBS,
    LONGEST_TTL,
    MARGIN,
    Judged,
    Next,
    Pause,
    Queue,
    Standing,
    Survey,
    adding,
    comes_back_soon,
    decide,
    is_doubtful,
    judge,
    next_count,
)
from pydisque.protocol.replies import JobInfo


def view(state="active", due=None, awake=None, ttl=1000, retry=20, **more):
    """What a node shows of a job."""
    fields = {
        "queue": b"q", "state": state.encode(), "ttl": ttl, "retry": retry, "body": b"body",
        "next-requeue-within": due, "next-awake-within": awake, **more,
    }  # fmt: skip
    return JobInfo(part for name, value in fields.items() for part in (name.encode(), value))


DELAYED = view(due=60_000, awake=60_000)
ACTIVE = view(due=20_000, awake=19_500)


# How a job stands


@pytest.mark.parametrize(
    ("views", "standing"),
    [
        ([view("queued", due=20_000, awake=19_500)], Standing.QUEUED),
        ([DELAYED], Standing.DELAYED),
        ([ACTIVE], Standing.ACTIVE),
        ([view("wait-repl")], Standing.ARRIVING),
        ([view("acked")], Standing.GONE),
        ([view(retry=0)], Standing.SPENT),
        ([view(retry=0, due=60_000, awake=60_000)], Standing.DELAYED),
        ([view(due=20_000, awake=11_000, ttl=10)], Standing.ENDING),
    ],
)
def test_a_job_on_one_node(views, standing):
    """Its state, and when it is queued next, tell what a job on one node is."""
    assert judge(views).standing is standing


@pytest.mark.parametrize(
    ("views", "standing"),
    [
        ([None, ACTIVE, view("queued")], Standing.QUEUED),
        ([ACTIVE, view("acked"), view("queued")], Standing.GONE),
        ([ACTIVE, None, ACTIVE], Standing.ACTIVE),
        ([view("wait-repl"), None, view("wait-repl")], Standing.ARRIVING),
    ],
)
def test_a_job_on_several_nodes(views, standing):
    """Queued on one node it is queued; acknowledged on one it is done."""
    assert judge(views).standing is standing


def test_copies_of_a_delayed_job():
    """The node that is to queue a delayed job tells when, not those in its place."""
    copy = view(due=80_000, awake=79_500)
    assert judge([copy, DELAYED, copy]) == Judged(Standing.DELAYED, DELAYED, 60_000)


def test_a_job_nobody_knows():
    """What no node knows is nothing."""
    assert judge([None, None]) is None


# What is done about it


@pytest.mark.parametrize(
    ("standing", "due", "by_active"),
    [
        (Standing.QUEUED, 0, {"wait": Next.WAIT, "move": Next.WAIT, "skip": Next.WAIT}),
        (Standing.ARRIVING, 0, {"wait": Next.WAIT, "move": Next.WAIT, "skip": Next.WAIT}),
        (Standing.ACTIVE, 9000, {"wait": Next.WAIT, "move": Next.MOVE, "skip": Next.LEAVE}),
        (Standing.SPENT, 0, {"wait": Next.LEAVE, "move": Next.LEAVE, "skip": Next.LEAVE}),
        (Standing.ENDING, 0, {"wait": Next.LEAVE, "move": Next.LEAVE, "skip": Next.LEAVE}),
        (Standing.DELAYED, 9000, {"wait": Next.MOVE, "move": Next.MOVE, "skip": Next.MOVE}),
        (Standing.DELAYED, MARGIN, {"wait": Next.WAIT, "move": Next.WAIT, "skip": Next.WAIT}),
    ],
)
def test_what_is_done(standing, due, by_active):
    """Delayed jobs are moved in good time, active ones as asked, spent ones never."""
    for active, what in by_active.items():
        assert decide(Judged(standing, ACTIVE, due), active) is what


def test_what_comes_back_soon():
    """A job that was taken is ours for a while; for longer if its RETRY is nearly over."""
    assert comes_back_soon(view(due=MARGIN - 1))
    assert not comes_back_soon(view(due=MARGIN))
    assert not comes_back_soon(view(retry=0))


def test_what_is_added():
    """A job keeps its queue, body and RETRY, and what is left of its TTL and its delay."""
    queued = Judged(Standing.QUEUED, view("queued", ttl=70, retry=7))
    assert adding(queued).args == ("ADDJOB", b"q", b"body", "5000", "RETRY", "7", "TTL", "70")
    delayed = Judged(Standing.DELAYED, view(ttl=70, retry=7), 60_001)
    assert adding(delayed).args[4:6] == ("DELAY", "61")


def test_what_is_added_once():
    """At most once stays at most once, of which there can be but one copy."""
    once = Judged(Standing.QUEUED, view("queued", retry=0))
    assert adding(once, 3).args[4:8] == ("REPLICATE", "1", "RETRY", "0")
    assert adding(Judged(Standing.QUEUED, view("queued")), 3).args[4:6] == ("REPLICATE", "3")


def test_what_no_node_would_take():
    """A delay stays shorter than the TTL, and a TTL short enough for 32 bits."""
    last = adding(Judged(Standing.DELAYED, view(ttl=61), 60_900)).args
    assert (last[5], last[9]) == ("60", "61")
    endless = adding(Judged(Standing.QUEUED, view("queued", ttl=2**40))).args
    assert endless[-1] == str(LONGEST_TTL)


@pytest.mark.parametrize(
    ("error", "doubtful"),
    [
        (ConnectionLostError("the node hung up"), True),
        (NoReplError("Timeout reached before replicating"), True),
        (NoReplError(), False),
        (OOMError(), False),
        (UnreachableError("no node answered"), False),
    ],
)
def test_what_may_have_been_added(error, doubtful):
    """Only an answer that never came, or came too soon, leaves a doubt."""
    assert is_doubtful(error) is doubtful


def test_how_many_at_once():
    """Batches grow up to a number of jobs, and shrink to a size in bytes."""
    assert next_count(16, [10, 20]) == 32
    assert next_count(BATCH_JOBS, [10]) == BATCH_JOBS
    assert next_count(100, [BATCH_BYTES // 4]) == 4
    assert next_count(100, [BATCH_BYTES * 2]) == 1
    assert next_count(16, [0, 0]) == 32


# Queues


def test_pauses():
    """A queue is paused as its nodes together have it."""
    words = (b"none", b"in", b"out", b"all")
    assert [str(Pause.of(word)) for word in words] == ["none", "in", "out", "all"]
    queue = Queue().and_on(3, b"in").and_on(4, b"out").and_on(0, b"none")
    assert (queue.length, str(queue.pause)) == (7, "all")


def test_counting():
    """Jobs of all queues, but for those that are left out, are counted by how they stand."""
    jobs = {b"a": Counter({Standing.QUEUED: 2}), b"b": Counter({Standing.ACTIVE: 3})}
    survey = Survey({}, jobs)
    assert survey.count(Standing.QUEUED, Standing.ACTIVE) == 5
    assert survey.count(Standing.QUEUED, Standing.ACTIVE, but=[b"b"]) == 2
