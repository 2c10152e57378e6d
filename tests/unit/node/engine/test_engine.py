"""Disque's rules, each alone, in a time the test decides.

ENQUEUE, NACK and the rest speak of jobs by ID.
"""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pydisque.errors import BadIDError, MaxLenError, NoJobError, PausedError, TooLateError
from pydisque.node.engine.engine import JOB_OVERHEAD, PLACES, QUEUE_OVERHEAD, Engine
from pydisque.node.engine.job import LONGEST, ttl_field
from support.engines import NODE_ID, START, figures, later, new_engine, shown

UNKNOWN = b"D-zzzzzzzz-************************-zzzz"


@pytest.fixture
def engine() -> Engine:
    return new_engine()


def state(engine: Engine, id_: bytes) -> str | None:
    found = engine.show(id_)
    return found.job.state.decode() if found else None


def counters(engine: Engine, id_: bytes) -> tuple[int, int]:
    """How often the job was nacked, and delivered again for other reasons."""
    job = shown(engine, id_).job
    return job.nacks, job.additional_deliveries


def get(engine: Engine, *names: bytes, count: int = 1) -> list[bytes]:
    return [job.id for job in engine.get(list(names) or [b"q"], count)]


def bodies(engine: Engine, *names: bytes, count: int) -> list[bytes]:
    return [job.body for job in engine.get(list(names), count)]


# What IDs look like


def test_the_shape_of_an_id(engine: Engine) -> None:
    """An ID is the node's mark, 24 characters of its own and four digits for the TTL."""
    assert engine.add(b"q", b"") == b"D-01234567-" + b"0" * 24 + b"-05a1"
    engine.set_node_id(b"f" * 40)
    assert engine.add(b"q", b"")[:11] == b"D-ffffffff-"
    assert len(NODE_ID) == 40


@pytest.mark.parametrize(
    ("ttl", "retry", "field"),
    [
        (1, 1, b"0001"), (1, 0, b"0000"), (60, 1, b"0001"), (60, 0, b"0000"), (180, 5, b"0003"),
        (180, 0, b"0002"), (86400, 300, b"05a1"), (86400, 0, b"05a0"), (2**31, 1, b"ffff"),
        (2**40, 0, b"fffe"),
    ],
)  # fmt: skip
def test_the_ttl_in_an_id(engine: Engine, ttl: int, retry: int, field: bytes) -> None:
    """The last digits are the TTL in minutes, odd unless the job is delivered at most once."""
    assert ttl_field(ttl, retry) == field
    assert engine.add(b"q", b"", ttl=ttl, retry=retry)[-5:] == b"-" + field


def test_many_kinds_of_ids(engine: Engine) -> None:
    """What is remembered about the last digits of IDs stays small and right."""
    for ttl in range(1, 3000):
        assert engine.add(b"q", b"", ttl=ttl, retry=0)[-4:] == ttl_field(ttl, 0)
    assert len(engine._fields) <= 1001


@pytest.mark.parametrize("bad", [b"", b"x", UNKNOWN[:-1], UNKNOWN + b"0", b"x" * 40, b"D-" * 20])
def test_a_bad_id_spoils_the_command(engine: Engine, bad: bytes) -> None:
    """Commands with several IDs check the shape of all first, and do nothing if one is bad."""
    job = engine.add(b"q", b"")
    for command in (engine.remove, engine.dequeue, engine.enqueue, engine.nack):
        with pytest.raises(BadIDError):
            command([job, bad])
        assert state(engine, job) == "queued"
    for ask in (engine.show, engine.working):
        with pytest.raises(BadIDError):
            ask(bad)


def test_unknown_and_repeated_ids_count_nothing(engine: Engine) -> None:
    """Each command counts the jobs it changed, once each."""
    a, b = engine.add(b"q", b""), engine.add(b"q", b"")
    assert engine.dequeue([a, UNKNOWN, a, b]) == 2
    assert engine.enqueue([a, UNKNOWN, a]) == 1
    assert engine.nack([b, b, a, UNKNOWN]) == 1
    assert engine.remove([a, UNKNOWN, a, b]) == 2
    assert engine.remove([a, b]) == 0
    for command in (engine.remove, engine.dequeue, engine.enqueue, engine.nack):
        assert command([]) == 0
    assert engine.show(UNKNOWN) is None
    with pytest.raises(NoJobError):
        engine.working(UNKNOWN)


# ADDJOB, and the states of a job


def test_a_job_is_queued_at_once(engine: Engine) -> None:
    """Without a delay a job is queued when ADDJOB returns, and its queue is ready to serve."""
    job = engine.add(b"q", b"body")
    assert state(engine, job) == "queued"
    assert engine.length(b"q") == 1
    assert engine.ready == {b"q"}
    assert engine.count == 1


