"""A disk that fails, fills up or stalls: what clients hear, what changes, what is there afterwards.

`make chaos` does the same at random; here each fault has a scene of its own.
"""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pytest
from hiredis import ReplyError

from harness.chaos import faults
from harness.chaos.faults import Faults
from harness.chaos.node import ChaosNode
from support.resp_peer import Peer, error
from support.servers import until

RECOVERY = 3
"""Seconds within which the node writes again: it tries every second."""


@pytest.fixture
def node() -> Iterator[ChaosNode]:
    """A node on a disk that can be made to fail."""
    if reason := faults.lacking():
        pytest.skip(reason)
    with ChaosNode(bad_disk=True) as node:
        node.start()
        yield node


@pytest.fixture
def disk(node: ChaosNode) -> Faults:
    """Its disk."""
    assert node.faults
    return node.faults


@pytest.fixture
def peer(node: ChaosNode) -> Iterator[Peer]:
    """A client."""
    with Peer(node.address) as peer:
        yield peer


def state(peer: Peer, *ids: bytes) -> list[Any]:
    """What clients can see of the queue and these jobs, but for times that run."""
    pause = peer.ask("PAUSE", "q", "state")
    return [peer.ask("QLEN", "q"), peer.ask("QPEEK", "q", 99), pause, shown(peer, ids)]


def shown(peer: Peer, ids: Iterable[bytes]) -> list[dict[bytes, Any]]:
    """What SHOW tells of these jobs, but for times that run."""
    jobs = [peer.ask("SHOW", id_) for id_ in ids]
    fields = [dict(zip(job[::2], job[1::2], strict=True)) for job in jobs]
    for job in fields:
        for running in (b"ttl", b"next-requeue-within", b"next-awake-within"):
            del job[running]
    return fields


def misconf(reply: object) -> bool:
    """Whether a command was refused because nothing can be kept."""
    return isinstance(reply, ReplyError) and str(reply).startswith("MISCONF")


def writes_again(peer: Peer) -> bool:
    """Whether the node takes changes."""
    return peer.ask("PING") in (b"PONG", "PONG")


def fill(peer: Peer) -> list[bytes]:
    """Jobs in each state: delivered, failed, delayed, delivered at most once, and three queued."""
    ids = [peer.ask("ADDJOB", "q", f"body {n}", 0, "RETRY", 300) for n in range(5)]
    ids.append(peer.ask("ADDJOB", "q", "later", 0, "DELAY", 300))
    ids.append(peer.ask("ADDJOB", "once", "once", 0, "RETRY", 0))
    assert len(peer.ask("GETJOB", "COUNT", 2, "FROM", "q")) == 2
    assert peer.ask("NACK", ids[1]) == 1
    return ids


def commands(ids: list[bytes]) -> dict[str, tuple[Any, ...]]:
    """One of each that changes something, as the first that meets the fault."""
    return {
        "add": ("ADDJOB", "q", "new", 0),
        "get": ("GETJOB", "COUNT", 2, "FROM", "q"),
        "get at most once": ("GETJOB", "FROM", "once"),
        "ack": ("ACKJOB", ids[0], ids[2]),
        "nack": ("NACK", ids[0]),
        "nack later": ("NACK", ids[0], "DELAY", 60),
        "enqueue": ("ENQUEUE", ids[5]),
        "dequeue": ("DEQUEUE", ids[3]),
        "working": ("WORKING", ids[4]),
        "pause": ("PAUSE", "q", "all"),
        "flush": ("DEBUG", "FLUSHALL"),
    }


FAILING: dict[str, Callable[[Faults], None]] = {
    "bad-writes": faults.bad_writes,
    "bad-syncs": faults.bad_syncs,
    "full": lambda disk: faults.full(disk, left=0),
    "full-midway": lambda disk: faults.full(disk, left=3000),
}


@pytest.mark.parametrize("fault", FAILING)
def test_what_cannot_be_kept_is_refused_and_changes_nothing(
    node: ChaosNode, disk: Faults, peer: Peer, fault: str
) -> None:
    """Each command that meets the fault is answered with MISCONF and leaves all as it was; reads
    and nothing else go on; once the disk is good the node writes again by itself, and all that was
    confirmed is there after a SIGKILL."""
    ids = fill(peer)
    before = state(peer, *ids)
    some = list(commands(ids).items())
    for name, command in some if fault == "bad-writes" else some[1:4]:
        FAILING[fault](disk)
        assert misconf(peer.ask(*command)), name
        assert misconf(peer.ask("PING")), name
        assert misconf(peer.ask("ADDJOB", "q", "more", 0)), name
        assert peer.ask("QLEN", "once") == 1, name
        disk.clear()
        assert shown(peer, ids) == before[3], name
        until(lambda: writes_again(peer), RECOVERY)
        assert state(peer, *ids) == before, name
    after = peer.ask("ADDJOB", "q", "after", 0)
    node.kill()
    node.start()
    with Peer(node.address) as again:
        assert again.ask("QLEN", "q") == before[0] + 1
        assert again.ask("ACKJOB", after) == 1
        assert state(again, *ids) == before


