"""Random commands and time on the engine, beside a model that does the same the plainest way.

The model keeps one flat list of jobs and looks through all of it for every question. What the
engine answers must be what the model answers, and some promises are checked on their own, without
trusting the model: each says so in its docstring.
"""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    invariant,
    multiple,
    precondition,
    rule,
)

from pydisque.errors import MaxLenError, PausedError, TooLateError
from pydisque.node.engine.engine import JOB_OVERHEAD, QUEUE_OVERHEAD, Engine
from support.engines import START, figures, new_engine, shown

JITTER = 7
NAMES = [b"a", b"b", b"c"]


@dataclass
class ModelJob:
    id: bytes
    queue: bytes
    body: bytes
    age: int
    etime: int
    retry: int
    delay: int
    queued: bool
    qtime: int | None = None
    nacks: int = 0
    additional: int = 0
    first_time: bool = True
    spent: int = 0
    """When it was handed out, if it was at most once; the oldest is given up first."""


@dataclass
class ModelQueue:
    atime: int
    paused_in: bool = False
    paused_out: bool = False
    jobs_in: int = 0
    jobs_out: int = 0


class EngineMachine(RuleBasedStateMachine):
    """The engine, the model, and notes of what was promised to whom."""

    ids = Bundle("ids")

    def __init__(self) -> None:
        super().__init__()
        self.engine = self.make_engine()
        self.now = START
        self.jobs: dict[bytes, ModelJob] = {}
        self.queues: dict[bytes, ModelQueue] = {}
        self.born = 0
        self.handed_out = 0
        self.leases: dict[bytes, int] = {}
        self.once_delivered: set[bytes] = set()
        self.expiries: dict[bytes, int] = {}
        """Jobs nobody acknowledged, and the second until which they must not disappear."""

    def make_engine(self) -> Engine:
        """The engine under test."""
        return new_engine(JITTER)

    # The model's own rules

    def queue(self, name: bytes) -> ModelQueue:
        return self.queues.setdefault(name, ModelQueue(self.now))

    def line(self, name: bytes) -> list[ModelJob]:
        jobs = [job for job in self.jobs.values() if job.queue == name and job.queued]
        return sorted(jobs, key=lambda job: job.age)

    def put_back(self, job: ModelJob, *, nack: bool = False, uncounted: bool = False) -> bool:
        if job.queued or job.qtime is None:
            return False
        if nack:
            job.nacks += 1
        elif job.first_time or uncounted:
            job.first_time = False
        else:
            job.additional += 1
        job.queued, job.qtime = True, None
        queue = self.queue(job.queue)
        queue.jobs_in += 1
        queue.atime = self.now
        self.leases.pop(job.id, None)
        return True

    def put_off(self, job: ModelJob, delay: int) -> bool:
        if job.queued or job.qtime is None:
            return False
        job.nacks += 1
        job.first_time = True
        job.qtime = self.now + delay * 1000
        self.leases.pop(job.id, None)
        return True

    def run_clock(self, job: ModelJob) -> None:
        job.queued = False
        job.qtime = self.now + job.retry * 1000 + JITTER if job.retry else None

    def forget(self, id_: bytes) -> bool:
        self.expiries.pop(id_, None)
        self.leases.pop(id_, None)
        return self.jobs.pop(id_, None) is not None

    # Commands

    @rule(
        target=ids,
        name=st.sampled_from(NAMES),
        body=st.binary(max_size=5),
        ttl=st.integers(1, 40),
        retry=st.sampled_from([0, 0, 1, 3, 10]),
        delay=st.sampled_from([0, 0, 0, 2, 9]),
        maxlen=st.sampled_from([None, None, None, 1, 3]),
    )
    def add(
        self, name: bytes, body: bytes, ttl: int, retry: int, delay: int, maxlen: int | None
    ) -> object:
        queue = self.queues.get(name)
        full = maxlen is not None and len(self.line(name)) >= maxlen
        try:
            id_ = self.engine.add(name, body, ttl, retry, delay, maxlen)
        except MaxLenError:
            assert full
            return multiple()
        except PausedError:
            assert not full
            assert queue is not None
            assert queue.paused_in
            return multiple()
        assert not full
        assert queue is None or not queue.paused_in
        self.born += 1
        etime = self.now // 1000 + ttl
        job = ModelJob(id_, name, body, self.born, etime, retry, delay, queued=not delay)
        self.jobs[id_] = job
        self.expiries[id_] = etime
        if delay:
            job.qtime = self.now + delay * 1000
        else:
            job.first_time = False
            queue = self.queue(name)
            queue.jobs_in += 1
            queue.atime = self.now
        return id_

    @rule(names=st.lists(st.sampled_from(NAMES), min_size=1, max_size=4), count=st.integers(1, 5))
    def get(self, names: list[bytes], count: int) -> None:
        wanted: list[bytes] = []
        before = -1
        while before < len(wanted) < count:
            before = len(wanted)
            for name in names:
                if len(wanted) == count:
                    break
                line = self.line(name)
                if not line or (queue := self.queue(name)).paused_out:
                    continue
                self.run_clock(line[0])
                self.handed_out += 1
                line[0].spent = self.handed_out if not line[0].retry else 0
                queue.jobs_out += 1
                queue.atime = self.now
                wanted.append(line[0].id)
        got = self.engine.get(names, count)
        assert [job.id for job in got] == wanted
        for job in got:
            self.delivered(job.id, job.retry)

    def delivered(self, id_: bytes, retry: int) -> None:
        """Without the model: at most once is kept, and no lease is broken."""
        assert id_ not in self.once_delivered, "an at-most-once job came twice"
        if not retry:
            self.once_delivered.add(id_)
            return
        assert self.leases.get(id_, 0) <= self.now, "delivered while its lease ran"
        self.leases[id_] = self.now + retry * 1000

    @rule(ids=st.lists(consumes(ids), max_size=3))
    def remove(self, ids: list[bytes]) -> None:
        assert self.engine.remove(ids + ids) == sum(map(self.forget, ids))

    @rule(ids=st.lists(ids, max_size=3), uncounted=st.booleans())
    def enqueue(self, ids: list[bytes], uncounted: bool) -> None:
        jobs = [self.jobs[id_] for id_ in ids if id_ in self.jobs]
        queued = sum(self.put_back(job, uncounted=uncounted) for job in jobs)
        assert self.engine.enqueue(ids, uncounted=uncounted) == queued

    @rule(ids=st.lists(ids, max_size=3), delay=st.sampled_from([0, 0, 1, 4, 50]))
    def nack(self, ids: list[bytes], delay: int) -> None:
        taken = 0
        for id_ in dict.fromkeys(ids):
            if job := self.jobs.get(id_):
                taken += self.put_off(job, delay) if delay else self.put_back(job, nack=True)
        assert self.engine.nack(ids, delay) == taken

    @rule(ids=st.lists(ids, max_size=3), delay=st.sampled_from([1, 4, 50]))
    def nack_later(self, ids: list[bytes], delay: int) -> None:
        jobs = [self.jobs[id_] for id_ in dict.fromkeys(ids) if id_ in self.jobs]
        assert self.engine.nack(ids, delay) == sum(self.put_off(job, delay) for job in jobs)

    @rule(ids=st.lists(ids, max_size=3))
    def dequeue(self, ids: list[bytes]) -> None:
        dequeued = 0
        for id_ in ids:
            if (job := self.jobs.get(id_)) and job.queued:
                self.run_clock(job)
                dequeued += 1
        assert self.engine.dequeue(ids) == dequeued

    @rule(id_=ids)
    def working(self, id_: bytes) -> None:
        job = self.jobs.get(id_)
        if job is None:
            assert self.engine.show(id_) is None
            return
        created = shown(self.engine, id_).job.ctime // 1_000_000
        try:
            assert self.engine.working(id_) == job.retry
        except TooLateError:
            assert self.now - created > job.etime * 1000 - self.now
            return
        assert self.now - created <= job.etime * 1000 - self.now
        if job.queued or job.retry:
            self.run_clock(job)
            if id_ in self.leases:
                self.leases[id_] = self.now + job.retry * 1000

    @rule(name=st.sampled_from(NAMES), into=st.booleans(), out=st.booleans())
    def pause(self, name: bytes, into: bool, out: bool) -> None:
        if name in self.queues or into or out:
            queue = self.queue(name)
            queue.paused_in, queue.paused_out = into, out
        word = b"all" if into and out else b"in" if into else b"out" if out else b"none"
        assert self.engine.pause(name, to=(into, out)) == word

    @rule(milliseconds=st.one_of(st.integers(1, 1500), st.integers(1, 15_000)))
    def time_passes(self, milliseconds: int) -> None:
        self.now += milliseconds
        self.engine.advance(self.now)
        for job in list(self.jobs.values()):
            if job.queued or job.qtime is None or job.qtime > self.now:
                continue
            if job.etime * 1000 <= self.now:
                self.forget(job.id)
            elif self.queues.get(job.queue, ModelQueue(0)).paused_in and job.retry:
                self.run_clock(job)
            else:
                self.put_back(job)
        for job in list(self.jobs.values()):
            if job.etime < self.now // 1000:
                self.forget(job.id)

    @rule(seconds=st.sampled_from([2, 10, 300]), waited_for=st.sampled_from([*NAMES, None]))
    def drop_idle(self, seconds: int, waited_for: bytes | None) -> None:
        self.engine.drop_idle(seconds, lambda name: name == waited_for)
        for name, queue in list(self.queues.items()):
            used = queue.paused_in or queue.paused_out or self.line(name) or name == waited_for
            if not used and self.now - queue.atime > seconds * 1000:
                del self.queues[name]

    @rule()
    def evict(self) -> None:
        spent = sorted((job.spent, job.id) for job in self.jobs.values() if job.spent)
        assert self.engine.evict() is bool(spent)
        if spent:
            self.forget(spent[0][1])

    @precondition(lambda self: self.born > 20)
    @rule()
    def flush(self) -> None:
        self.engine.flush()
        self.queues.clear()
        for id_ in list(self.jobs):
            self.forget(id_)
        self.born = 0

    # What always holds

    @invariant()
    def every_job_is_as_the_model_says(self) -> None:
        _, found = self.engine.scan_jobs(0, None, None, ())
        assert {state.job.id for state in found} == set(self.jobs)
        for state in found:
            job, model = state.job, self.jobs[state.job.id]
            assert job.state == (b"queued" if model.queued else b"active")
            assert (job.queue, job.body, job.etime) == (model.queue, model.body, model.etime)
            assert (job.retry, job.delay, job.qtime) == (model.retry, model.delay, model.qtime)
            assert (job.nacks, job.additional_deliveries) == (model.nacks, model.additional)

    @invariant()
    def every_queue_is_as_the_model_says(self) -> None:
        _, names = self.engine.scan_queues(0, None, lambda _: True)
        assert sorted(names) == sorted(self.queues)
        for name, model in self.queues.items():
            line = [job.id for job in self.line(name)]
            assert [job.id for job in self.engine.peek(name, 1000)] == line
            assert [job.id for job in self.engine.peek(name, -1000)] == line[::-1]
            stat = figures(self.engine, name)
            assert stat.length == self.engine.length(name) == len(line)
            assert (stat.jobs_in, stat.jobs_out) == (model.jobs_in, model.jobs_out)
            assert stat.idle == (self.now - model.atime) // 1000

    @invariant()
    def the_counts_agree(self) -> None:
        """Without the model: the sum over states, over queues and over SHOW is one number."""
        by_state = [
            len(self.engine.scan_jobs(0, None, None, [state])[1])
            for state in (b"queued", b"active", b"wait-repl", b"acked")
        ]
        assert sum(by_state) == self.engine.count
        assert by_state[0] == sum(self.engine.length(name) for name in NAMES)
        assert by_state[2:] == [0, 0]

    @invariant()
    def nothing_disappears_before_its_time(self) -> None:
        """Without the model: a job nobody acknowledged or gave up is there until its TTL."""
        for id_, etime in self.expiries.items():
            if self.now < etime * 1000:
                assert self.engine.show(id_) is not None

    @invariant()
    def memory_is_accounted(self) -> None:
        """Without the model: the memory counted is that of the jobs and queues there are."""
        _, found = self.engine.scan_jobs(0, None, None, ())
        _, names = self.engine.scan_queues(0, None, lambda _: True)
        assert self.engine.memory == sum(len(s.job.body) + JOB_OVERHEAD for s in found) + sum(
            len(name) + QUEUE_OVERHEAD for name in names
        )

    @invariant()
    def the_timer_is_set(self) -> None:
        """The next wake-up is never later than the next job that is due."""
        due = [job.qtime for job in self.jobs.values() if not job.queued and job.qtime is not None]
        if due:
            alarm = self.engine.next_due()
            assert alarm is not None
            assert alarm <= max(min(due), self.now)  # what is overdue is due now


EngineMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=60)
TestEngine = EngineMachine.TestCase