def test_what_show_tells(engine: Engine) -> None:
    """SHOW tells the TTL in seconds, and what will happen next in milliseconds."""
    job = engine.add(b"q", b"", ttl=100, retry=10)
    later(engine, 1.5)
    queued = shown(engine, job)
    assert (queued.ttl, queued.requeue_within, queued.awake_within) == (99, 10_000, 9_500)
    get(engine)
    later(engine, 9.6)
    active = shown(engine, job)
    assert (active.ttl, active.requeue_within, active.awake_within) == (89, 400, 400)


def test_ctimes_only_grow(engine: Engine) -> None:
    """Jobs of one millisecond, or of a clock that was set back, still come one after the other."""
    ctimes = [shown(engine, engine.add(b"q", b"")).job.ctime for _ in range(3)]
    assert ctimes == [START * 1_000_000 + n for n in range(3)]
    engine.advance(START - 5000)
    assert engine.now == START
    assert shown(engine, engine.add(b"q", b"")).job.ctime == ctimes[-1] + 1


def test_maxlen_counts_what_is_queued(engine: Engine) -> None:
    """MAXLEN looks at queued jobs only: not at delayed ones, not at those handed out."""
    engine.add(b"q", b"", maxlen=1)
    with pytest.raises(MaxLenError):
        engine.add(b"q", b"", maxlen=1)
    with pytest.raises(MaxLenError):
        engine.add(b"q", b"", maxlen=1, delay=5)
    get(engine)
    engine.add(b"q", b"", delay=5)
    engine.add(b"q", b"", maxlen=1)
    assert engine.length(b"q") == 1
    assert engine.count == 3


def test_a_refused_job_leaves_no_trace(engine: Engine) -> None:
    """MAXLEN is asked before the pause; a job that was refused does not exist."""
    engine.add(b"q", b"")
    engine.pause(b"q", to=(True, False))
    memory = engine.memory
    with pytest.raises(MaxLenError):
        engine.add(b"q", b"", maxlen=1)
    with pytest.raises(PausedError):
        engine.add(b"q", b"", delay=3)
    assert (engine.count, engine.memory, engine.next_due()) == (1, memory, None)


# Jobs that are delayed


def test_a_delayed_job_waits(engine: Engine) -> None:
    """It is active until its delay is over, to the millisecond, and makes no queue before."""
    job = engine.add(b"q", b"", delay=5)
    assert state(engine, job) == "active"
    assert engine.stat(b"q") is None
    assert not engine.ready
    assert engine.next_due() == START + 5000
    told = shown(engine, job)
    assert (told.requeue_within, told.awake_within) == (5000, 5000)
    later(engine, 4.999)
    assert get(engine) == []
    later(engine, 0.001)
    assert get(engine) == [job]
    assert counters(engine, job) == (0, 0)


@pytest.mark.parametrize("retry", [0, 10])
def test_a_delayed_job_may_be_queued_early(engine: Engine, retry: int) -> None:
    """ENQUEUE queues it at once, which counts nothing, and the delay is over for good."""
    job = engine.add(b"q", b"", delay=5, retry=retry)
    assert engine.enqueue([job]) == 1
    assert counters(engine, job) == (0, 0)
    assert get(engine) == [job]
    later(engine, 6)
    assert state(engine, job) == "active"


def test_a_nacked_delayed_job(engine: Engine) -> None:
    """NACK counts even the first time, and the queueing after it still counts nothing."""
    job = engine.add(b"q", b"", delay=5)
    assert engine.nack([job]) == 1
    assert get(engine) == [job]
    assert engine.enqueue([job]) == 1
    assert counters(engine, job) == (1, 0)
    engine.dequeue([job])
    engine.enqueue([job])
    assert counters(engine, job) == (1, 1)


def test_working_replaces_the_delay(engine: Engine) -> None:
    """WORKING on a delayed job makes RETRY what remains; on a RETRY 0 job it changes nothing."""
    job = engine.add(b"q", b"", delay=5, retry=60)
    once = engine.add(b"q", b"", delay=5, retry=0)
    assert (engine.working(job), engine.working(once)) == (60, 0)
    later(engine, 5)
    assert get(engine, count=9) == [once]
    later(engine, 55)
    assert get(engine) == [job]


def test_a_delayed_job_can_be_removed(engine: Engine) -> None:
    """ACKJOB and its kin end a job before it ever was queued."""
    job = engine.add(b"q", b"", delay=5)
    assert engine.remove([job]) == 1
    later(engine, 6)
    assert engine.stat(b"q") is None


# Retries, with the difference that the clock starts at delivery


def test_the_clock_stands_while_a_job_waits(engine: Engine) -> None:
    """However long a job waits in its queue, it is not delivered twice for that."""
    job = engine.add(b"q", b"", retry=10)
    later(engine, 1000)
    assert get(engine) == [job]
    later(engine, 9.999)
    assert get(engine) == []
    later(engine, 0.001)
    assert get(engine) == [job]
    assert counters(engine, job) == (0, 1)


