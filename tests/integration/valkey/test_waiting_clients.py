"""Clients that wait at one node for what comes in through another."""

from __future__ import annotations

import threading
import time
from collections import Counter
from itertools import cycle
from statistics import median

import pytest

from support.resp_peer import blocked, pack, wait_for_blocked
from support.servers import unique, until

SHARDS = pytest.mark.parametrize("shards", [1, 64])


@SHARDS
def test_a_job_added_at_one_node_reaches_who_waits_at_another(
    place, nodes, connect, record_property, shards
):
    """Whoever waits gets the job, wherever it comes in."""
    first, second = nodes(f"{place}&shards={shards}", 2)
    producer, consumer = connect(first), connect(second)
    latencies = []
    for number in range(100):
        consumer.send("GETJOB", "FROM", "q")
        wait_for_blocked(producer, "q", 1)
        started = time.perf_counter()
        job = producer.ask("ADDJOB", "q", number, 0)
        assert consumer.read() == [[b"q", job, b"%d" % number]]
        latencies.append(1000 * (time.perf_counter() - started))
    record_property("milliseconds", f"{median(latencies):.2f}, at most {max(latencies):.2f}")


@SHARDS
def test_each_client_gets_one_job(place, nodes, connect, shards):
    """Thirty clients in line at three nodes get one each of thirty jobs, and none is left."""
    three = nodes(f"{place}&shards={shards}", 3)
    waiting = [connect(node) for node in three for _ in range(10)]
    for each in waiting:
        each.send("GETJOB", "COUNT", 5, "FROM", "q")
    producer = connect(three[0])
    wait_for_blocked(producer, "q", 30)
    producer.raw(b"".join(pack("ADDJOB", "q", number, 0) for number in range(30)))
    added = {producer.read() for _ in range(30)}
    got = [each.read() for each in waiting]
    assert {len(jobs) for jobs in got} == {1}
    assert {jobs[0][1] for jobs in got} == added
    assert (producer.ask("QLEN", "q"), blocked(producer, "q")) == (0, 0)


def test_large_jobs_reach_all_who_wait(place, nodes, connect):
    """Jobs too large to be handed out in one go come one after the other, and to everybody."""
    one, other = nodes(place, 2, reply_size=1500)
    waiting = [connect(one) for _ in range(10)]
    for each in waiting:
        each.send("GETJOB", "FROM", "q")
    producer = connect(other)
    wait_for_blocked(producer, "q", 10)
    producer.raw(pack("ADDJOB", "q", b"x" * 1000, 0) * 10)
    added = {producer.read() for _ in range(10)}
    assert {each.read()[0][1] for each in waiting} == added


def test_nodes_get_their_share(place, nodes, connect):
    """Two consumers that ask again and again at two nodes get about as many jobs each."""
    two = nodes(place, 2)
    consumers = [connect(node) for node in two]
    producer = connect(two[0])
    shares: Counter[int] = Counter()

    def consume(number: int) -> None:
        while (jobs := consumers[number].ask("GETJOB", "FROM", "q"))[0][2] != b"end":
            consumers[number].ask("ACKJOB", jobs[0][1])
            shares[number] += 1

    threads = [threading.Thread(target=consume, args=(number,)) for number in (0, 1)]
    for thread in threads:
        thread.start()
    wait_for_blocked(producer, "q", 2)
    for number in range(200):
        producer.ask("ADDJOB", "q", number, 0)
        until(lambda: blocked(producer, "q") == 2)
    for _ in threads:
        producer.ask("ADDJOB", "q", "end", 0)
    for thread in threads:
        thread.join(20)
    assert sum(shares.values()) == 200
    assert min(shares.values()) > 60, shares


def test_waiting_costs_valkey_nothing(place, nodes, connect, shared, record_property):
    """A node whose thousand clients wait asks Valkey for no more than to say that it lives."""
    [node] = nodes(place)
    peer = connect(node)
    queues = [f"q{number % 20}" for number in range(1000)]
    waiting = [connect(node) for _ in queues]
    for each, queue in zip(waiting, queues, strict=True):
        each.send("GETJOB", "FROM", queue)
    for queue in set(queues):
        wait_for_blocked(peer, queue, 50)

    def calls() -> int:
        told = shared.ask("INFO", "commandstats").decode().splitlines()
        [line] = [line for line in told if line.startswith("cmdstat_fcall:")]
        return int(line.partition("calls=")[2].partition(",")[0])

    before, started = calls(), time.monotonic()
    time.sleep(3)
    rate = (calls() - before) / (time.monotonic() - started)
    record_property("calls a second", f"{rate:.2f}")
    assert rate <= 2


