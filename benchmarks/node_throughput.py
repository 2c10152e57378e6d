"""What a node can take: jobs a second, and its CPU time per job where its process can be seen.

The load is made as cheaply as Python can, with requests packed beforehand and replies counted by
their length, so that the node is what is measured. Each node gets each load in turn, round after
round.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import NamedTuple

import hiredis

BODY = b"x" * 100
ADDED = len("+D-12345678-123456789012345678901234-05a1\r\n")
"""Bytes of ADDJOB's reply, always."""
CONNECTIONS = 50


class Throughput(NamedTuple):
    """Jobs a second, microseconds of the node's CPU per job (0: not to be seen), and the
    milliseconds that half, and all but one in a hundred, of the replies took (0: not looked at)."""

    rate: float
    cpu: float
    p50: float
    p99: float


class Target:
    """One node under load."""

    def __init__(self, name: str, host: str, port: int, behind: Sequence[int] = ()) -> None:
        """Connect to it; `behind` are processes that work for it, whose CPU counts as well."""
        self.name = name
        self.behind = behind
        self.host = host
        self.port = port
        self.sock = self.connect()
        self._reader = hiredis.Reader()
        info = bytes(self.call("INFO", "server")).decode()
        self._pid = int(info.partition("process_id:")[2].split()[0])
        self.queue = f"bench-{os.getpid()}-{time.time_ns()}"
        self.add = hiredis.pack_command(("ADDJOB", self.queue, BODY, 0))

    def connect(self) -> socket.socket:
        sock = socket.create_connection((self.host, self.port))
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return sock

    def call(self, *args: object) -> object:
        self.sock.sendall(hiredis.pack_command(args))
        while (reply := self._reader.gets()) is False:
            self._reader.feed(self.sock.recv(262144))
        return reply

    def receive(self, count: int) -> None:
        """Read so many bytes and look at none."""
        while count:
            count -= len(self.sock.recv(min(count, 262144)))

    def cpu(self) -> float:
        """Seconds of CPU its process has taken, or 0 when that cannot be seen."""
        return sum(map(cpu_of, (self._pid, *self.behind)))

    def drain(self) -> None:
        """Take out whatever is left."""
        while jobs := self.call("GETJOB", "NOHANG", "COUNT", 1000, "FROM", self.queue):
            self.call("ACKJOB", *[job[1] for job in jobs])


def cpu_of(pid: int) -> float:
    """Seconds of CPU a process has taken, or 0 when that cannot be seen."""
    with contextlib.suppress(OSError):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return 0.0


def one_by_one(target: Target, count: int) -> list[float]:
    """One connection, each job added after the last reply."""
    times = []
    for _ in range(count):
        sent = time.perf_counter()
        target.sock.sendall(target.add)
        target.receive(ADDED)
        times.append(time.perf_counter() - sent)
    return times


def many_connections(target: Target, count: int) -> list[float]:
    """Fifty connections, each with one ADDJOB under way."""
    poll = select.poll()
    socks = {}
    sent = {}
    times = []
    for _ in range(CONNECTIONS):
        sock = target.connect()
        socks[sock.fileno()] = sock
        poll.register(sock, select.POLLIN)
        sent[sock.fileno()] = time.perf_counter()
        sock.sendall(target.add)
    left = count - CONNECTIONS
    unanswered = CONNECTIONS
    while unanswered:
        for number, _ in poll.poll():
            sock = socks[number]
            sock.recv(ADDED)
            now = time.perf_counter()
            times.append(now - sent[number])
            if left > 0:
                sent[number] = now
                sock.send(target.add)
                left -= 1
            else:
                unanswered -= 1
    for sock in socks.values():
        sock.close()
    return times


def pipelined(target: Target, count: int) -> list[float]:
    """One connection, a hundred ADDJOBs at a time."""
    batch = target.add * 100
    for _ in range(count // 100):
        target.sock.sendall(batch)
        target.receive(100 * ADDED)
    return []


def get_and_ack(target: Target, count: int) -> list[float]:
    """One connection, GETJOB COUNT 100 and one ACKJOB for them all."""
    for _ in range(count // 100):
        jobs = target.call("GETJOB", "COUNT", 100, "FROM", target.queue)
        target.call("ACKJOB", *[job[1] for job in jobs])
    return []


LOADS: dict[str, tuple[Callable[[Target, int], list[float]], float]] = {
    "ADDJOB, 1 connection": (one_by_one, 0.2),
    f"ADDJOB, {CONNECTIONS} connections": (many_connections, 1.0),
    "ADDJOB, pipelined by 100": (pipelined, 2.0),
    "GETJOB COUNT 100 + ACKJOB": (get_and_ack, 2.0),
}
"""Each load, and its share of the jobs asked for: slow ones do fewer."""


def measure(target: Target, load: Callable[[Target, int], list[float]], count: int) -> Throughput:
    """Put one load on one node."""
    cpu, start = target.cpu(), time.perf_counter()
    times = sorted(load(target, count)) or [0.0]
    seconds = time.perf_counter() - start
    p50, p99 = times[len(times) // 2] * 1e3, times[len(times) * 99 // 100] * 1e3
    return Throughput(count / seconds, (target.cpu() - cpu) / count * 1e6, p50, p99)


def compare(targets: list[Target], rounds: int, jobs: int) -> dict[str, dict[str, Throughput]]:
    """Every node's median throughput under each load."""
    samples: dict[str, dict[str, list[Throughput]]] = {name: {} for name in LOADS}
    for _ in range(rounds):
        for name, (load, share) in LOADS.items():
            count = int(jobs * share) // 100 * 100
            for target in targets:
                samples[name].setdefault(target.name, []).append(measure(target, load, count))
        for target in targets:
            target.drain()
    return {
        name: {
            target: Throughput(*map(median, zip(*taken, strict=True)))
            for target, taken in by_target.items()
        }
        for name, by_target in samples.items()
    }