@pytest.mark.parametrize("jitter", [-250, 249])
def test_retry_times_scatter(jitter: int) -> None:
    """A retry time is off by the jitter, so that many jobs do not come back in one moment."""
    engine = new_engine(jitter)
    engine.add(b"q", b"", retry=10)
    get(engine)
    assert engine.next_due() == START + 10_000 + jitter


def test_each_return_counts(engine: Engine) -> None:
    """The timer and ENQUEUE count additional deliveries, NACK counts nacks."""
    job = engine.add(b"q", b"", retry=10)
    get(engine)
    later(engine, 10)
    get(engine)
    engine.enqueue([job])
    get(engine)
    engine.nack([job])
    assert counters(engine, job) == (1, 2)
    stat = figures(engine, b"q")
    assert (stat.jobs_in, stat.jobs_out) == (4, 3)


def test_counters_wrap_round(engine: Engine) -> None:
    """Both counters have 16 bits."""
    job = engine.add(b"q", b"")
    for _ in range(65536):
        engine.dequeue([job])
        engine.nack([job])
    engine.dequeue([job])
    engine.enqueue([job])
    assert counters(engine, job) == (0, 1)


def test_queued_jobs_are_not_queued_again(engine: Engine) -> None:
    """ENQUEUE and NACK of a queued job do nothing and count nothing."""
    job = engine.add(b"q", b"")
    assert (engine.enqueue([job]), engine.nack([job])) == (0, 0)
    assert counters(engine, job) == (0, 0)
    assert figures(engine, b"q").jobs_in == 1


def test_working_postpones_the_next_delivery(engine: Engine) -> None:
    """WORKING answers RETRY, and the job comes back that long after it."""
    job = engine.add(b"q", b"", retry=10)
    get(engine)
    later(engine, 9)
    assert engine.working(job) == 10
    later(engine, 9)
    assert state(engine, job) == "active"
    later(engine, 1)
    assert state(engine, job) == "queued"
    assert counters(engine, job) == (0, 1)


def test_working_takes_a_queued_job_out(engine: Engine) -> None:
    """Whoever says it works on a queued job has it, until RETRY is over."""
    job = engine.add(b"q", b"", retry=10)
    assert engine.working(job) == 10
    assert (state(engine, job), engine.length(b"q")) == ("active", 0)
    later(engine, 10)
    assert get(engine) == [job]


def test_working_is_too_late_in_the_second_half(engine: Engine) -> None:
    """Once more than half of the TTL is over nobody may postpone the delivery."""
    job = engine.add(b"q", b"", ttl=100)
    later(engine, 50)
    engine.working(job)
    later(engine, 0.001)
    with pytest.raises(TooLateError):
        engine.working(job)


def test_dequeue_starts_the_clock(engine: Engine) -> None:
    """A dequeued job comes back RETRY seconds later; DEQUEUE is no delivery."""
    job = engine.add(b"q", b"", retry=10)
    later(engine, 8)
    assert engine.dequeue([job]) == 1
    assert (engine.dequeue([job]), engine.length(b"q")) == (0, 0)
    assert figures(engine, b"q").jobs_out == 0
    later(engine, 9)
    assert get(engine) == []
    later(engine, 1)
    assert get(engine) == [job]
    assert counters(engine, job) == (0, 1)


def test_huge_numbers_do_not_wrap_round(engine: Engine) -> None:
    """Times beyond 32 bits mean what they say."""
    job = engine.add(b"q", b"", ttl=2**40, retry=2**33)
    delayed = engine.add(b"q", b"", ttl=2**40, delay=2**33)
    get(engine)
    for each in (job, delayed):
        told = shown(engine, each)
        assert (told.ttl, told.requeue_within) == (2**40, 2**33 * 1000)
    later(engine, 2**20)
    assert [state(engine, each) for each in (job, delayed)] == ["active", "active"]


# Jobs delivered at most once


def test_at_most_once(engine: Engine) -> None:
    """A RETRY 0 job is handed out once and stays known until it is acknowledged."""
    job = engine.add(b"q", b"", retry=0)
    assert shown(engine, job).requeue_within is None
    assert get(engine) == [job]
    later(engine, 86_000)
    assert (engine.enqueue([job]), engine.nack([job]), get(engine)) == (0, 0, [])
    assert state(engine, job) == "active"
    assert engine.remove([job]) == 1


@pytest.mark.parametrize("command", ["dequeue", "working"])
def test_at_most_once_may_be_never(engine: Engine, command: str) -> None:
    """DEQUEUE or WORKING take a RETRY 0 job out of its queue for good."""
    job = engine.add(b"q", b"", retry=0)
    if command == "dequeue":
        assert engine.dequeue([job]) == 1
    else:
        assert engine.working(job) == 0
    assert engine.enqueue([job]) == 0
    later(engine, 1000)
    assert get(engine) == []


# Jobs that expire


