"""Where in Valkey a job is."""

from __future__ import annotations

import struct
from collections import Counter

import pytest

from pydisque.node.engine.job import ACTIVE, QUEUED
from pydisque.node.store.valkey import keys
from pydisque.node.store.valkey.keys import Layout

ID = b"D-12345678-%bBCDEFGHIJKLMNOPQRSTUVWX-05a1"


def value(queue: bytes, body: bytes, *, seq: int, ttl: int, retry: int, delay: int = 0) -> bytes:
    return struct.pack(">d", seq) + keys.head(queue, ttl, retry, delay) + body


def test_shards_are_spread_evenly_over_a_cluster() -> None:
    """Each sixty-fourth of the slots has one shard, so any number of primaries gets its share."""
    tags = Layout("disque", 64).tags
    assert [keys.slot(tag) // 256 for tag in tags] == list(range(64))


def test_the_slot_is_valkeys() -> None:
    """It is that of what stands between the first braces; these are CLUSTER KEYSLOT's answers."""
    assert keys.slot(b"x{123456789}y") == 12739
    assert keys.slot(b"disque{foo}:jobs") == 12182


def test_an_id_tells_its_shard() -> None:
    """The first of its random characters names it; what names none is some shard's."""
    made = Layout("disque", 64)
    assert [made.shard_of_job(ID % keys.letter(n)) for n in range(64)] == list(range(64))
    assert 0 <= made.shard_of_job(ID % b"*") < 64


@pytest.mark.parametrize("shards", [1, 3, 64])
def test_queues_are_spread(shards: int) -> None:
    """Every shard has queues, and a queue is always in the same one."""
    made = Layout("disque", shards)
    homes = Counter(made.shard_of_queue(b"queue-%d" % n) for n in range(shards * 100))
    assert set(homes) == set(range(shards))


def test_a_job_as_it_is_kept() -> None:
    """All of it is read back, whatever bytes it has."""
    kept = value(b"q\0\xff", b"\0body", seq=5 * 1024 + 3, ttl=2**62, retry=7, delay=9)
    job = keys.job(ID % b"A", kept, b"2 65535 0 0")
    assert (job.queue, job.body, job.retry, job.delay) == (b"q\0\xff", b"\0body", 7, 9)
    assert job.ctime == (keys.EPOCH + 5) * 1_000_000 + 3
    assert job.etime == (keys.EPOCH + 5) // 1000 + 2**62
    assert (job.nacks, job.additional_deliveries) == (2, 65535)


@pytest.mark.parametrize(
    ("kind", "state", "requeue"),
    [(0, ACTIVE, 5000), (1, ACTIVE, 5000), (2, QUEUED, 60_000), (3, ACTIVE, None), (4, ACTIVE, 99)],
)
def test_what_show_tells(kind: int, state: bytes, requeue: int | None) -> None:
    """Its state and the time to its next delivery are in its entry in the timer."""
    now = keys.EPOCH + 10_000
    kept = value(b"q", b"", seq=0, ttl=1000, retry=60)
    counts = b"0 0 %d 0" % (now + 99) if kind == 4 else b""
    shown = keys.shown(ID % b"A", (kept, now + 5000, kind, counts), now)
    assert (shown.job.state, shown.requeue_within) == (state, requeue)
    assert shown.ttl == 990
