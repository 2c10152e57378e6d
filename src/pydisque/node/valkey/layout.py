"""Where in Valkey a job is, and how it is written there: the half of the layout that nodes know.

The other half stands at the head of `rules.lua`. A system has a number of shards; a queue and its
jobs are in one of them, all of whose keys are in one slot of a Valkey Cluster. The first of the 24
characters that make a job ID unique names the shard. Pure.
"""

from __future__ import annotations

from binascii import crc32, crc_hqx
from hashlib import sha256
from itertools import count
from pathlib import Path
from struct import Struct

from pydisque.node.job import ACTIVE, QUEUED, Job, JobState, state_of

VERSION = 1
"""Of the layout: a node works with no other."""

_RULES = Path(__file__).with_name("rules.lua").read_text("utf-8")

LIBRARY = f"pydisque_{VERSION}_{sha256(_RULES.encode()).hexdigest()[:8]}"
"""What the functions are called: by the layout and by what they do, so that nodes of two versions
can work side by side while one after the other is replaced."""

EPOCH = 1735689600000
"""The millisecond from which on jobs are counted."""

LATEST = 2**48
"""The latest time there is."""

MOST_SHARDS = 64
_LETTERS = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
_SHARDS = {letter: number for number, letter in enumerate(_LETTERS)}

_HEAD = Struct(">qqqI")  # ttl, retry, delay, length of the queue's name
_VALUE = Struct(">dqqqI")  # the same after seq
_ACTIVE, _UNQUEUED, _QUEUED, _SPENT, _ACTIVE_LAST, _UNQUEUED_LAST = range(6)


def library() -> str:
    """The functions as Valkey loads them."""
    return _RULES.replace("@LIBRARY@", LIBRARY)


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


def shown(id_: bytes, told: tuple[bytes, int, int, bytes], now: int) -> JobState:
    """A job's state of its value, its time and kind in the timer, and its counts."""
    value, due, kind, counts = told
    found = job(id_, value, counts)
    found.state = QUEUED if kind == _QUEUED else ACTIVE
    found.unqueued = kind in (_UNQUEUED, _UNQUEUED_LAST)
    if kind in (_ACTIVE, _UNQUEUED):
        found.qtime = due
    elif kind in (_ACTIVE_LAST, _UNQUEUED_LAST):
        found.qtime = int(counts.split()[2])
    return state_of(found, now)


def state_name(kind: int) -> bytes:
    """The state of a job whose entry in the timer is of this kind."""
    return QUEUED if kind == _QUEUED else ACTIVE