@pytest.mark.parametrize("how", ["queued", "active", "delayed", "once"])
def test_jobs_expire(engine: Engine, how: str) -> None:
    """In whatever state, a job is gone one second after its TTL, and its memory with it."""
    job = engine.add(
        b"q", b"x", ttl=10, retry=0 if how == "once" else 300, delay=9 if how == "delayed" else 0
    )
    if how in ("active", "once"):
        get(engine)
    later(engine, 9.5)
    later(engine, 1.499)
    told = shown(engine, job)
    assert (told.ttl, told.awake_within) == (0, 1)
    later(engine, 0.001)
    assert engine.show(job) is None
    assert (engine.count, engine.length(b"q"), engine._active, len(engine._spent)) == (0, 0, 0, 0)
    assert engine.memory == (QUEUE_OVERHEAD + 1 if engine.stat(b"q") else 0)


def test_a_retry_at_the_end_of_life_is_none(engine: Engine) -> None:
    """A job whose retry falls due when its TTL is over goes instead of coming back."""
    job = engine.add(b"q", b"", ttl=10, retry=10)
    get(engine)
    later(engine, 10)
    assert engine.show(job) is None
    assert figures(engine, b"q").jobs_in == 1


def test_one_leap_over_everything(engine: Engine) -> None:
    """After a long sleep of the machine what fell due is done, and what expired is gone."""
    short = engine.add(b"q", b"", ttl=5)
    long = engine.add(b"q", b"", retry=10)
    get(engine, count=2)
    later(engine, 3600)
    assert (engine.show(short), state(engine, long)) == (None, "queued")
    assert get(engine, count=9) == [long]


# Order and turns


def test_oldest_first_whoever_comes_back(engine: Engine) -> None:
    """A job put back takes its old place, so it comes before the younger ones."""
    a, b, c = (engine.add(b"q", b"") for _ in range(3))
    assert get(engine, count=2) == [a, b]
    engine.nack([b])
    d = engine.add(b"q", b"")
    engine.nack([a])
    assert get(engine, count=9) == [a, b, c, d]


def test_queues_take_turns(engine: Engine) -> None:
    """Each pass takes one job of each queue in the order named, a queue named twice twice."""
    for name in (b"a", b"b", b"c"):
        for n in range(3):
            engine.add(name, b"%b%d" % (name, n))
    assert bodies(engine, b"b", b"a", count=4) == [b"b0", b"a0", b"b1", b"a1"]
    assert bodies(engine, b"c", b"a", b"c", count=9) == [b"c0", b"a2", b"c1", b"c2"]
    assert bodies(engine, b"a", b"b", b"c", count=9) == [b"b2"]


def test_get_creates_no_queue(engine: Engine) -> None:
    """GETJOB creates no queue, unless it blocks; then those that no job came into go with it."""
    get(engine, b"x", b"y")
    assert engine.queue_count() == 0
    engine.get([b"x", b"y", b"x"], wait=True)
    assert engine.scan_queues(0, None, lambda _: True) == (0, [b"x", b"y"])
    assert (engine.queue_count(), engine.memory) == (2, 0)
    engine.add(b"y", b"")
    engine.forget_awaited([b"x", b"y", b"z"])
    assert engine.stat(b"x") is None
    assert figures(engine, b"y").jobs_in == 1
    assert engine.memory == JOB_OVERHEAD + QUEUE_OVERHEAD + 1


def test_awaited_queue_becomes_a_queue_by_pause(engine: Engine) -> None:
    """A queue that a client blocks for stays when it is paused, and only then."""
    engine.get([b"q", b"r"], wait=True)
    assert engine.pause(b"q", to=(False, True)) == b"out"
    assert engine.pause(b"r", to=(False, False)) == b"none"
    engine.forget_awaited([b"q", b"r"])
    assert engine.scan_queues(0, None, lambda _: True) == (0, [b"q"])


def test_get_that_finds_a_job_creates_no_queue(engine: Engine) -> None:
    """Also a GETJOB that would block creates no queue if it returns a job."""
    engine.add(b"q", b"")
    assert engine.get([b"x", b"q"], wait=True)
    assert engine.stat(b"x") is None


def test_many_queues_at_once(engine: Engine) -> None:
    """Queues that turn out to be empty cost a GETJOB of many no more than one look each."""
    names = [b"%d" % n for n in range(20_000)]
    engine.add(names[-1], b"last")
    assert bodies(engine, *names, count=5) == [b"last"]


def test_looking_at_a_queue(engine: Engine) -> None:
    """QPEEK shows the oldest, or for a negative count the newest first, whatever is paused."""
    jobs = [engine.add(b"q", b"") for _ in range(3)]
    engine.pause(b"q", to=(True, True))

    def peek(count: int) -> list[bytes]:
        return [job.id for job in engine.peek(b"q", count)]

    assert (peek(2), peek(-2)) == (jobs[:2], [jobs[2], jobs[1]])
    assert (peek(0), peek(2**63 - 1), peek(-(2**63))) == ([], jobs, jobs[::-1])
    assert engine.peek(b"nowhere", 5) == []
    assert engine.length(b"q") == 3


