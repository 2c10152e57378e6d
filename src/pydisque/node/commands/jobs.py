"""The commands on jobs and queues: arguments read, one verb of the store asked, the answer shaped.

Each handler takes the session and the arguments, name first, and gives the reply, or None when the
client now waits. It raises a `DisqueError` for the client.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable
from functools import partial
from itertools import accumulate
from typing import TypeAlias, TypeVar

from pydisque.errors import DisqueError, NoReplError
from pydisque.node.engine.job import Job, JobState
from pydisque.node.engine.queue import QueueState
from pydisque.node.state.node import Node, Session, jobs_reply
from pydisque.node.store.base import Lengths
from pydisque.node.store.deferred import Answer, Later, Stepwise, combined
from pydisque.node.wire import arguments, resp
from pydisque.node.wire.deferred_reply import Reply, shaped

T = TypeVar("T")

NO_COPY = (
    f"{NoReplError.text}, since I'm unable to hold a copy of the message for the following reason: "
)


def addjob(session: Session, args: list[bytes]) -> bytes | Reply:
    """Add a job to a queue."""
    node = session.node
    if len(args) == 4 and len(args[3]) < 19 and args[3].isdigit():
        ttl, retry, delay, maxlen, copies, timeout, at_once = 86400, 300, 0, None, 1, 0, False
    else:
        ttl, retry, delay, maxlen, copies, timeout, at_once = arguments.add(args)
    store = node.store
    if copies > 1 and copies > store.copies(args[1]):
        raise NoReplError
    if node.leaving or (store.memory > node.memory_high and not store.make_room(node.memory_high)):
        raise NoReplError(NO_COPY + node.no_copy_reason())
    add = store.add_at_once if at_once else store.add
    id_ = add(args[1], args[2], ttl, retry, delay, maxlen)
    if copies > 1 and not at_once:
        id_ = store.copied(id_, copies, timeout)
    return b"+%b\r\n" % id_ if type(id_) is bytes else shaped(id_, resp.status)


def getjob(session: Session, args: list[bytes]) -> bytes | Reply | None:
    """Fetch jobs, waiting for the first if there is none."""
    node = session.node
    options = arguments.get(args)
    limit = min(options.limit, node.reply_jobs)
    waits = not options.nohang and options.timeout + node.store.now < 2**63
    jobs = node.store.get(options.queues, limit, node.reply_size, wait=waits and not node.leaving)
    if not waits:
        given = partial(_given, node, options.queues, counters=options.counters)
        return _answered(session, jobs, given)
    if isinstance(jobs, Later):
        node.ask(session, options.queues, jobs, options.timeout, counters=options.counters)
        return None
    if jobs:
        return jobs_reply(jobs, counters=options.counters)
    node.wait(session, options.queues, options.timeout, counters=options.counters)
    return None


def _answered(
    session: Session, answer: Answer[T], shape: Callable[[T], bytes]
) -> bytes | Reply | None:
    """The reply that an answer makes; one of several steps is waited for before anything else."""
    if isinstance(answer, Stepwise):
        session.node.suspend(session, answer, shape)
        return None
    return shaped(answer, shape)


def _given(node: Node, queues: list[bytes], jobs: list[Job], *, counters: bool) -> bytes:
    if jobs:
        return jobs_reply(jobs, counters=counters)
    node.asked_queues.ask(queues, node.store.now)
    return resp.NIL_ARRAY


def ackjob(session: Session, args: list[bytes]) -> bytes | Reply:
    """Acknowledge jobs: they are done, and forgotten everywhere."""
    return shaped(session.node.store.remove(args[1:]), resp.integer)


def fastack(session: Session, args: list[bytes]) -> bytes | Reply:
    """Acknowledge jobs with a best effort only, which costs a cluster less."""
    return shaped(session.node.store.remove(args[1:]), resp.integer)


def deljob(session: Session, args: list[bytes]) -> bytes | Reply:
    """Delete jobs on this node."""
    return shaped(session.node.store.remove(args[1:]), resp.integer)


def enqueue(session: Session, args: list[bytes]) -> bytes | Reply:
    """Queue jobs that are not queued."""
    ids, uncounted = arguments.enqueue(args)
    return shaped(session.node.store.enqueue(ids, uncounted=uncounted), resp.integer)


def nack(session: Session, args: list[bytes]) -> bytes | Reply:
    """Report jobs as failed: they are queued again, at once or later, and that is counted."""
    return shaped(session.node.store.nack(*arguments.nack(args)), resp.integer)


def dequeue(session: Session, args: list[bytes]) -> bytes | Reply:
    """Take jobs out of their queue without delivering them."""
    return shaped(session.node.store.dequeue(args[1:]), resp.integer)


def working(session: Session, args: list[bytes]) -> bytes | Reply:
    """Say that a job is still worked on: its next delivery is postponed."""
    return shaped(session.node.store.working(args[1]), resp.integer)


def show(session: Session, args: list[bytes]) -> bytes | Reply:
    """Describe a job."""
    return shaped(session.node.store.show(args[1]), partial(_job_state, session))


def _job_state(session: Session, state: JobState | None) -> bytes:
    if state is None:
        return resp.NIL
    job, ttl, requeue, awake = state
    fields: dict[bytes, bytes] = {
        b"id": resp.bulk(job.id),
        b"queue": resp.bulk(job.queue),
        b"state": resp.bulk(job.state),
        b"repl": resp.integer(1),
        b"ttl": resp.integer(ttl),
        b"ctime": resp.integer(job.ctime),
        b"delay": resp.integer(job.delay),
        b"retry": resp.integer(job.retry),
        b"nacks": resp.integer(job.nacks),
        b"additional-deliveries": resp.integer(job.additional_deliveries),
        b"nodes-delivered": resp.bulks([session.node.id]),
        b"nodes-confirmed": resp.array([]),
        b"next-requeue-within": resp.NIL if requeue is None else resp.integer(requeue),
        b"next-awake-within": resp.integer(awake),
        b"body": resp.bulk(job.body),
    }
    return _pairs(fields)


def _pairs(fields: dict[bytes, bytes]) -> bytes:
    return resp.array([part for name, value in fields.items() for part in (resp.bulk(name), value)])


_JSCAN = frozenset({b"count", b"queue", b"state", b"reply"})


def jscan(session: Session, args: list[bytes]) -> bytes | Reply | None:
    """Iterate over the jobs."""
    node = session.node
    options = arguments.scan(args, _JSCAN, node.reply_jobs)
    found = node.store.scan_jobs(
        options.cursor,
        options.limit,
        options.queue,
        options.states,
        size=node.reply_size if options.whole else None,
    )
    show = partial(_job_state, session) if options.whole else _job_id
    return _answered(session, found, lambda found: _scanned(found[0], list(map(show, found[1]))))


def _job_id(state: JobState) -> bytes:
    return resp.status(state.job.id)


def _scanned(cursor: int, items: list[bytes]) -> bytes:
    return resp.array([resp.bulk(b"%d" % cursor), resp.array(items)])


def qlen(session: Session, args: list[bytes]) -> bytes | Reply:
    """Count the jobs queued in a queue."""
    return shaped(session.node.store.length(args[1]), resp.integer)


def qpeek(session: Session, args: list[bytes]) -> bytes | Reply:
    """Look at the oldest jobs of a queue, or for a negative count at the newest."""
    node = session.node
    count = arguments.integer(args[2])
    count = max(-node.reply_jobs, min(node.reply_jobs, count))
    size = node.reply_size
    return shaped(
        node.store.peek(args[1], count, size), lambda jobs: jobs_reply(_fitting(jobs, size))
    )


def _fitting(jobs: list[Job], size: int) -> list[Job]:
    sizes = accumulate(len(job.body) for job in jobs)
    return jobs[: bisect_left(list(sizes), size) + 1]


def qstat(session: Session, args: list[bytes]) -> bytes | Reply:
    """Describe a queue."""
    return shaped(session.node.store.stat(args[1]), partial(_queue_state, session.node, args[1]))


def _queue_state(node: Node, name: bytes, state: QueueState | None) -> bytes:
    state = state or node.asked_queues.stat(name, node.store.now)
    if state is None:
        return resp.NIL_ARRAY
    blocked = state.blocked
    if blocked is None:
        blocked = node.waiting.count(name)
    fields: dict[bytes, bytes] = {
        b"name": resp.bulk(state.name),
        b"len": resp.integer(state.length),
        b"age": resp.integer(state.age),
        b"idle": resp.integer(state.idle),
        b"blocked": resp.integer(blocked),
        b"import-from": resp.array([]),
        b"import-rate": resp.integer(0),
        b"jobs-in": resp.integer(state.jobs_in),
        b"jobs-out": resp.integer(state.jobs_out),
        b"pause": resp.bulk(state.pause),
    }
    return _pairs(fields)


_QSCAN = frozenset({b"count", b"minlen", b"maxlen", b"importrate"})


def qscan(session: Session, args: list[bytes]) -> bytes | Reply | None:
    """Iterate over the queues."""
    node = session.node
    options = arguments.scan(args, _QSCAN, node.reply_jobs)
    low = options.numbers.get(b"minlen", -1)
    high = options.numbers.get(b"maxlen", -1)
    if options.numbers.get(b"importrate", -1) > 0:
        low, high = 1, 0  # nothing is imported: there are no such queues
    lengths = Lengths(low, high)
    found = node.store.scan_queues(options.cursor, options.limit, lengths, node.reply_size)
    found = _with_asked(session, found) if lengths(0) else found
    return _answered(session, found, lambda f: _scanned(f[0], list(map(resp.bulk, f[1]))))


QueueScan: TypeAlias = tuple[int, list[bytes]]
"""The next cursor, 0 at the end, and names."""


def _with_asked(session: Session, answer: Answer[QueueScan]) -> Answer[QueueScan]:
    """A scan whose last step returns the queues that were only asked for as well."""
    if not isinstance(answer, Later):
        return answer if answer[0] else _extended(answer[1], session.node.only_asked())
    whole: Later[QueueScan] = Stepwise()

    def done(found: QueueScan) -> None:
        session.node.store.asker = session
        rest = _with_asked(session, found)
        if isinstance(rest, Later):
            rest.then(whole.done, whole.failed)
        else:
            whole.done(rest)

    answer.then(done, whole.failed)
    return whole


def _extended(names: list[bytes], asked: Answer[list[bytes]]) -> Answer[QueueScan]:
    def extend(found: list[list[bytes]]) -> QueueScan:
        listed = set(names)  # a queue may go between the scan and the look for it
        return 0, names + [name for name in found[0] if name not in listed]

    return combined([asked], extend)


def pause(session: Session, args: list[bytes]) -> bytes | Reply:
    """Stop a queue from taking jobs in, from giving them out, or both."""
    return shaped(session.node.store.pause(args[1], to=arguments.pause(args)), resp.status)


def loadjob(session: Session, args: list[bytes]) -> bytes:
    """Serve the journal of a Disque server; refused from clients."""
    raise DisqueError("LOADJOB is a special command only processed from AOF")
