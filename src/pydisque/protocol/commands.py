"""Every Disque command once: what to send, how to read the reply, whether it may be sent again.

Each function checks its arguments and returns a `Command`, a plain value. The clients bind these
functions as their methods, so a signature or a docstring here is that of every client. Nothing
here knows nodes, connections or time.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import Any, Literal, overload

from pydisque.protocol import validation
from pydisque.protocol.command import RESEND, Command, Resend
from pydisque.protocol.replies import (
    InfoValue,
    Job,
    JobInfo,
    QueueStats,
    parse_counted_jobs,
    parse_hello,
    parse_id,
    parse_ids,
    parse_info,
    parse_job_infos,
    parse_jobs,
    parse_names,
    parse_number,
    parse_pause,
    parse_text,
)
from pydisque.protocol.validation import Argument, Text

DEFAULT_TTL = 86400
STATES = ("wait-repl", "active", "queued", "acked")

JobID = str | bytes


def _command(*args: Argument, parse: Callable[[Any], Any]) -> Command[Any]:
    return Command(args, parse, RESEND[args[0]])  # type: ignore[index]


# Jobs


def add_job(
    queue_name: Text,
    job: Text,
    timeout: int = 200,
    replicate: int | None = None,
    delay: int | None = None,
    retry: int | None = None,
    ttl: int | None = None,
    maxlen: int | None = None,
    asynchronous: bool | None = None,
    **reserved: bool | None,
) -> Command[bytes]:
    """Add a job to a queue; return its ID.

    ``ADDJOB queue job ms-timeout [REPLICATE n] [DELAY s] [RETRY s] [TTL s] [MAXLEN n] [ASYNC]``

    Args:
        queue_name: Any string, the empty one included.
        job: The body, 512 MiB at most. A number is sent as its text.
        timeout: Milliseconds the node may spend on copying the job to others; 0: no limit.
        replicate: Nodes that must hold the job before the ID is returned, 1 to 65535. Default:
            three, or as many as there are.
        delay: Seconds before it is queued, 0 or more, less than ``ttl``.
        retry: Seconds after which it is queued again unless acknowledged. 0: never, so it is
            delivered at most once, and ``replicate`` must be 1. Default: a tenth of ``ttl``, at
            most 300.
        ttl: Seconds after which it is dropped, more than 0. Default: 86400, a day.
        maxlen: Refuse the job when the queue holds so many already, more than 0.
        asynchronous: Return as soon as this node has it, and copy it in the background.
        **reserved: ``async``, the old name of ``asynchronous``, now a keyword of the language:
            ``add_job("q", "body", **{"async": True})``.

    Raises:
        NoReplError: Not enough nodes took a copy. After a timeout it may still be delivered.
        MaxLenError: The queue holds ``maxlen`` jobs.
        PausedError: The queue is paused in input.
        OOMError: The node is short of memory.
        redis.exceptions.ConnectionError: No node answered. A node that took the job but could not
            say so may still deliver it.
    """
    milliseconds = validation.integer("timeout", timeout, 0)
    args: list[Argument] = ["ADDJOB", validation.text("queue_name", queue_name)]
    args += validation.text("job", job), str(milliseconds)
    given = (replicate, delay, retry, ttl, maxlen)
    if given != _NOTHING_GIVEN:  # mostly nothing is, and this is the command sent most
        args += _add_options(*given)
    if asynchronous or (reserved and _reserved_async(reserved)):
        args.append("ASYNC")
    wait = milliseconds / 1000 if milliseconds else None
    return Command(tuple(args), parse_id, Resend.ONCE_PER_NODE, wait)


_NOTHING_GIVEN = (None,) * 5


def _add_options(replicate: Any, delay: Any, retry: Any, ttl: Any, maxlen: Any) -> list[Argument]:
    """ADDJOB's options with a value; refuses what no node accepts, whatever its cluster is."""
    args: list[Argument] = []
    _option(args, "REPLICATE", replicate, 1, 65535)
    _option(args, "DELAY", delay, 0)
    _option(args, "RETRY", retry, 0)
    _option(args, "TTL", ttl, 1)
    _option(args, "MAXLEN", maxlen, 1)
    given: dict[Any, int] = dict(zip(args[::2], map(int, args[1::2]), strict=True))
    life = given.get("TTL", DEFAULT_TTL)
    if given.get("DELAY", 0) >= life:
        raise ValueError(f"delay must be less than ttl, which is {life}, not {given['DELAY']}")
    if given.get("RETRY") == 0 and given.get("REPLICATE", 1) > 1:
        raise ValueError(
            f"replicate must be 1 with retry=0 (at most once), not {given['REPLICATE']}"
        )
    return args