# Jobs that are given back with a delay


def test_a_job_given_back_with_a_delay(engine: Engine) -> None:
    """NACK with a delay counts a failure; the job is queued after it, which counts nothing."""
    job = engine.add(b"q", b"", retry=10)
    get(engine)
    later(engine, 3)
    assert engine.nack([job], 60) == 1
    assert state(engine, job) == "active"
    told = shown(engine, job)
    assert (told.requeue_within, told.awake_within, told.job.delay) == (60_000, 60_000, 0)
    later(engine, 59.999)
    assert (engine.length(b"q"), engine.ready) == (0, {b"q"})
    later(engine, 0.001)
    assert counters(engine, job) == (1, 0)
    assert get(engine) == [job]
    later(engine, 10)
    assert counters(engine, job) == (1, 1)


def test_a_delay_takes_active_jobs_only(engine: Engine) -> None:
    """What is queued, spent or unknown is passed over; each other job counts once."""
    active, queued = engine.add(b"q", b""), engine.add(b"other", b"")
    spent = engine.add(b"once", b"", retry=0)
    assert engine.get([b"q", b"once"], 2)
    assert engine.nack([queued, active, UNKNOWN, active, spent], 5) == 1
    assert [counters(engine, job) for job in (queued, active, spent)] == [(0, 0), (1, 0), (0, 0)]
    with pytest.raises(BadIDError):
        engine.nack([active, b"x"], 7)
    assert (counters(engine, active), shown(engine, active).requeue_within) == ((1, 0), 5000)


def test_no_delay_is_a_plain_nack(engine: Engine) -> None:
    """A delay of 0 queues at once."""
    job = engine.add(b"q", b"")
    get(engine)
    assert engine.nack([job], 0) == 1
    assert get(engine) == [job]


def test_a_delay_anew(engine: Engine) -> None:
    """The last delay counts, also when it is shorter, and after the one a job was added with."""
    job = engine.add(b"q", b"", retry=0, delay=5)
    assert (engine.nack([job], 50), engine.nack([job], 9), engine.nack([job], 7)) == (1, 1, 1)
    later(engine, 6.999)
    assert state(engine, job) == "active"
    later(engine, 0.001)
    assert counters(engine, job) == (3, 0)
    assert get(engine) == [job]
    later(engine, 100)
    assert get(engine) == []


def test_what_ends_such_a_delay(engine: Engine) -> None:
    """As for a job that was added with one: ENQUEUE, NACK and ACKJOB, and WORKING means RETRY."""
    a, b, c, d = (engine.add(b"q", b"", retry=10) for _ in range(4))
    get(engine, count=4)
    assert engine.nack([a, b, c, d], 100) == 4
    assert (engine.enqueue([a]), engine.nack([b]), engine.remove([c])) == (1, 1, 1)
    assert engine.working(d) == 10
    assert get(engine, count=9) == [a, b]
    assert (counters(engine, a), counters(engine, b)) == ((1, 0), (2, 0))
    later(engine, 10)
    assert d in get(engine, count=9)
    assert counters(engine, d) == (1, 0)


def test_a_delay_and_a_pause(engine: Engine) -> None:
    """When the time comes and the queue takes nothing in, the job waits another RETRY."""
    job = engine.add(b"q", b"", retry=10)
    get(engine)
    engine.nack([job], 60)
    engine.pause(b"q", to=(True, False))
    later(engine, 60)
    assert (state(engine, job), shown(engine, job).requeue_within) == ("active", 10_000)


@pytest.mark.parametrize("delay", [100, 2**63 - 1])
def test_a_delay_beyond_the_life_of_a_job(engine: Engine, delay: int) -> None:
    """A job whose TTL ends before its delay expires at its time."""
    job = engine.add(b"q", b"", ttl=100, retry=10)
    get(engine)
    assert engine.nack([job], delay) == 1
    later(engine, 99)
    assert shown(engine, job).requeue_within == min(delay * 1000 - 99_000, LONGEST)
    later(engine, 2)
    assert engine.show(job) is None
    assert (engine.count, engine.length(b"q")) == (0, 0)


# Queues that are paused


def test_paused_in(engine: Engine) -> None:
    """Input paused: ADDJOB is refused, retries are postponed; ENQUEUE and NACK work."""
    a, b, c = (engine.add(b"q", b"", retry=10) for _ in range(3))
    once = engine.add(b"q", b"", retry=0, delay=15)
    assert get(engine, count=3) == [a, b, c]
    assert engine.pause(b"q", to=(True, False)) == b"in"
    with pytest.raises(PausedError):
        engine.add(b"q", b"")
    assert (engine.enqueue([a]), engine.nack([b])) == (1, 1)
    later(engine, 10)
    assert state(engine, c) == "active"
    assert shown(engine, c).requeue_within == 10_000
    later(engine, 5)
    assert state(engine, once) == "queued"
    engine.pause(b"q", to=(False, False))
    later(engine, 5)
    assert counters(engine, c) == (0, 1)
    assert get(engine, count=9) == [a, b, c, once]


