"""Where in Valkey a job is, and how it is written there: the half of the layout that nodes know.

The other half stands at the head of `rules.lua`, where the library of functions begins. A system
has a number of shards; a queue and its jobs are in one of them, all of whose keys are in one slot
of a Valkey Cluster. The first of the 24 characters that make a job ID unique names the shard. Pure.
"""

from __future__ import annotations

from binascii import crc32, crc_hqx
from hashlib import sha256
from itertools import count
from pathlib import Path
from struct import Struct

from pydisque.node.engine.job import ACTIVE, QUEUED, Job, JobState, state_of

VERSION = 1
"""Of the layout: a node works with no other."""

_FUNCTIONS = "".join(
    Path(__file__).with_name(f"{part}.lua").read_text("utf-8")
    for part in ("rules", "verbs", "looks", "care", "calls")
)

LIBRARY = f"pydisque_{VERSION}_{sha256(_FUNCTIONS.encode()).hexdigest()[:8]}"
"""What the functions are called: by the layout and by what they do, so that nodes of two versions
can work side by side while one after the other is replaced."""

EPOCH = 1735689600000
"""The millisecond from which on jobs are counted."""

LATEST = EPOCH + 2**41 - 1
"""The latest time there is."""

MOST_SHARDS = 64
_LETTERS = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
_SHARDS = {letter: number for number, letter in enumerate(_LETTERS)}

_HEAD = Struct(">qqqI")  # ttl, retry, delay, length of the queue's name
_VALUE = Struct(">dqqqI")  # the same after seq
_ACTIVE, _UNQUEUED, _QUEUED, _SPENT, _ACTIVE_LAST, _UNQUEUED_LAST = range(6)


def library() -> str:
    """The functions as Valkey loads them."""
    return _FUNCTIONS.replace("@LIBRARY@", LIBRARY)


class Layout:
    """One system: its keys, and which shard is whose."""

    def __init__(self, prefix: str, shards: int) -> None:
        self.shards = shards
        self.tags = [b"%b{%b}" % (prefix.encode(), _tag(number)) for number in range(shards)]
        """What the names of a shard's keys and channels begin with."""

    def shard_of_queue(self, name: bytes) -> int:
        """The shard of a queue."""
        return crc32(name) % self.shards

    def shard_of_job(self, id_: bytes) -> int:
        """The shard of a job; any, if there can be no such job."""
        return _SHARDS.get(id_[11], 0) % self.shards


def slot(tag: bytes) -> int:
    """Which slot of a Valkey Cluster the keys of a shard are in."""
    inner = tag.partition(b"{")[2].partition(b"}")[0]
    return crc_hqx(inner, 0) % 16384


def _tag(number: int) -> bytes:
    """One whose slot is in the so-manieth part of all, so that shards are spread evenly."""
    for attempt in count():
        tag = b"%d.%d" % (number, attempt)
        if crc_hqx(tag, 0) % 16384 // (16384 // MOST_SHARDS) == number:
            return tag
    raise AssertionError


def letter(shard: int) -> bytes:
    """What IDs of a shard's jobs have where random characters begin."""
    return _LETTERS[shard : shard + 1]


def head(queue: bytes, ttl: int, retry: int, delay: int) -> bytes:
    """What is kept of a job before its body."""
    return _HEAD.pack(ttl, retry, delay, len(queue)) + queue


def job(id_: bytes, value: bytes, counts: bytes) -> Job:
    """A job as it is kept, with "nacks additional-deliveries …" if there are any."""
    seq, ttl, retry, delay, length = _VALUE.unpack_from(value)
    body = _VALUE.size + length
    milliseconds, serial = divmod(int(seq) + EPOCH * 1024, 1024)
    queue = value[_VALUE.size : body]
    found = Job(
        id_,
        queue,
        value[body:],
        milliseconds * 1_000_000 + serial,
        milliseconds // 1000 + ttl,
        retry,
    )
    found.delay = delay
    if counts:
        found.nacks, found.additional_deliveries = map(int, counts.split()[:2])
    return found


def given(told: tuple[list[bytes], list[bytes], int] | None) -> list[Job]:
    """Jobs of an answer of IDs and values, of IDs and counts of some, and the time."""
    if not told:
        return []
    told_jobs, counted, now = told
    counts = dict(zip(counted[::2], counted[1::2], strict=True))
    jobs = [
        job(id_, value, counts.get(id_, b""))
        for id_, value in zip(told_jobs[::2], told_jobs[1::2], strict=True)
    ]
    for given_ in jobs:
        if given_.retry:
            given_.qtime = min(now + given_.retry * 1000, LATEST)
    return jobs


def giving_back(jobs: list[Job]) -> list[bytes | int]:
    """What to ask for jobs to be queued again that nobody got."""
    words: list[bytes | int] = [b"give_back", 0, len(jobs)]
    for unwanted in jobs:
        words += (unwanted.id, unwanted.qtime or 0)
    return words


def whole(id_: bytes, told: tuple[bytes, int, int, bytes]) -> Job:
    """All of a job of its value, its time and kind in the timer, and its counts."""
    value, due, kind, counts = told
    found = job(id_, value, counts)
    noted = counts.split()
    found.state = state_name(kind)
    found.spent = kind == _SPENT
    found.unqueued = kind in (_UNQUEUED, _UNQUEUED_LAST)
    if kind in (_ACTIVE, _UNQUEUED):
        found.qtime = due
    elif kind in (_ACTIVE_LAST, _UNQUEUED_LAST):
        found.qtime = int(noted[2])
    elif noted:
        found.unqueued = noted[3] == b"1"
    return found


def shown(id_: bytes, told: tuple[bytes, int, int, bytes], now: int) -> JobState:
    """A job's state at this time, likewise."""
    return state_of(whole(id_, told), now)


def seq_of(ctime: int, now: int) -> int:
    """Where a job made elsewhere stands in the order of creation; not after those made now."""
    milliseconds, rest = divmod(ctime, 1_000_000)
    return min((milliseconds - EPOCH) * 1024 + min(rest, 1023), (now - EPOCH) * 1024)


def import_words(made: Job, id_: bytes, seq: int) -> list[bytes | int]:
    """The arguments with which a job is taken in under an ID and in this place."""
    ttl = made.etime - (seq // 1024 + EPOCH) // 1000
    if made.state is QUEUED:
        kind = _QUEUED
    elif made.qtime is None:
        kind = _SPENT
    else:
        kind = _UNQUEUED if made.unqueued else _ACTIVE
    noted = made.nacks or made.additional_deliveries
    if noted or (made.unqueued and kind in (_QUEUED, _SPENT)):
        counts = b"%d %d 0 %d" % (made.nacks, made.additional_deliveries, made.unqueued)
    else:
        counts = b""
    rest = head(made.queue, ttl, made.retry, made.delay) + made.body
    return [id_, seq, rest, kind, made.qtime or 0, counts]


def own_id(id_: bytes, shard: int) -> bytes:
    """The ID that a job gets which comes from elsewhere to a queue of this shard."""
    return id_[:11] + letter(shard) + id_[12:]


def state_name(kind: int) -> bytes:
    """The state of a job whose entry in the timer is of this kind."""
    return QUEUED if kind == _QUEUED else ACTIVE