def _option(
    args: list[Argument],
    word: str,
    value: Any,
    least: int = validation.SMALLEST,
    most: int = validation.LARGEST,
) -> None:
    """Add an option that was given: 0 is a value, only None is none."""
    if value is not None:
        args += word, validation.number(word.lower(), value, least, most)


def _reserved_async(reserved: dict[str, bool | None]) -> bool | None:
    wanted = reserved.pop("async", None)
    if reserved:
        raise TypeError(f"add_job() got an unexpected keyword argument {next(iter(reserved))!r}")
    return wanted


def add_json(queue: Text, value: Any, **options: Any) -> Command[bytes]:
    """Add a job whose body is a value as JSON; return its ID.

    Args:
        queue: The queue's name.
        value: What `json.dumps` takes. It is sent without blanks, as UTF-8.
        **options: What `add_job` takes.

    Raises:
        TypeError: The value cannot be written as JSON.
        ValueError: Likewise, or a number in it is infinite or none.
    """
    body = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return add_job(queue, body.encode(), **options)


def get_job(
    queues: Iterable[Text],
    timeout: int | None = None,
    count: int | None = None,
    nohang: bool = False,
    withcounters: bool = False,
) -> Command[list[Job]]:
    """Take jobs from queues; wait for one when there is none.

    ``GETJOB [NOHANG] [TIMEOUT ms] [COUNT n] [WITHCOUNTERS] FROM queue [queue ...]``

    Args:
        queues: Names of queues, at least one. Each pass takes one job from each, in this order.
        timeout: Milliseconds to wait for a job, up to a second more; None or 0: for ever.
        count: The most jobs to return, 1 or more; a wait ends with the first. Default: 1.
        nohang: Do not wait at all.
        withcounters: Return ``(queue, id, body, nacks, additional_deliveries)``.

    Returns:
        A list of `Job`, tuples ``(queue, id, body)``; empty when none came in time.

    Raises:
        LeavingError: Every node is leaving its cluster.
    """
    args: list[Argument] = ["GETJOB"]
    if nohang:
        args.append("NOHANG")
    if timeout is not None:
        timeout = validation.integer("timeout", timeout, 0)
        args += "TIMEOUT", str(timeout)
    if count is not None:
        args += "COUNT", validation.number("count", count, 1)
    if withcounters:
        args.append("WITHCOUNTERS")
    args += "FROM", *validation.names("queues", queues)
    wait = 0.0 if nohang else timeout / 1000 if timeout else None
    parse = parse_counted_jobs if withcounters else parse_jobs
    return Command(tuple(args), parse, Resend.ALWAYS, wait, takes=True)


def ack_job(*job_ids: JobID) -> Command[int]:
    """Acknowledge jobs: they are done, and no node delivers them again.

    ``ACKJOB id [id ...]``

    Args:
        *job_ids: Job IDs, of 40 letters each. None at all is allowed.

    Returns:
        How many of them this node knew as not yet acknowledged.

    Raises:
        BadIDError: One of them is not shaped like a job ID; nothing was acknowledged.
    """
    return _command("ACKJOB", *validation.job_ids(job_ids), parse=parse_number)


