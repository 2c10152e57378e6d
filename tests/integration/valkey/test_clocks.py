"""Valkey servers whose clocks differ: jobs are on time by their own primary, and nodes warn."""

from __future__ import annotations

import contextlib
import logging
import re
import socket
import tempfile
import threading
import time
import urllib.request

import pytest

from pydisque.node.store.valkey import keys
from pydisque.node.store.valkey.keys import Layout, slot
from support.resp_peer import info
from support.servers import free_port, until
from support.valkeys import ValkeyProcess, valkey

AHEAD = 20
HALF = 8192


def shifted_library(seconds: int) -> str:
    """The functions on a server whose clock is wrong by this."""
    functions = keys.library()
    reads = 'local time = call("TIME")'
    assert functions.count(reads) == 1
    return functions.replace(reads, f"{reads}\n  time[1] = time[1] + {seconds}")


@pytest.fixture
def cluster(stack) -> list[ValkeyProcess]:
    """A Cluster of two primaries, the second of which is ahead."""
    folders = [stack.enter_context(tempfile.TemporaryDirectory()) for _ in range(2)]
    servers = [
        stack.enter_context(ValkeyProcess(folder, "--cluster-enabled", "yes")) for folder in folders
    ]
    servers[0].ask("CLUSTER", "ADDSLOTSRANGE", 0, HALF - 1)
    servers[1].ask("CLUSTER", "ADDSLOTSRANGE", HALF, 16383)
    servers[0].ask("CLUSTER", "MEET", "127.0.0.1", servers[1].port)
    until(lambda: all(b"state:ok" in each.ask("CLUSTER", "INFO") for each in servers))
    servers[1].ask("FUNCTION", "LOAD", shifted_library(AHEAD))
    return servers


def queue_of(half: int) -> str:
    """A queue that is on the first or on the second primary."""
    made = Layout("disque", keys.MOST_SHARDS)
    names = (f"queue{number}" for number in range(1000))
    return next(
        name
        for name in names
        if slot(made.tags[made.shard_of_queue(name.encode())]) // HALF == half
    )


@pytest.mark.parametrize("half", [0, 1])
def test_delays_are_by_the_clock_of_their_own_primary(cluster, nodes, connect, half):
    """A delayed job comes on time from either primary, although one of them is 20 seconds ahead."""
    [node] = nodes(cluster[0].url)
    producer, consumer, other = (connect(node) for _ in range(3))
    quiet, busy = queue_of(half), queue_of(1 - half)
    consumer.send("GETJOB", "FROM", quiet)
    started = time.monotonic()
    job = producer.ask("ADDJOB", quiet, "x", 0, "DELAY", 2)
    done = threading.Event()

    def keep_busy() -> None:
        while not done.wait(0.05):
            other.ask("QLEN", busy)

    thread = threading.Thread(target=keep_busy)
    thread.start()
    try:
        consumer.sock.settimeout(AHEAD / 2)
        assert consumer.read() == [[quiet.encode(), job, b"x"]]
        assert 1.5 < time.monotonic() - started < AHEAD / 2
    finally:
        done.set()
        thread.join()


def test_times_of_a_job_are_by_its_own_primary(cluster, nodes, connect):
    """SHOW and JSCAN tell a lease as it is, wherever the job is kept."""
    [node] = nodes(cluster[0].url)
    peer = connect(node)
    for queue in (queue_of(0), queue_of(1)):
        job = peer.ask("ADDJOB", queue, "x", 0, "RETRY", 60)
        peer.ask("GETJOB", "FROM", queue)
        shown = peer.ask("SHOW", job)
        scanned = peer.ask("JSCAN", 0, "COUNT", 1000, "QUEUE", queue, "REPLY", "all")[1][0]
        for state in (shown, scanned):
            fields = dict(zip(state[::2], state[1::2], strict=True))
            assert 55_000 < fields[b"next-requeue-within"] <= 60_000


class WrongClock:
    """A proxy before a server that answers TIME wrongly by this."""

    TIME = re.compile(rb"\*2\r\n\$10\r\n(\d{10})\r\n")

    def __init__(self, port: int, seconds: int) -> None:
        self.seconds = seconds
        self._to = port
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = self._listening.getsockname()[1]
        self._threads = [threading.Thread(target=self._accept)]
        self._sockets = [self._listening]
        self._threads[0].start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listening.accept()
            except OSError:
                return
            server = socket.create_connection(("127.0.0.1", self._to))
            self._sockets += (client, server)
            for source, target in ((client, server), (server, client)):
                shift = source is server
                thread = threading.Thread(target=self._pump, args=(source, target, shift))
                self._threads.append(thread)
                thread.start()

    def _pump(self, source: socket.socket, target: socket.socket, shift: bool) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                target.sendall(self.TIME.sub(self._shifted, data) if shift else data)
        with contextlib.suppress(OSError):
            target.shutdown(socket.SHUT_RDWR)

    def _shifted(self, found: re.Match[bytes]) -> bytes:
        return b"*2\r\n$10\r\n%d\r\n" % (int(found[1]) + self.seconds)

    def close(self) -> None:
        for each in self._sockets:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()
        for each in self._sockets:
            each.close()


@pytest.fixture
def wrong_replica(stack) -> tuple[ValkeyProcess, WrongClock]:
    """A primary, and the proxy through which its replica is known."""
    primary = stack.enter_context(valkey())
    folder = stack.enter_context(tempfile.TemporaryDirectory())
    replica = stack.enter_context(ValkeyProcess(folder))
    proxy = WrongClock(replica.port, AHEAD)
    stack.callback(proxy.close)
    replica.ask("CONFIG", "SET", "replica-announce-port", proxy.port)
    replica.ask("REPLICAOF", "127.0.0.1", primary.port)
    until(lambda: b"state=online" in primary.ask("INFO", "replication"), 30)
    return primary, proxy


def test_a_replica_whose_clock_differs_is_reported(
    wrong_replica, nodes, connect, caplog, monkeypatch
):
    """The log, INFO and the metrics tell of a replica that is 20 seconds ahead, and when it is
    corrected."""
    monkeypatch.setattr("pydisque.node.store.valkey.store.CLOCKS_EVERY", 1)
    primary, proxy = wrong_replica
    http = f"127.0.0.1:{free_port()}"
    with caplog.at_level(logging.INFO, "pydisque.node"):
        [node] = nodes(primary.url, http=http)
        peer = connect(node)
        until(lambda: 19 < float(info(peer)["valkey_clock_difference"]) < 21)
        [warning] = [
            record for record in caplog.records if "clocks of Valkey servers differ" in record.msg
        ]
        assert warning.levelno == logging.WARNING
        told = warning.getMessage()
        assert f"127.0.0.1:{proxy.port} is 20.0 s ahead of {primary.address}" in told
        with urllib.request.urlopen(f"http://{http}/metrics", timeout=10) as response:
            text = response.read().decode()
        [line] = re.findall(
            r"^pydisque_node_valkey_clock_difference_seconds ([\d.]+)$", text, re.MULTILINE
        )
        assert 19 < float(line) < 21
        proxy.seconds = 0
        until(lambda: float(info(peer)["valkey_clock_difference"]) < 1)
    assert "clocks of Valkey servers agree again" in caplog.text
    assert caplog.text.count("clocks of Valkey servers differ") == 1