@pytest.mark.parametrize("fault", ["bad-writes", "full", "full-midway"])
def test_what_was_refused_is_not_there_after_a_crash_either(
    node: ChaosNode, disk: Faults, peer: Peer, fault: str
) -> None:
    """A node that is killed while its disk fails knows what it confirmed and nothing more."""
    ids = fill(peer)
    before = state(peer, *ids)
    FAILING[fault](disk)
    assert all(misconf(peer.ask(*command)) for command in commands(ids).values())
    node.kill()
    disk.clear()
    node.start()
    with Peer(node.address) as again:
        assert state(again, *ids) == before


def test_a_node_that_cannot_write_still_ends_when_told(
    node: ChaosNode, disk: Faults, peer: Peer
) -> None:
    """SIGTERM ends it in order, however bad its disk; what it had confirmed is there again."""
    ids = fill(peer)
    before = state(peer, *ids)
    disk.set(write=5, sync=5)
    assert misconf(peer.ask("ADDJOB", "q", "x", 0))
    node.terminate()
    disk.clear()
    node.start()
    with Peer(node.address) as again:
        assert state(again, *ids) == before


def test_writes_that_do_less_than_asked_are_gone_on_with(
    node: ChaosNode, disk: Faults, peer: Peer
) -> None:
    """A disk that takes half of what it is given loses nothing, and nobody hears of it."""
    faults.short_writes(disk)
    ids = [peer.ask("ADDJOB", "q", "x" * 5000, 0) for _ in range(20)]
    assert disk.shortened > 20
    node.kill()
    disk.clear()
    node.start()
    with Peer(node.address) as again:
        assert [job[1] for job in again.ask("QPEEK", "q", 99)] == ids


def test_a_reply_waits_for_its_sync(node: ChaosNode, disk: Faults, peer: Peer) -> None:
    """With `always` no change is confirmed before it is synced; reads do not wait for that."""
    with Peer(node.address) as reader:
        assert reader.ask("QLEN", "q") == 0
        faults.slow_syncs(disk, 500)
        peer.send("ADDJOB", "q", "x", 0)
        assert until(lambda: reader.ask("QLEN", "q")) == 1
        assert peer.silent()
        assert isinstance(peer.read(), bytes)


def test_a_second_ack_is_not_answered_before_the_first_is_kept(
    node: ChaosNode, disk: Faults, peer: Peer
) -> None:
    """That a job is gone is told to nobody who acknowledges it before that is kept: a crash would
    bring it back."""
    id_ = peer.ask("ADDJOB", "q", "x", 0)
    with Peer(node.address) as second:
        assert peer.ask("GETJOB", "FROM", "q")
        second.ask("PING")
        faults.slow_syncs(disk, 1000)
        peer.send("ACKJOB", id_)
        until(lambda: second.ask("SHOW", id_) is None)
        second.send("ACKJOB", id_)
        assert second.silent()
        assert peer.read() == 1
        assert second.read() == 0


def test_a_commit_that_fails_again_and_again_is_not_tried_without_end(
    node: ChaosNode, disk: Faults, peer: Peer
) -> None:
    """However the fault was met, the node tries once a second, and says so in a few lines."""
    myself = peer.ask("CLUSTER", "MYID")
    faults.bad_writes(disk)
    assert misconf(peer.ask("CLUSTER", "RESET", "HARD"))
    time.sleep(1)  # what must not happen in it happened thousands of times
    assert disk.failures < 50
    assert len(node.said()) < 20_000
    disk.clear()
    until(lambda: writes_again(peer), RECOVERY)
    assert peer.ask("CLUSTER", "MYID") == myself
    assert peer.ask("ADDJOB", "q", "x", 0)[2:10] == myself[:8]


def test_syncs_that_fail_stop_everysec_too() -> None:
    """With `everysec` a sync that fails is told within about two seconds, and over when it is."""
    if reason := faults.lacking():
        pytest.skip(reason)
    with ChaosNode("everysec", bad_disk=True) as node:
        node.start()
        assert node.faults
        with Peer(node.address) as peer:
            faults.bad_syncs(node.faults)
            id_ = peer.ask("ADDJOB", "q", "x", 0)
            assert isinstance(id_, bytes)
            until(lambda: misconf(peer.ask("PING")), 4)
            assert peer.ask("QLEN", "q") == 1
            node.faults.clear()
            until(lambda: writes_again(peer), 4)
            assert peer.ask("ACKJOB", id_) == 1


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="limits another process")
def test_a_file_that_may_not_grow() -> None:
    """A limit of the system itself is met as any other: refused, nothing changed, and over."""
    with ChaosNode() as node:
        node.start()
        assert node.process
        with Peer(node.address) as peer:
            ids = fill(peer)
            before = state(peer, *ids)
            limits = resource.prlimit(node.process.pid, resource.RLIMIT_FSIZE)
            resource.prlimit(node.process.pid, resource.RLIMIT_FSIZE, (100_000, limits[1]))
            kept: list[bytes] = []
            while isinstance(reply := peer.ask("ADDJOB", "big", "x" * 9000, 0), bytes):
                kept.append(reply)
            assert error(reply).startswith("MISCONF")
            assert peer.ask("QLEN", "big") == len(kept)
            resource.prlimit(node.process.pid, resource.RLIMIT_FSIZE, limits)
            until(lambda: writes_again(peer), RECOVERY)
            kept.append(peer.ask("ADDJOB", "big", "x", 0))
            node.kill()
            node.start()
        with Peer(node.address) as again:
            assert [job[1] for job in again.ask("QPEEK", "big", 99)] == kept
            assert state(again, *ids) == before