def fast_ack(*job_ids: JobID) -> Command[int]:
    """Delete jobs on all nodes with one message: cheaper than `ack_job`, and less certain.

    ``FASTACK id [id ...]``

    Args:
        *job_ids: Job IDs, of 40 letters each. None at all is allowed.

    Returns:
        How many of them this node knew.

    Raises:
        BadIDError: One of them is not shaped like a job ID; nothing was deleted.
    """
    return _command("FASTACK", *validation.job_ids(job_ids), parse=parse_number)


def nack_job(*job_ids: JobID, delay: int | None = None) -> Command[int]:
    """Give jobs back: they failed here, and are queued again, at once or after a delay.

    ``NACK id [id ...] [DELAY s]``

    Args:
        *job_ids: Job IDs, of 40 letters each.
        delay: Seconds before they are queued, 0 or more; a job whose TTL ends before just expires.
            Only pydisque's node does so: a real Disque answers `BadIDError`, and changes nothing.

    Returns:
        How many were taken back.

    Raises:
        BadIDError: One of them is not shaped like a job ID; nothing was changed.
        OOMError: The node is short of memory.
    """
    args = validation.job_ids(job_ids)
    if delay is not None and (seconds := validation.integer("delay", delay, 0)):
        args += "DELAY", str(seconds)
    return _command("NACK", *args, parse=parse_number)


def working(job_id: JobID) -> Command[int]:
    """Say that the job is still being worked on, so that it is not delivered again meanwhile.

    ``WORKING id``

    Args:
        job_id: The job's ID.

    Returns:
        For how many seconds its next delivery was put off: its RETRY.

    Raises:
        NoJobError: The node does not know the job (any more).
        TooLateError: More than half of the job's TTL is gone.
        BadIDError: It is not shaped like a job ID.
    """
    return _command("WORKING", validation.job_id(job_id), parse=parse_number)


def enqueue(*job_ids: JobID, uncounted: bool = False) -> Command[int]:
    """Queue jobs that are not queued.

    ``ENQUEUE id [id ...] [UNCOUNTED]``

    Args:
        *job_ids: Job IDs, of 40 letters each.
        uncounted: Take back the last delivery, as the job was not begun: it is not counted as an
            additional delivery. Only pydisque's node does so: a real Disque answers `BadIDError`,
            and changes nothing.

    Returns:
        How many were queued.

    Raises:
        BadIDError: One of them is not shaped like a job ID; nothing was queued.
        OOMError: The node is short of memory.
    """
    args = validation.job_ids(job_ids)
    words = ("UNCOUNTED",) if uncounted else ()
    return _command("ENQUEUE", *args, *words, parse=parse_number)


def dequeue(*job_ids: JobID) -> Command[int]:
    """Take jobs out of their queue without delivering them; their RETRY queues them again.

    ``DEQUEUE id [id ...]``

    Args:
        *job_ids: Job IDs, of 40 letters each. None at all is allowed.

    Returns:
        How many were taken out.

    Raises:
        BadIDError: One of them is not shaped like a job ID; nothing was taken out.
    """
    return _command("DEQUEUE", *validation.job_ids(job_ids), parse=parse_number)


def del_job(*job_ids: JobID) -> Command[int]:
    """Delete jobs from this node only; other nodes keep their copies and deliver them.

    ``DELJOB id [id ...]``

    Args:
        *job_ids: Job IDs, of 40 letters each. None at all is allowed.

    Returns:
        How many of them this node knew.

    Raises:
        BadIDError: One of them is not shaped like a job ID; nothing was deleted.
    """
    return _command("DELJOB", *validation.job_ids(job_ids), parse=parse_number)


