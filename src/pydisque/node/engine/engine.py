"""Disque's rules as a state machine of jobs and queues.

Time, job IDs and jitter come from outside, so the same calls give the same answers: no clock, no
randomness, no I/O in here. `advance` moves the time and does what had become due; every other
method is one command's effect at that time. `ready` collects the queues that got jobs, for
whoever has clients waiting there.
"""

from __future__ import annotations

import sys
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from heapq import heapify, heappop, heappush
from itertools import islice
from operator import itemgetter

from sortedcontainers import SortedDict

from pydisque.errors import MaxLenError, NoJobError, PausedError, TooLateError
from pydisque.node.engine.change_log import Changes
from pydisque.node.engine.expiry import Expiry
from pydisque.node.engine.job import (
    ACTIVE,
    GONE,
    QUEUED,
    Job,
    JobState,
    check_ids,
    state_of,
    ttl_field,
)
from pydisque.node.engine.queue import Queue, QueueState

PAGES = 1024
PLACES = 2**53
"""JSCAN goes through the jobs page by page, so its cursor stays true whatever comes and goes. It
stops inside a page only where it must; then the jobs of that page go by their hash."""

LOOKED_AT = 10_000
"""Jobs or queues that one scan looks at, a few milliseconds' work, if it is not to find them all.
A page of jobs may be more."""

JOB_OVERHEAD = 600
QUEUE_OVERHEAD = 900
"""Bytes a job or queue takes beside its body and name, what `used_memory` counts; measured: a job
takes 460 while it is queued and 560 once it was handed out, a queue 840."""


@dataclass(slots=True)
class Tally:
    """What became of jobs since the engine was made, also where it was undone."""

    drawn: int = 0
    """Serials, of which each new job takes one: so that none of them has to be counted."""
    delayed: int = 0
    """Added with a delay."""
    handed_out: int = 0
    removed: int = 0
    """Acknowledged or deleted by clients."""
    expired: int = 0
    nacked: int = 0
    requeued: int = 0
    """Queued again though nobody said that they failed: most often as their RETRY was over."""
    queued_again: int = 0
    """Queued in any way but by being added."""


