"""Clients that want much of Valkey at once: they take turns, and replies stay of bounded size."""

from __future__ import annotations

import pytest

from support.resp_peer import Peer, clients, pack
from support.servers import until
from support.valkeys import ValkeyProcess, valkey

BODY = b"x" * 100_000
JOBS = 40
LARGE = 4 << 20
"""Bytes of a reply with all of them, about."""
SHARDS = pytest.mark.parametrize("shards", [1, 64])


@pytest.fixture
def own(stack):
    """A Valkey for one test, as its figures are looked at."""
    return stack.enter_context(valkey())


def fill(peer: Peer, queue: str = "big", count: int = JOBS) -> list[bytes]:
    """Add large jobs."""
    return [peer.ask("ADDJOB", queue, BODY, 0) for _ in range(count)]


def largest_output(server: ValkeyProcess) -> int:
    """Bytes that Valkey has held for one client at most, not long ago."""
    return int(field(server, "clients", "client_recent_max_output_buffer"))


def calls(server: ValkeyProcess) -> int:
    """How often functions were called."""
    stats = server.ask("INFO", "commandstats").decode()
    [line] = [line for line in stats.splitlines() if line.startswith("cmdstat_fcall:")]
    return int(line.partition("calls=")[2].partition(",")[0])


def field(server: ValkeyProcess, section: str, name: str) -> str:
    told = server.ask("INFO", section).decode()
    return told.partition(f"{name}:")[2].split()[0]


@SHARDS
def test_replies_of_one_client_come_in_portions(own, nodes, connect, shards):
    """A hundred large replies are never with Valkey at the same time, whatever is asked for."""
    [node] = nodes(f"{own.url}?shards={shards}")
    peer = connect(node)
    jobs = fill(peer)
    peer.raw(pack("QPEEK", "big", JOBS) * 50 + pack("SHOW", jobs[0]) * 500)
    assert {len(peer.read()) for _ in range(50)} == {JOBS}
    assert {peer.read()[-1] for _ in range(500)} == {BODY}
    peer.raw(pack("GETJOB", "NOHANG", "FROM", "big") * 2 * JOBS)
    got = [peer.read() for _ in range(2 * JOBS)]
    assert [reply[0][1] for reply in got[:JOBS]] == jobs
    assert got[JOBS:] == [None] * JOBS
    assert largest_output(own) < 4 * LARGE


@SHARDS
def test_commands_of_one_client_stay_in_order(place, nodes, connect, shards):
    """What follows a large read has effect after it, and before the next one, beside others."""
    [node] = nodes(f"{place}&shards={shards}")
    peer, *others = (connect(node) for _ in range(4))
    jobs = fill(peer)
    for other in others:
        other.raw(pack("QPEEK", "big", JOBS) * 10)
    peer.raw(
        b"".join(
            pack("QPEEK", "big", JOBS)
            + pack("ADDJOB", "big", BODY, 0)
            + pack("QLEN", "big")
            + pack("DELJOB", job)
            + pack("SHOW", job)
            for job in jobs
        )
    )
    for number in range(JOBS):
        peeked = peer.read()
        assert peeked[0][1] == jobs[number]
        added = peer.read()
        assert added.startswith(b"D-")
        jobs.append(added)
        assert [peer.read() for _ in range(3)] == [JOBS + 1, 1, None]
        assert [job[1] for job in peeked] == jobs[number : number + JOBS]
    for other in others:
        assert {len(other.read()) for _ in range(10)} == {JOBS}


@SHARDS
def test_large_requests_behind_large_reads(place, nodes, connect, shards):
    """Requests and replies that wait for a client's own reads do not stop these."""
    [node] = nodes(f"{place}&shards={shards}")
    peer = connect(node)
    fill(peer)
    fill(peer, "other")
    large = b"x" * (2 << 20)
    peer.raw(
        (pack("QPEEK", "big", JOBS) + pack("QPEEK", "other", JOBS)) * 10
        + pack("ADDJOB", "small", large, 0)
        + pack("GETJOB", "FROM", "small")
    )
    assert [len(peer.read()) for _ in range(20)] == [JOBS] * 20
    job = peer.read()
    assert peer.read() == [[b"small", job, large]]