@overload
def show(job_id: JobID, return_dict: Literal[False] = False) -> Command[JobInfo | None]: ...
@overload
def show(job_id: JobID, return_dict: Literal[True]) -> Command[dict[bytes, Any] | None]: ...
def show(job_id: JobID, return_dict: bool = False) -> Command[Any]:
    """Describe a job.

    ``SHOW id``

    Args:
        job_id: The job's ID.
        return_dict: Return a dict instead of the flat list of the wire.

    Returns:
        A `JobInfo`, a list of names and values in turn; None when the node does not know the job.

    Raises:
        BadIDError: It is not shaped like a job ID.
    """
    parse = _job_dict if return_dict else _job_info
    return _command("SHOW", validation.job_id(job_id), parse=parse)


def _job_info(reply: Any) -> JobInfo | None:
    return None if reply is None else JobInfo.parse(reply)


def _job_dict(reply: Any) -> dict[Any, Any] | None:
    return None if reply is None else JobInfo.parse(reply).as_dict()


# Queues


def qlen(queue_name: Text) -> Command[int]:
    """Return how many jobs are queued.

    ``QLEN queue``

    Args:
        queue_name: The queue's name.

    Returns:
        Their number, without those delivered or delayed; 0 for a queue that does not exist.
    """
    return _command("QLEN", validation.text("queue_name", queue_name), parse=parse_number)


@overload
def qstat(queue_name: Text, return_dict: Literal[False] = False) -> Command[QueueStats | None]: ...
@overload
def qstat(queue_name: Text, return_dict: Literal[True]) -> Command[dict[bytes, Any] | None]: ...
def qstat(queue_name: Text, return_dict: bool = False) -> Command[Any]:
    """Describe a queue.

    ``QSTAT queue``

    Args:
        queue_name: The queue's name.
        return_dict: Return a dict instead of the flat list of the wire.

    Returns:
        A `QueueStats`, a list of names and values in turn; None for a queue that does not exist.
    """
    parse = _queue_dict if return_dict else _queue_stats
    return _command("QSTAT", validation.text("queue_name", queue_name), parse=parse)


def _queue_stats(reply: Any) -> QueueStats | None:
    return None if reply is None else QueueStats.parse(reply)


def _queue_dict(reply: Any) -> dict[Any, Any] | None:
    return None if reply is None else QueueStats.parse(reply).as_dict()


def qpeek(queue_name: Text, count: int) -> Command[list[Job]]:
    """Look at queued jobs without taking them.

    ``QPEEK queue count``

    Args:
        queue_name: The queue's name.
        count: The most jobs to return: the oldest first, or with a negative count the newest.

    Returns:
        A list of `Job`; empty for a queue that does not exist.
    """
    name = validation.text("queue_name", queue_name)
    return _command("QPEEK", name, validation.number("count", count), parse=parse_jobs)


def pause(
    queue_name: Text,
    kw_in: bool | None = None,
    kw_out: bool | None = None,
    kw_all: bool | None = None,
    kw_none: bool | None = None,
    kw_state: bool | None = None,
    kw_bcast: bool | None = None,
) -> Command[bytes]:
    """Pause a queue, or end its pause; at least one keyword is needed.

    ``PAUSE queue [in] [out] [all] [none] [state] [bcast]``

    What is given replaces the former state: ``kw_in`` on a queue paused in output leaves it paused
    in input alone.

    Args:
        queue_name: The queue's name.
        kw_in: Refuse new jobs with `PausedError`.
        kw_out: Hand out no jobs.
        kw_all: Both.
        kw_none: Neither; what came before it in this order counts for nothing.
        kw_state: Change nothing.
        kw_bcast: Tell all other nodes to do the same.

    Returns:
        The state afterwards: ``none``, ``in``, ``out`` or ``all``.
    """
    wanted = {
        "in": kw_in, "out": kw_out, "all": kw_all,
        "none": kw_none, "state": kw_state, "bcast": kw_bcast,
    }  # fmt: skip
    words = [word for word, given in wanted.items() if given]
    if not words:
        raise ValueError(f"pause needs one of {', '.join(f'kw_{word}' for word in wanted)}")
    name = validation.text("queue_name", queue_name)
    return _command("PAUSE", name, *words, parse=parse_pause)