@SHARDS
def test_figures_are_those_of_all_nodes(place, nodes, connect, shards):
    """QSTAT tells the same everywhere: who waits, what came in and what went out, wherever."""
    three = nodes(f"{place}&shards={shards}", 3)
    peers = [connect(node) for node in three]
    waiting = [connect(node) for node in three]
    for peer in peers:
        peer.ask("ADDJOB", "full", "x", 0)
    peers[1].ask("GETJOB", "FROM", "full")
    for each in waiting:
        each.send("GETJOB", "FROM", "empty")
    wait_for_blocked(peers[0], "empty", 3)

    def figures(peer, queue) -> dict[bytes, object]:
        told = peer.ask("QSTAT", queue)
        return dict(zip(told[::2], told[1::2], strict=True))

    for peer in peers:
        full, empty = figures(peer, "full"), figures(peer, "empty")
        assert (full[b"len"], full[b"jobs-in"], full[b"jobs-out"]) == (2, 3, 1)
        assert (empty[b"len"], empty[b"blocked"]) == (0, 3)
        assert peer.ask("QLEN", "full") == 2
    waiting[0].sock.close()
    wait_for_blocked(peers[2], "empty", 2)


@SHARDS
def test_clients_that_go_as_soon_as_they_asked_take_nothing_along(place, nodes, connect, shards):
    """What was handed out to them comes again, at once or after its RETRY."""
    [node] = nodes(f"{place}&shards={shards}")
    peer = connect(node)
    for number in range(40):
        consumer = connect(node)
        consumer.send("GETJOB", "FROM", *("q", "other")[: 1 + number % 2])
        consumer.sock.close()
        peer.ask("ADDJOB", "q", number, 0, "RETRY", 1)
    bodies: set[bytes] = set()

    def all_there() -> bool:
        found = peer.ask("GETJOB", "NOHANG", "COUNT", 100, "FROM", "q") or []
        bodies.update(job[2] for job in found)
        return len(bodies) == 40

    until(all_there)
    until(lambda: blocked(peer, "q") == 0)


@SHARDS
@pytest.mark.parametrize("several", [False, True])
def test_pipelines_keep_their_order(place, nodes, connect, shards, several):
    """Each command of a pipeline finds what those before it left, and two of them do not mix."""
    [node] = nodes(f"{place}&shards={shards}")
    peers = [connect(node), connect(node)]
    queues = [[unique("q"), unique("q")] for _ in peers]
    for (queue, other), peer in zip(queues, peers, strict=True):
        names = (queue, other) if several else (queue,)
        job = peer.ask("ADDJOB", queue, "first", 0)
        peer.raw(
            pack("GETJOB", "NOHANG", "FROM", *names)
            + pack("QLEN", queue)
            + pack("ADDJOB", queue, "second", 0)
            + pack("QLEN", queue)
            + pack("ACKJOB", job)
            + pack("GETJOB", "NOHANG", "FROM", *names)
            + pack("GETJOB", "NOHANG", "FROM", *names)
            + pack("ADDJOB", queue, "third", 0)
            + pack("QLEN", queue)
            + pack("GETJOB", "FROM", *names)
            + pack("ADDJOB", other, "fourth", 0)
            + pack("QLEN", queue)
            + pack("PING")
        )
    for (queue, _), peer in zip(queues, peers, strict=True):
        name = queue.encode()
        first = peer.read()
        assert [first[0][0], first[0][2]] == [name, b"first"]
        assert peer.read() == 0
        second = peer.read()
        assert (peer.read(), peer.read()) == (1, 1)
        assert peer.read() == [[name, second, b"second"]]
        assert peer.read() is None
        third = peer.read()
        assert peer.read() == 1
        assert peer.read() == [[name, third, b"third"]]
        assert peer.read()[:2] == b"D-"
        assert (peer.read(), peer.read()) == (0, b"PONG")


def test_long_pipelines_in_two_connections(place, nodes, connect):
    """A thousand commands each, interleaved in pieces: each gets the replies to what it asked."""
    [node] = nodes(place)
    peers = [connect(node), connect(node)]
    for turn, peer in zip(range(40), cycle(peers)):
        queue = f"q{turn % 2}"
        peer.raw(
            b"".join(
                pack("ADDJOB", queue, number, 0)
                + pack("QLEN", queue)
                + pack("GETJOB", "NOHANG", "FROM", queue)
                + pack("QLEN", queue)
                for number in range(10)
            )
        )
    for turn, peer in zip(range(40), cycle(peers)):
        for number in range(10):
            job = peer.read()
            assert peer.read() == 1
            assert peer.read() == [[b"q%d" % (turn % 2), job, b"%d" % number]]
            assert peer.read() == 0
