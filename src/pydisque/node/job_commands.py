"""The commands on jobs and queues: arguments read, one verb of the store asked, the answer shaped.

Each handler takes the session and the arguments, name first, and gives the reply's bytes, or None
when the client now waits. It raises a `DisqueError` for the client.
"""

from __future__ import annotations

from bisect import bisect_left
from itertools import accumulate

from pydisque.errors import DisqueError, NoReplError
from pydisque.node import arguments, resp
from pydisque.node.job import JobState
from pydisque.node.node import Session, jobs_reply

NO_COPY = (
    f"{NoReplError.text}, since I'm unable to hold a copy of the message for the following reason: "
)


def addjob(session: Session, args: list[bytes]) -> bytes:
    """Add a job to a queue."""
    node = session.node
    if len(args) == 4 and len(args[3]) < 19 and args[3].isdigit():
        ttl, retry, delay, maxlen = 86400, 300, 0, None
    else:
        ttl, retry, delay, maxlen, replicate = arguments.add(args)
        if replicate > 1:
            raise NoReplError
    if node.leaving or node.store.memory > node.memory_high:
        raise NoReplError(NO_COPY + node.no_copy_reason())
    return b"+%b\r\n" % node.store.add(args[1], args[2], ttl, retry, delay, maxlen)


def getjob(session: Session, args: list[bytes]) -> bytes | None:
    """Fetch jobs, waiting for the first if there is none."""
    node = session.node
    options = arguments.get(args)
    jobs = node.store.get(options.queues, min(options.limit, node.reply_jobs), node.reply_size)
    if jobs:
        return jobs_reply(jobs, counters=options.counters)
    if options.nohang or options.timeout + node.store.now >= 2**63:
        return resp.NIL_ARRAY
    node.wait(session, options.queues, counters=options.counters)
    session.block(options.timeout)
    return None


def ackjob(session: Session, args: list[bytes]) -> bytes:
    """Acknowledge jobs: they are done, and forgotten everywhere."""
    return resp.integer(session.node.store.remove(args[1:]))


def fastack(session: Session, args: list[bytes]) -> bytes:
    """Acknowledge jobs with a best effort only, which costs a cluster less."""
    return resp.integer(session.node.store.remove(args[1:]))


def deljob(session: Session, args: list[bytes]) -> bytes:
    """Delete jobs on this node."""
    return resp.integer(session.node.store.remove(args[1:]))


def enqueue(session: Session, args: list[bytes]) -> bytes:
    """Queue jobs that are not queued."""
    ids, uncounted = arguments.enqueue(args)
    return resp.integer(session.node.store.enqueue(ids, uncounted=uncounted))


def nack(session: Session, args: list[bytes]) -> bytes:
    """Report jobs as failed: they are queued again, at once or later, and that is counted."""
    return resp.integer(session.node.store.nack(*arguments.nack(args)))


def dequeue(session: Session, args: list[bytes]) -> bytes:
    """Take jobs out of their queue without delivering them."""
    return resp.integer(session.node.store.dequeue(args[1:]))


def working(session: Session, args: list[bytes]) -> bytes:
    """Say that a job is still worked on: its next delivery is postponed."""
    return resp.integer(session.node.store.working(args[1]))


def show(session: Session, args: list[bytes]) -> bytes:
    """Describe a job."""
    state = session.node.store.show(args[1])
    return resp.NIL if state is None else _job_state(session, state)


def _job_state(session: Session, state: JobState) -> bytes:
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


def jscan(session: Session, args: list[bytes]) -> bytes:
    """Iterate over the jobs."""
    options = arguments.scan(args, _JSCAN)
    cursor, states = session.node.store.scan_jobs(
        options.cursor, options.limit, options.queue, options.states
    )
    if options.whole:
        jobs = [_job_state(session, state) for state in states]
    else:
        jobs = [resp.status(state.job.id) for state in states]
    return resp.array([resp.bulk(b"%d" % cursor), resp.array(jobs)])


def qlen(session: Session, args: list[bytes]) -> bytes:
    """Count the jobs queued in a queue."""
    return resp.integer(session.node.store.length(args[1]))


def qpeek(session: Session, args: list[bytes]) -> bytes:
    """Look at the oldest jobs of a queue, or for a negative count at the newest."""
    node = session.node
    count = arguments.integer(args[2])
    count = max(-node.reply_jobs, min(node.reply_jobs, count))
    jobs = node.store.peek(args[1], count)
    sizes = accumulate(len(job.body) for job in jobs)
    fitting = bisect_left(list(sizes), node.reply_size)
    return jobs_reply(jobs[: fitting + 1])


def qstat(session: Session, args: list[bytes]) -> bytes:
    """Describe a queue."""
    state = session.node.store.stat(args[1])
    if state is None:
        return resp.NIL_ARRAY
    fields: dict[bytes, bytes] = {
        b"name": resp.bulk(state.name),
        b"len": resp.integer(state.length),
        b"age": resp.integer(state.age),
        b"idle": resp.integer(state.idle),
        b"blocked": resp.integer(session.node.waiting.count(state.name)),
        b"import-from": resp.array([]),
        b"import-rate": resp.integer(0),
        b"jobs-in": resp.integer(state.jobs_in),
        b"jobs-out": resp.integer(state.jobs_out),
        b"pause": resp.bulk(state.pause),
    }
    return _pairs(fields)


_QSCAN = frozenset({b"count", b"minlen", b"maxlen", b"importrate"})


def qscan(session: Session, args: list[bytes]) -> bytes:
    """Iterate over the queues."""
    options = arguments.scan(args, _QSCAN)
    low = options.numbers.get(b"minlen", -1)
    high = options.numbers.get(b"maxlen", -1)
    imported = options.numbers.get(b"importrate", -1) <= 0  # a node alone imports nothing
    cursor, names = session.node.store.scan_queues(
        options.cursor,
        options.limit,
        lambda length: imported and length >= low and (high == -1 or length <= high),
    )
    return resp.array([resp.bulk(b"%d" % cursor), resp.bulks(names)])


def pause(session: Session, args: list[bytes]) -> bytes:
    """Stop a queue from taking jobs in, from giving them out, or both."""
    return resp.status(session.node.store.pause(args[1], to=arguments.pause(args)))


def loadjob(session: Session, args: list[bytes]) -> bytes:
    """Serve the journal of a Disque server; refused from clients."""
    raise DisqueError("LOADJOB is a special command only processed from AOF")