def test_paused_out(engine: Engine) -> None:
    """Output paused: GETJOB sees an empty queue; the end of the pause makes it ready again."""
    job = engine.add(b"q", b"")
    assert engine.pause(b"q", to=(False, True)) == b"out"
    assert get(engine) == []
    engine.ready.clear()
    assert engine.pause(b"q", to=(False, False)) == b"none"
    assert engine.ready == {b"q"}
    assert get(engine) == [job]


def test_pause_makes_a_queue_only_to_pause_it(engine: Engine) -> None:
    """Asking for the state, or for no pause, makes no queue; a pause is absolute, not added."""
    assert engine.pause(b"q", to=None) == b"none"
    assert engine.pause(b"q", to=(False, False)) == b"none"
    assert engine.queue_count() == 0
    assert engine.pause(b"q", to=(True, True)) == b"all"
    assert engine.pause(b"q", to=None) == b"all"
    assert engine.pause(b"q", to=(True, False)) == b"in"
    assert figures(engine, b"q").pause == b"in"


# Queues come and go


def test_what_stat_tells(engine: Engine) -> None:
    """QSTAT tells age and idleness in seconds; looking or waiting is no use of the queue."""
    engine.add(b"q", b"")
    later(engine, 10)
    get(engine)
    later(engine, 5.5)
    get(engine)
    engine.peek(b"q", 1)
    stat = figures(engine, b"q")
    assert (stat.name, stat.length, stat.age, stat.idle) == (b"q", 0, 15, 5)
    assert (stat.jobs_in, stat.jobs_out, stat.pause) == (1, 1, b"none")


def test_idle_queues_are_dropped(engine: Engine) -> None:
    """Empty, unpaused and not waited for: such a queue goes when it was idle long enough."""
    for name in (b"idle", b"full", b"paused", b"waited"):
        engine.remove([engine.add(name, b"")])
    engine.add(b"full", b"")
    engine.pause(b"paused", to=(False, True))
    later(engine, 300)
    engine.drop_idle(300, lambda name: name == b"waited")
    assert engine.stat(b"idle") is not None
    later(engine, 0.001)
    engine.drop_idle(300, lambda name: name == b"waited")
    assert sorted(engine.queues) == [b"full", b"paused", b"waited"]
    assert engine.memory == 3 * QUEUE_OVERHEAD + len(b"fullpausedwaited") + JOB_OVERHEAD


def test_active_jobs_do_not_keep_a_queue(engine: Engine) -> None:
    """A dropped queue is made anew, counting from zero, when a job comes back to it."""
    job = engine.add(b"q", b"", retry=400)
    get(engine)
    later(engine, 301)
    engine.drop_idle(300, lambda _: False)
    assert engine.stat(b"q") is None
    later(engine, 99)
    assert figures(engine, b"q").jobs_in == 1
    assert get(engine) == [job]


def test_queues_never_pile_up(engine: Engine) -> None:
    """However many queues are made by mere names, they are dropped as fast as they are made."""
    for second in range(10):
        engine.remove([engine.add(b"%d-%d" % (second, n), b"") for n in range(3000)])
        later(engine, 1)
        engine.drop_idle(2, lambda _: False)
        assert engine.queue_count() <= 15_000
    for _ in range(30):
        later(engine, 1)
        engine.drop_idle(2, lambda _: False)
    assert (engine.queue_count(), engine.memory) == (0, 0)


def test_unused_queues_make_room(engine: Engine) -> None:
    """Unused queues are dropped until memory is within the limit, and no others."""
    for n in range(3000):
        id_ = engine.add(b"%d" % n, b"")
        if n % 3:
            engine.remove([id_])
    engine.pause(b"1", to=(True, False))
    limit = engine.memory - 1000 * QUEUE_OVERHEAD
    assert engine.drop_unused(limit, lambda name: name == b"2")
    assert limit - 1000 * (QUEUE_OVERHEAD + 4) < engine.memory <= limit
    assert not engine.drop_unused(0, lambda name: name == b"2")
    assert engine.queue_count() == 1002


def test_search_for_unused_queues_rests(engine: Engine) -> None:
    """When all queues were looked at in vain, there is no other look for a second."""
    engine.add(b"full", b"")
    assert not engine.drop_unused(0, lambda _: False)
    engine.remove([engine.add(b"empty", b"")])
    assert not engine.drop_unused(0, lambda _: False)
    assert engine.stat(b"empty") is not None
    later(engine, 1)
    assert not engine.drop_unused(0, lambda _: False)
    assert engine.stat(b"empty") is None