def qscan(
    cursor: int | JobID = 0,
    count: int | None = None,
    busyloop: bool | None = None,
    minlen: int | None = None,
    maxlen: int | None = None,
    importrate: int | None = None,
) -> Command[list[Any]]:
    """List some of the node's queues; see `Client.iter_queues` for all of them.

    ``QSCAN cursor [COUNT n] [BUSYLOOP] [MINLEN n] [MAXLEN n] [IMPORTRATE n]``

    Args:
        cursor: 0 to begin, then the cursor of the last reply.
        count: How much work to do in this call. Default: 100.
        busyloop: Return as much as one reply may hold; antirez/disque returns everything.
        minlen: Only queues with at least so many jobs.
        maxlen: Only queues with at most so many jobs.
        importrate: Only queues to which other nodes send at least so many jobs a second.

    Returns:
        ``[cursor, [name, ...]]``; the cursor is text, and ``0`` at the end.
    """
    args: list[Argument] = ["QSCAN", validation.cursor(cursor)]
    _option(args, "COUNT", count)
    if busyloop:
        args.append("BUSYLOOP")
    _option(args, "MINLEN", minlen)
    _option(args, "MAXLEN", maxlen)
    _option(args, "IMPORTRATE", importrate)
    return _command(*args, parse=parse_names)


def jscan(
    cursor: int | JobID = 0,
    count: int | None = None,
    busyloop: bool | None = None,
    queue: Text | None = None,
    state: str | Iterable[str] | None = None,
    reply: Literal["all", "id"] | None = None,
) -> Command[list[Any]]:
    """List some of the node's jobs; see `Client.iter_jobs` for all of them.

    ``JSCAN cursor [COUNT n] [BUSYLOOP] [QUEUE queue] [STATE state]... [REPLY all|id]``

    Args:
        cursor: 0 to begin, then the cursor of the last reply.
        count: How much work to do in this call. Default: 100.
        busyloop: Return as much as one reply may hold; antirez/disque returns everything.
        queue: Only jobs of this queue.
        state: Only jobs in one of these states: ``wait-repl``, ``active``, ``queued``, ``acked``.
        reply: ``"all"`` for a `JobInfo` of each job, ``"id"`` or None for its ID.

    Returns:
        ``[cursor, [job, ...]]``; the cursor is text, and ``0`` at the end.
    """
    args: list[Argument] = ["JSCAN", validation.cursor(cursor)]
    _option(args, "COUNT", count)
    if busyloop:
        args.append("BUSYLOOP")
    if queue is not None:
        args += "QUEUE", validation.text("queue", queue)
    for each in (state,) if isinstance(state, (str, bytes)) else state or ():
        args += "STATE", validation.choice("state", each, STATES)
    if reply is None:
        return _command(*args, parse=parse_ids)
    args += "REPLY", (kind := validation.choice("reply", reply, ("all", "id")))
    return _command(*args, parse=parse_job_infos if kind.lower() == "all" else parse_ids)


# The node


def hello() -> Command[list[Any]]:
    """Ask the node who it is and which others it knows.

    ``HELLO``

    Returns:
        ``[1, own ID, [ID, ip, port, priority], ...]``, ports and priorities as text; the lower the
        priority the better, from 100 on the node is failed or leaving.
    """
    return _command("HELLO", parse=parse_hello)


def info() -> Command[dict[str, InfoValue]]:
    """Return the node's figures as a dict of str to int, float, str, list or dict.

    ``INFO``
    """
    return _command("INFO", parse=parse_info)


def ping() -> Command[bool]:
    """Return True when the node answers as it should.

    ``PING``
    """
    return _command("PING", parse=_is_pong)


def _is_pong(reply: Any) -> bool:
    return parse_text(reply) in (b"PONG", "PONG")