def test_other_clients_have_their_turn(place, nodes, connect):
    """An honest client's commands are answered while a greedy one still waits for most replies."""
    [node] = nodes(place)
    greedy, honest = connect(node), connect(node)
    fill(honest)
    want = 100
    greedy.raw(pack("QPEEK", "big", JOBS) * want)
    assert len(greedy.read()) == JOBS
    for number in range(10):
        job = honest.ask("ADDJOB", "small", number, 0)
        assert honest.ask("GETJOB", "NOHANG", "FROM", "small") == [[b"small", job, b"%d" % number]]
        assert honest.ask("ACKJOB", job) == 1
    greedy.sock.setblocking(False)
    came = 1 + received(greedy) / LARGE
    assert came < want


def received(peer: Peer) -> int:
    """Bytes that are there now."""
    size = 0
    try:
        while data := peer.sock.recv(1 << 20):
            size += len(data)
    except BlockingIOError:
        pass
    return size


def test_nothing_is_read_for_clients_that_went(own, nodes, connect):
    """What a client has asked for and no longer waits for is not read of Valkey."""
    [node] = nodes(own.url)
    peer, greedy = connect(node), connect(node)
    fill(peer)
    greedy.raw(pack("QPEEK", "big", JOBS) * 1000)
    greedy.sock.recv(1)
    greedy.sock.close()
    until(lambda: len(clients(peer)) == 1)
    before = calls(own)
    for number in range(10):
        peer.ask("ADDJOB", "small", number, 0)
    assert calls(own) - before < 30


def test_nothing_is_read_for_clients_that_do_not_read(own, nodes, connect):
    """A client that leaves its replies unread gets a few of them; others are served as ever."""
    [node] = nodes(own.url)
    peer, greedy = connect(node), connect(node)
    fill(peer)
    greedy.raw(pack("QPEEK", "big", JOBS) * 200)
    until(lambda: unread(peer) > LARGE // 2)
    for number in range(50):
        assert peer.ask("ADDJOB", "small", number, 0)
    assert unread(peer) < 20 * LARGE
    for _ in range(200):
        assert len(greedy.read()) == JOBS


def unread(peer: Peer) -> int:
    """Bytes of replies that the node holds for its clients."""
    return sum(int(client["omem"]) for client in clients(peer))


@SHARDS
def test_a_scan_with_bodies_ends_when_its_reply_is_large(own, nodes, connect, shards):
    """JSCAN with bodies, also when all jobs are wanted at once, returns them all in portions."""
    [node] = nodes(f"{own.url}?shards={shards}", **{"reply-size": 1 << 20})
    peer = connect(node)
    added = set(fill(peer, "big", 100))
    found: list[bytes] = []
    cursor, replies = b"0", 0
    while True:
        cursor, jobs = peer.ask("JSCAN", cursor, "BUSYLOOP", "REPLY", "all")
        assert len(jobs) < 50
        found += [job[1] for job in jobs]
        replies += 1
        if cursor == b"0":
            break
    assert set(found) == added
    assert replies > 4
    _, ids = peer.ask("JSCAN", 0, "BUSYLOOP")
    assert set(ids) == added
    assert largest_output(own) < 2 * LARGE


def test_names_of_queues_are_bounded_too(own, nodes, connect):
    """QSCAN ends when the names that it found are large."""
    [node] = nodes(own.url, **{"reply-size": 1 << 20})
    peer = connect(node)
    names = {b"%d" % number + BODY for number in range(60)}
    for name in names:
        peer.ask("PAUSE", name, "in")
    cursor, some = peer.ask("QSCAN", 0, "BUSYLOOP")
    assert cursor != b"0"
    assert len(some) < len(names)
    while cursor != b"0":
        cursor, more = peer.ask("QSCAN", cursor, "BUSYLOOP")
        some += more
    assert set(some) == names