# Scans of jobs and queues


def scan_all(
    engine: Engine, limit: int | None, name: bytes | None = None, states: Iterable[bytes] = ()
) -> list[bytes]:
    cursor, found = engine.scan_jobs(0, limit, name, states)
    while cursor:
        cursor, more = engine.scan_jobs(cursor, limit, name, states)
        found += more
    return [state.job.id for state in found]


@pytest.mark.parametrize("limit", [0, 1, 7, 100, None])
def test_jscan_finds_each_job_once(engine: Engine, limit: int | None) -> None:
    """Whatever the step, a scan of resting jobs finds each of those wanted once."""
    jobs = [engine.add(b"a" if n % 2 else b"b", b"") for n in range(500)]
    taken = get(engine, b"a", count=50)
    assert sorted(scan_all(engine, limit)) == sorted(jobs)
    assert len(scan_all(engine, limit, name=b"a")) == 250
    assert sorted(scan_all(engine, limit, states=[b"active"])) == sorted(taken)
    assert len(scan_all(engine, limit, states=[b"active", b"queued"], name=b"a")) == 250
    assert scan_all(engine, limit, states=[b"acked", b"wait-repl"]) == []


def test_a_scan_works_a_bounded_time(engine: Engine) -> None:
    """One call stops at about COUNT jobs found, or ten times that many looked at."""
    for n in range(20_000):
        engine.add(b"a" if n % 1000 else b"rare", b"")
    _, found = engine.scan_jobs(0, 100, None, ())
    assert 100 <= len(found) < 200
    cursor, found = engine.scan_jobs(0, 10, b"rare", ())
    assert 0 < cursor < 100 * PLACES
    assert len(found) < 10


@pytest.mark.parametrize("size", [1, 250, 100_000, 10**9])
def test_jscan_stops_at_a_size_of_bodies(engine: Engine, size: int) -> None:
    """With a size JSCAN returns that many bytes of bodies and one job more, and all in the end."""
    jobs = [engine.add(b"q", b"x" * 100) for _ in range(3000)]
    cursor, ids = 0, []
    while True:
        cursor, found = engine.scan_jobs(cursor, None, None, (), size=size)
        assert 0 < sum(len(state.job.body) for state in found) < size + 100
        ids += [state.job.id for state in found]
        if not cursor:
            break
    assert sorted(ids) == sorted(jobs)


def test_qscan_stops_at_a_size_of_names(engine: Engine) -> None:
    """With a size QSCAN returns that many bytes of names and one name more."""
    for n in range(10):
        engine.add(b"%010d" % n, b"")
    cursor, names = engine.scan_queues(0, None, lambda _: True, 25)
    assert (cursor, len(names)) == (4, 3)


def test_a_cursor_from_nowhere(engine: Engine) -> None:
    """A cursor no scan gave ends the scan."""
    engine.add(b"q", b"")
    assert engine.scan_jobs(2**64 - 1, 10, None, ()) == (0, [])
    assert engine.scan_queues(2**64 - 1, 10, lambda _: True) == (0, [])


@settings(max_examples=30)
@given(st.data())
def test_scans_keep_their_promise_while_jobs_come_and_go(data: st.DataObject) -> None:
    """What was there from the first call to the last is found; what never was is not."""
    engine = new_engine()
    jobs = [engine.add(b"%d" % (n % 40), b"") for n in range(300)]
    some = st.lists(st.sampled_from(jobs), max_size=40)
    staying, names = set(jobs), {b"%d" % n for n in range(40)}
    limit = data.draw(st.integers(1, 30))
    found: list[bytes] = []
    seen: list[bytes] = []
    cursor = queue_cursor = 0
    while True:
        if cursor or not found:
            cursor, more = engine.scan_jobs(cursor, limit, None, ())
            found += [state.job.id for state in more]
        if queue_cursor or not seen:
            queue_cursor, new = engine.scan_queues(queue_cursor, limit, lambda _: True)
            seen += new
        if not cursor and not queue_cursor:
            break
        gone = data.draw(some)
        engine.remove(gone)
        staying -= set(gone)
        for n in range(data.draw(st.integers(0, 30))):
            engine.add(b"new-%d" % n, b"")
    assert staying <= set(found)
    assert len(found) == len(set(found))
    assert names <= set(seen)
    assert len(seen) == len(set(seen))


def test_qscan_by_length(engine: Engine) -> None:
    """QSCAN gives the names whose length is wanted, in the order the queues were made."""
    for n in range(5):
        for _ in range(n):
            engine.add(b"q%d" % n, b"")
    assert engine.scan_queues(0, None, lambda n: n >= 3) == (0, [b"q3", b"q4"])
    cursor, names = engine.scan_queues(0, 2, lambda _: True)
    assert names == [b"q1", b"q2"]
    assert engine.scan_queues(cursor, 2, lambda _: True) == (0, [b"q3", b"q4"])