class Engine(Changes):
    """The jobs and queues of one node. Times are whole milliseconds since the epoch."""

    def __init__(
        self,
        node_id: bytes,
        now: int,
        *,
        serials: Callable[[], Iterable[bytes]],
        jitter: Callable[[], int],
    ) -> None:
        """Start empty.

        Args:
            node_id: 40 hex digits; the first 8 stand in every job ID.
            now: the time.
            serials: draws some more of what makes IDs unique, 24 characters each; none may ever
                come twice.
            jitter: milliseconds to add to a retry time, in [-250, 249].
        """
        super().__init__()
        self.now = now
        self.second = now // 1000
        self.ready: set[bytes] = set()
        self.memory = 0
        """Bytes that jobs and queues take, bodies and all."""
        self.queues: dict[bytes, Queue] = {}
        self.set_node_id(node_id)
        self._fields: dict[tuple[int, int], bytes] = {}
        self._draw_serials = serials
        self._serials: list[bytes] = []
        self._jitter = jitter
        self._last_ctime = 0
        self._last_queue = 0
        self._last_looked = 0  # the last queue there was when idle ones were dropped
        self._idle_cursor = 0
        self._in_vain = 0  # queues looked at since an unused one was dropped
        self._look_again = (
            0  # when all were looked at in vain: the time from which on to do it again
        )
        self._by_age: SortedDict[int, Queue] = SortedDict()
        self._awaited: dict[bytes, Queue] = {}
        self.tally = Tally()
        self._clear_jobs()

    def set_node_id(self, node_id: bytes) -> None:
        """Put this node's mark on the IDs of the jobs to come."""
        self.node_id = node_id
        self._prefix = b"D-" + node_id[:8] + b"-"

    def _clear_jobs(self) -> None:
        self._pages: list[dict[bytes, Job]] = [{} for _ in range(PAGES)]
        self.count = 0
        """Jobs there are."""
        self._retries: list[tuple[int, bytes]] = []  # a heap; stale unless job.qtime says the same
        self._active = 0  # jobs whose retry or delay runs: how many of _retries are not stale
        self._expiry = Expiry()
        self._spent: OrderedDict[bytes, Job] = OrderedDict()
        """At-most-once jobs that were handed out, oldest first; a dict is slow to give up those."""

    # Time

    def advance(self, now: int, most: int = sys.maxsize) -> None:
        """Move the time to `now` and do what fell due until then.

        A time before the present one is taken for the present one. When more than `most` jobs
        are due the rest is left for the next call, and `next_due` says that it is time.
        """
        self.now = now = max(now, self.now)
        if now // 1000 > self.second:
            self._next_second(now // 1000)
        retries, expired = self._retries, self._expiry.over
        while most > 0 and retries and retries[0][0] <= now:
            self._due(*heappop(retries))
            most -= 1
        while most > 0 and expired:
            if job := self._find(expired.pop()):
                self._remove(job)
                self.tally.expired += 1
            most -= 1
        if len(retries) > 2 * self._active + 1024:
            retries[:] = [entry for entry in retries if self._is_running(*entry)]
            heapify(retries)

    def next_due(self) -> int | None:
        """When `advance` has something to do next; None when only expiry is ahead."""
        if self._expiry.over:
            return self.now
        return self._retries[0][0] if self._retries else None

    def _find(self, id_: bytes) -> Job | None:
        return self._pages[hash(id_) % PAGES].get(id_)

    def _is_running(self, qtime: int, id_: bytes) -> bool:
        job = self._find(id_)
        return job is not None and job.state is ACTIVE and job.qtime == qtime

    def _due(self, qtime: int, id_: bytes) -> None:
        job = self._find(id_)
        if job is None or job.state is not ACTIVE or job.qtime != qtime:
            return
        queue = self.queues.get(job.queue)
        if job.etime * 1000 <= self.now:
            self._remove(job)
            self.tally.expired += 1
        elif queue is not None and queue.paused_in and job.retry:
            self._run_clock_anew(job)
        else:
            self._queue_again(job)

    def _next_second(self, second: int) -> None:
        """Note what expired: a job goes one second after its etime."""
        self._expiry.advance(self.second, second)
        self.second = second
        self._expiry.sweep(self.count, self._find)

    # Jobs

    def add(
        self,
        name: bytes,
        body: bytes,
        ttl: int = 86400,
        retry: int = 300,
        delay: int = 0,
        maxlen: int | None = None,
    ) -> bytes:
        """ADDJOB: make a job, queued at once or after `delay` seconds; its ID.

        Raises:
            MaxLenError: the queue holds `maxlen` jobs.
            PausedError: the queue is paused in input.
        """
        queue = self.queues.get(name)
        if queue is not None and (maxlen is not None or queue.paused_in):
            _check_room(queue, maxlen)
        if not self._serials:
            self._serials += self._draw_serials()
            self.tally.drawn += len(self._serials)
        field = self._fields.get((ttl, retry)) or self._ttl_field(ttl, retry)
        id_ = self._prefix + self._serials.pop() + field
        ctime = self.now * 1_000_000
        if ctime <= self._last_ctime:
            ctime = self._last_ctime + 1
        self._last_ctime = ctime
        etime = self.second + ttl
        job = Job(id_, name, body, ctime, etime, retry)
        self._pages[hash(id_) % PAGES][id_] = job
        self.count += 1
        self.memory += len(body) + JOB_OVERHEAD
        self._expiry.add(etime, id_)
        if self.recording:
            self.changed_jobs[job] = None
        if delay:
            self.tally.delayed += 1
            job.state = ACTIVE
            job.delay = delay
            job.unqueued = True
            self._run(job, self.now + delay * 1000)
            return id_
        if queue is None:
            queue = self._queue(name)
        elif self.recording:
            self._note_queue(queue)
        queue.append(ctime, job)
        queue.jobs_in += 1
        queue.atime = self.now
        self.ready.add(name)
        return id_

    def get(
        self, names: list[bytes], count: int = 1, size: int = sys.maxsize, *, wait: bool = False
    ) -> list[Job]:
        """GETJOB: hand out up to `count` jobs, one of each queue in turn.

        After `size` bytes of bodies no more are added. With `wait` the client will block if there
        is no job; only then do queues exist that did not: a difference from Disque.

        The clock of RETRY starts here: a difference from Disque, which starts it in the queue.
        """
        queues: Iterable[Queue] = filter(None, map(self.queues.get, names))  # those with jobs
        jobs: list[Job] = []
        while True:
            left = []
            for queue in queues:
                if queue.paused_out or (job := queue.take()) is None:
                    continue
                self._hand_out(job, queue)
                jobs.append(job)
                size -= len(job.body)
                if len(jobs) == count or size <= 0:
                    self.tally.handed_out += len(jobs)
                    return jobs
                left.append(queue)
            if not left:
                if wait and not jobs:
                    self._await(names)
                self.tally.handed_out += len(jobs)
                return jobs
            queues = left

    def _hand_out(self, job: Job, queue: Queue) -> None:
        if self.recording:
            self._note(job)
            self._note_queue(queue)
        job.state = ACTIVE
        queue.jobs_out += 1
        queue.atime = self.now
        if job.retry:
            self._run_clock(job)
        else:
            job.spent = True
            self._spent[job.id] = job

    def remove(self, ids: list[bytes]) -> int:
        """ACKJOB, FASTACK, DELJOB: forget these jobs; how many there were.

        Raises:
            BadIDError: an ID has not the shape of one; nothing is done.
        """
        removed = 0
        pages = self._pages
        jobs = [pages[hash(id_) % PAGES].get(id_) for id_ in ids]
        if None in jobs:
            check_ids(ids)
        for job in jobs:
            if job is not None and job.state is not GONE:  # an ID may be given twice
                self._remove(job)
                removed += 1
        self.tally.removed += removed
        return removed

    def _remove(self, job: Job) -> None:
        if self.recording:
            self._note(job)
        del self._pages[hash(job.id) % PAGES][job.id]
        self.count -= 1
        self.memory -= len(job.body) + JOB_OVERHEAD
        if job.state is QUEUED:
            self.queues[job.queue].remove(job)
        elif job.qtime is not None:
            self._active -= 1
        if job.spent:
            del self._spent[job.id]
        job.state = GONE

    def enqueue(self, ids: list[bytes], *, uncounted: bool = False) -> int:
        """ENQUEUE: queue jobs that are not queued; how many were. Raises `BadIDError`.

        `uncounted`: as if they had not been delivered, so this is no additional delivery.
        """
        return sum(self._queue_again(job, uncounted=uncounted) for job in self._known(ids))

    def nack(self, ids: list[bytes], delay: int = 0) -> int:
        """NACK: the same, counted as failures, after `delay` seconds. Raises `BadIDError`.

        While it waits, such a job is like one that was added with a delay.
        """
        jobs = self._known(ids)
        if delay:
            return sum(self._put_off(job, delay) for job in dict.fromkeys(jobs))
        return sum(self._queue_again(job, nack=True) for job in jobs)

    def dequeue(self, ids: list[bytes]) -> int:
        """DEQUEUE: take jobs out of their queue undelivered; how many. Raises `BadIDError`.

        They come back after RETRY seconds, as if handed out now.
        """
        queued = [job for job in dict.fromkeys(self._known(ids)) if job.state is QUEUED]
        for job in queued:
            self._leave_queue(job)
        return len(queued)

    def working(self, id_: bytes) -> int:
        """WORKING: postpone the next delivery; RETRY in seconds.

        Raises:
            BadIDError: `id_` has not the shape of an ID.
            NoJobError: there is no such job.
            TooLateError: half of its life is over.
        """
        for job in self._known([id_]):
            if self.now - job.ctime // 1_000_000 > job.etime * 1000 - self.now:
                raise TooLateError
            if job.state is QUEUED:
                self._leave_queue(job)
            elif job.retry:
                self._run_clock_anew(job)
            return job.retry
        raise NoJobError

    def show(self, id_: bytes) -> JobState | None:
        """SHOW: the job's state now, or None. Raises `BadIDError`."""
        return next((state_of(job, self.now) for job in self._known([id_])), None)

    def _known(self, ids: list[bytes]) -> list[Job]:
        check_ids(ids)
        return [job for id_ in ids if (job := self._find(id_))]

    def _queue_again(self, job: Job, *, nack: bool = False, uncounted: bool = False) -> bool:
        """Put an active job into its queue and count why; not if it was at most once."""
        if job.state is QUEUED or job.qtime is None:
            return False
        queue = self._queue(job.queue)
        if self.recording:
            self._note(job)
            self._note_queue(queue)
        if nack:
            job.nacks = (job.nacks + 1) & 0xFFFF
            self.tally.nacked += 1
        elif job.unqueued or uncounted:
            job.unqueued = False
        else:
            job.additional_deliveries = (job.additional_deliveries + 1) & 0xFFFF
            self.tally.requeued += 1
        self.tally.queued_again += 1
        job.state = QUEUED
        job.qtime = None
        self._active -= 1
        queue.put_back(job)
        queue.jobs_in += 1
        queue.atime = self.now
        self.ready.add(job.queue)
        return True

    def _put_off(self, job: Job, delay: int) -> bool:
        """Count a failure of an active job and delay it; not if it was at most once."""
        if job.state is QUEUED or job.qtime is None:
            return False
        if self.recording:
            self._note(job)
        job.nacks = (job.nacks + 1) & 0xFFFF
        self.tally.nacked += 1
        job.unqueued = True
        self._active -= 1
        self._run(job, self.now + delay * 1000)
        return True

    def _leave_queue(self, job: Job) -> None:
        if self.recording:
            self._note(job)
        self.queues[job.queue].remove(job)
        job.state = ACTIVE
        if job.retry:
            self._run_clock(job)

    def _run_clock(self, job: Job) -> None:
        """Deliver it again in RETRY seconds, unless something happens before."""
        self._run(job, self.now + job.retry * 1000 + self._jitter())

    def _run_clock_anew(self, job: Job) -> None:
        if self.recording:
            self._note(job)
        self._active -= 1
        self._run_clock(job)

    def _run(self, job: Job, qtime: int) -> None:
        job.qtime = qtime
        self._active += 1
        heappush(self._retries, (qtime, job.id))

    def _ttl_field(self, ttl: int, retry: int) -> bytes:
        if len(self._fields) > 1000:
            self._fields.clear()
        field = self._fields[ttl, retry] = b"-" + ttl_field(ttl, retry)
        return field

    # Queues

    def length(self, name: bytes) -> int:
        """QLEN: how many jobs are queued."""
        queue = self.queues.get(name)
        return len(queue) if queue else 0

    def peek(self, name: bytes, count: int, size: int = sys.maxsize) -> list[Job]:
        """QPEEK: the oldest `count` jobs, or the newest `-count`, which stay where they are.

        After `size` bytes of bodies there need be no more of them.
        """
        del size
        queue = self.queues.get(name)
        if queue is None:
            return []
        return queue.oldest(count) if count >= 0 else queue.newest(-count)

    def stat(self, name: bytes) -> QueueState | None:
        """QSTAT: the queue's figures, or None."""
        queue = self.find_queue(name)
        return None if queue is None else queue.state(self.now)

    def pause(self, name: bytes, *, to: tuple[bool, bool] | None) -> bytes:
        """PAUSE: set (in, out), or leave it as it is for None; the state afterwards as a word."""
        queue = self.queues.get(name)
        if to is not None and (queue is not None or any(to)):
            queue = self._queue(name)
            if self.recording:
                self._note_queue(queue)
            queue.paused_in, queue.paused_out = to
            self.ready.add(name)
        return b"none" if queue is None else queue.pause

    def scan_queues(
        self,
        cursor: int,
        limit: int | None,
        wanted: Callable[[int], bool],
        size: int = sys.maxsize,
    ) -> tuple[int, list[bytes]]:
        """QSCAN: go on at `cursor` for about `limit` queues (None: all); those of wanted length.

        After `size` bytes of names no more are added.

        Returns the next cursor, 0 at the end, and the names.
        """
        names: list[bytes] = []
        most, looks = scan_limits(limit)
        for looked, serial in enumerate(self._by_age.irange(minimum=cursor)):
            if len(names) >= most or looked >= looks or size <= 0:
                return serial, names
            queue = self._by_age[serial]
            if wanted(len(queue)):
                names.append(queue.name)
                size -= len(queue.name)
        return 0, names

    def scan_jobs(
        self,
        cursor: int,
        limit: int | None,
        name: bytes | None,
        states: Iterable[bytes],
        *,
        size: int | None = None,
    ) -> tuple[int, list[JobState]]:
        """JSCAN: go on at `cursor` for about `limit` jobs (None: all); those of queue and states.

        After `size` bytes of bodies no more are added; None if only their IDs are wanted.

        Returns the next cursor, 0 at the end, and the jobs. No states: any.
        """
        found: list[Job] = []
        wanted = frozenset(states)
        most, looks = scan_limits(limit)
        page, place = divmod(cursor, PLACES)
        looked, cursor = 0, 0
        while page < PAGES and not cursor:
            jobs = [
                job
                for job in self._pages[page].values()
                if (name is None or job.queue == name) and (not wanted or job.state in wanted)
            ]
            if place or len(found) + len(jobs) > most or size is not None:
                jobs, place, size = _from_place(jobs, place, most - len(found), size)
            found += jobs
            looked += len(self._pages[page])
            page += not place
            if place or len(found) >= most or looked >= looks or size == 0:
                cursor = page * PLACES + place
        return cursor % (PAGES * PLACES), [state_of(job, self.now) for job in found]

    def find_queue(self, name: bytes) -> Queue | None:
        """The queue of this name, if there is one."""
        return self.queues.get(name, self._awaited.get(name))

    def _queue(self, name: bytes) -> Queue:
        queue = self.queues.get(name)
        if queue is None:
            queue = self._awaited.pop(name, None)
            if queue is None:  # one without jobs is false, too
                queue = self._new_queue(name)
            self._keep(queue)
            if self.recording:
                self.changed_queues[queue] = None
        return queue

    def _new_queue(self, name: bytes) -> Queue:
        self._last_queue += 1
        return Queue(name, self._last_queue, self.now)

    def _await(self, names: Iterable[bytes]) -> None:
        """Make the queues that a client blocks for and that do not exist.

        Until a job or a PAUSE arrives they count as the client's memory, not as that of jobs and
        queues, and no journal knows them.
        """
        for name in names:
            if name not in self.queues and name not in self._awaited:
                queue = self._awaited[name] = self._new_queue(name)
                self._by_age[queue.serial] = queue

    def forget_awaited(self, names: Iterable[bytes]) -> None:
        """Drop those of these queues that exist only because clients blocked for them."""
        for name in names:
            if (queue := self._awaited.pop(name, None)) is not None:
                del self._by_age[queue.serial]

    def _keep(self, queue: Queue) -> None:
        self.queues[queue.name] = self._by_age[queue.serial] = queue
        self.memory += len(queue.name) + QUEUE_OVERHEAD

    def _drop(self, queue: Queue) -> None:
        if self.recording:
            self._note_queue(queue)
        del self.queues[queue.name], self._by_age[queue.serial]
        self.memory -= len(queue.name) + QUEUE_OVERHEAD

    def drop_idle(self, seconds: int, waited_for: Callable[[bytes], bool]) -> None:
        """Drop empty queues that nothing happened to for `seconds` and nobody waits for.

        Each call looks at the next thousand and two for each one made since, so that they never
        pile up; and at no more, so that many queues never hold up the rest.
        """
        budget = 1000 + 2 * (self._last_queue - self._last_looked)
        self._last_looked = self._last_queue
        self._drop_idle_since(self.now - seconds * 1000, budget, waited_for)

    def _drop_idle_since(
        self, since: int, budget: int, waited_for: Callable[[bytes], object]
    ) -> bool:
        """Look at the next `budget` queues, drop those idle since then; whether there were any."""
        serials = list(islice(self._by_age.irange(minimum=self._idle_cursor), budget))
        self._idle_cursor = serials[-1] + 1 if len(serials) == budget else 0
        dropped = False
        for serial in serials:
            queue = self._by_age[serial]
            in_use = len(queue) or queue.paused_in or queue.paused_out or queue.atime >= since
            if not in_use and not waited_for(queue.name):
                self._drop(queue)
                dropped = True
        return dropped

    def drop_unused(self, limit: int, waited_for: Callable[[bytes], object]) -> bool:
        """Drop empty queues that nobody waits for until memory is within this limit; whether it is.

        Looks at LOOKED_AT queues in vain at most, and at none for a second after all of them.
        """
        step = 1000
        in_vain = 0
        while self.memory > limit and in_vain < LOOKED_AT and self.now >= self._look_again:
            if self._drop_idle_since(self.now + 1, step, waited_for):
                in_vain = self._in_vain = 0
            else:
                in_vain += step
                self._in_vain += step
            if self._in_vain > len(self._by_age):
                self._look_again, self._in_vain = self.now + 1000, 0
        return self.memory <= limit

    def queues_from(self, cursor: int, limit: int) -> tuple[int, list[Queue]]:
        """Go on at `cursor` for so many queues; the next cursor, 0 at the end, and these."""
        serials = list(islice(self._by_age.irange(minimum=cursor), limit))
        found = [self._by_age[serial] for serial in serials]
        return (serials[-1] + 1 if len(serials) == limit else 0), found

    def added(self) -> int:
        """How many jobs were added so far."""
        return self.tally.drawn - len(self._serials)

    def waiting_jobs(self) -> int:
        """How many jobs are queued; at-most-once ones that were dequeued count with them."""
        return self.count - self._active - len(self._spent)

    def queue_count(self) -> int:
        """How many queues there are."""
        return len(self._by_age)

    # Everything

    def evict(self) -> bool:
        """Give up the oldest at-most-once job that was handed out; False if there is none."""
        for job in self._spent.values():
            self._remove(job)
            return True
        return False

    def flush(self) -> None:
        """Forget all jobs and queues."""
        if self.recording:
            for job in [job for page in self._pages for job in page.values()]:
                self._note(job)
                job.state = GONE
            for queue in self.queues.values():
                self._note_queue(queue)
                queue.clear()
        self.memory = 0
        self.queues.clear()
        self._awaited.clear()
        self._by_age.clear()
        self.ready.clear()
        self._clear_jobs()


def scan_limits(limit: int | None) -> tuple[int, int]:
    """How many elements a scan returns, and how many it looks at."""
    if limit is None:
        return sys.maxsize, sys.maxsize
    return max(1, limit), max(1, min(LOOKED_AT, limit * 10))


def _from_place(
    jobs: list[Job], place: int, most: int, size: int | None
) -> tuple[list[Job], int, int | None]:
    """At least one of a page's jobs by their hash, then `most` of them and `size` bytes of bodies.

    Returns these, the place of the next one, 0 if there is none, and what is left of `size`.
    """
    taken: list[Job] = []
    last = 0
    for at, job in sorted(((_place(job), job) for job in jobs), key=itemgetter(0)):
        if at < place:
            continue
        if taken and at != last and (len(taken) >= most or size == 0):
            return taken, at, size
        last = at
        taken.append(job)
        if size is not None:
            size = max(0, size - len(job.body))
    return taken, 0, size


def _place(job: Job) -> int:
    """Its place in its page, from 1 on."""
    return 1 + (hash(job.id) // PAGES) % (PLACES - 1)


def _check_room(queue: Queue, maxlen: int | None) -> None:
    if maxlen is not None and len(queue) >= maxlen:
        raise MaxLenError
    if queue.paused_in:
        raise PausedError