def test_qscan_works_a_bounded_time(engine: Engine) -> None:
    """A scan that finds nothing stops after ten times COUNT queues and goes on from there."""
    engine.get([b"%d" % n for n in range(100)], wait=True)
    cursor, names = engine.scan_queues(0, 1, lambda n: n > 0)
    assert (cursor, names) == (11, [])
    assert engine.scan_queues(91, 1, lambda n: n > 0) == (0, [])


# Memory, and all that must not pile up


def test_memory_is_counted_and_given_back(engine: Engine) -> None:
    """Bodies, jobs and queues count; when the jobs and queues are gone nothing is left."""
    for n in range(100):
        engine.add(b"q%d" % (n % 3), b"x" * n, retry=n % 2, delay=n % 5, ttl=1000)
    assert engine.memory >= 100 * JOB_OVERHEAD + sum(range(100))
    later(engine, 5)
    get(engine, b"q0", b"q1", b"q2", count=50)
    later(engine, 996)
    assert engine.count == 0
    later(engine, 300)
    engine.drop_idle(300, lambda _: False)
    assert engine.memory == 0


def test_eviction_takes_spent_jobs_oldest_first(engine: Engine) -> None:
    """Only RETRY 0 jobs that were handed out may be given up under pressure."""
    once = [engine.add(b"q", b"", retry=0) for _ in range(3)]
    other = engine.add(b"q", b"")
    assert engine.evict() is False
    get(engine, count=2)
    get(engine, count=2)
    assert engine.evict() is True
    assert [state(engine, each) for each in once] == [None, "active", "active"]
    engine.remove([once[1]])
    assert (engine.evict(), engine.evict()) == (True, False)
    assert state(engine, other) == "active"


def test_eviction_of_many(engine: Engine) -> None:
    """A hundred thousand spent jobs are given up one by one, each as fast as the first."""
    for _ in range(100_000):
        engine.add(b"q", b"", retry=0)
    get(engine, count=100_000)
    evicted = 0
    while engine.evict():
        evicted += 1
    assert (evicted, engine.count) == (100_000, 0)


def test_flush_forgets_everything(engine: Engine) -> None:
    """After a flush there is nothing, and nothing of before comes back; new jobs work."""
    for n in range(50):
        engine.add(b"q%d" % n, b"x", delay=n % 2, retry=n % 3)
    get(engine, b"q0", b"q4", count=2)
    engine.pause(b"p", to=(True, True))
    engine.flush()
    assert (engine.count, engine.memory, engine.queue_count()) == (0, 0, 0)
    assert (engine.ready, engine.next_due(), engine.evict()) == (set(), None, False)
    later(engine, 100_000)
    assert (engine.count, engine.queue_count()) == (0, 0)
    job = engine.add(b"q1", b"")
    assert get(engine, b"q1") == [job]


def test_nothing_piles_up(engine: Engine) -> None:
    """After 200000 jobs added, handed out and acknowledged, the notes about them are few."""
    for second in range(40):
        for _ in range(50):
            jobs = [engine.add(b"q", b"", ttl=86400, retry=300) for _ in range(100)]
            assert len(engine.get([b"q"], 100)) == 100
            assert engine.remove(jobs) == 100
            later(engine, 0.02)
        listed = sum(map(len, engine._expiry.by_second.values()))
        assert listed < 30_000, f"second {second}"
        assert len(engine._retries) < 2000
    assert engine.memory == QUEUE_OVERHEAD + 1
    for _ in range(30):
        later(engine, 1)
    assert sum(map(len, engine._expiry.by_second.values())) < 3000


def test_heartbeats_do_not_pile_up(engine: Engine) -> None:
    """A job that is worked on for long, with a WORKING each moment, is one timer, not many."""
    job = engine.add(b"q", b"", ttl=10**6, retry=300)
    get(engine)
    for _ in range(20_000):
        engine.working(job)
        later(engine, 0.01)
    assert len(engine._retries) < 2000
    assert engine._active == 1


def test_what_is_due_at_once_can_be_done_in_turns() -> None:
    """However many jobs fall due together, one step moves no more than it is told to."""
    engine = new_engine()
    for _ in range(50):
        engine.add(b"q", b"", delay=1)
    for left in (30, 10, 0):
        engine.advance(engine.now + 1000 if left == 30 else engine.now, most=20)
        assert engine.length(b"q") == 50 - left
        due = engine.next_due()
        assert due is None if left == 0 else due is not None and due <= engine.now


def test_what_expires_at_once_can_be_deleted_in_turns() -> None:
    """However many jobs expire together, one step deletes no more than it is told to."""
    engine = new_engine()
    for _ in range(50):
        engine.add(b"q", b"", ttl=1)
    for left in (30, 10, 0):
        engine.advance(engine.now + 2000 if left == 30 else engine.now, most=20)
        assert engine.count == engine.length(b"q") == left
        assert engine.next_due() == (engine.now if left else None)
