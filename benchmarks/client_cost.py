"""What one call of the client costs, beside the least it could cost and beside redis-py.

All contenders do the same on the same node in the same run, in turn, round after round; what counts
is this process's CPU time per operation, and its ratio to the floor: a bare socket with hiredis
packing and parsing. Wall time is told as well, but on a shared machine it says little.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from statistics import median
from typing import NamedTuple

import hiredis
import redis

from pydisque.client import Client

BODY = b"x" * 100


class Cost(NamedTuple):
    """Microseconds per operation."""

    cpu: float
    wall: float


class Floor:
    """The least a Python client can do: pack, send, receive, parse."""

    name = "bare socket + hiredis"

    def __init__(self, host: str, port: int) -> None:
        self._sock = socket.create_connection((host, port))
        self._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._reader = hiredis.Reader()

    def _call(self, *args: object) -> object:
        self._sock.sendall(hiredis.pack_command(args))
        while (reply := self._reader.gets()) is False:
            self._reader.feed(self._sock.recv(65536))
        return reply

    def add(self, queue: str) -> None:
        self._call("ADDJOB", queue, BODY, 200)

    def get_and_ack(self, queue: str) -> None:
        [[_, job_id, _]] = self._call("GETJOB", "FROM", queue)
        self._call("ACKJOB", job_id)


class Pydisque:
    """Our client."""

    name = "pydisque Client"

    def __init__(self, host: str, port: int) -> None:
        self._client = Client([f"{host}:{port}"])
        self._client.connect()

    def add(self, queue: str) -> None:
        self._client.add_job(queue, BODY)

    def get_and_ack(self, queue: str) -> None:
        [(_, job_id, _)] = self._client.get_job([queue])
        self._client.ack_job(job_id)


class RedisPy:
    """redis-py as anybody would use it for Disque."""

    name = "redis.Redis.execute_command"

    def __init__(self, host: str, port: int) -> None:
        self._redis = redis.Redis(host=host, port=port, protocol=2, socket_timeout=None)

    def add(self, queue: str) -> None:
        self._redis.execute_command("ADDJOB", queue, BODY, 200)

    def get_and_ack(self, queue: str) -> None:
        [[_, job_id, _]] = self._redis.execute_command("GETJOB", "FROM", queue)
        self._redis.execute_command("ACKJOB", job_id)


def measure(operation: Callable[[str], None], queue: str, count: int) -> Cost:
    """Do it so often and tell what one took."""
    cpu, wall = time.process_time(), time.perf_counter()
    for _ in range(count):
        operation(queue)
    return Cost(
        (time.process_time() - cpu) / count * 1e6, (time.perf_counter() - wall) / count * 1e6
    )


def compare(host: str, port: int, rounds: int, count: int) -> dict[str, dict[str, Cost]]:
    """Every contender's median cost of add, and of get and ack."""
    contenders = [make(host, port) for make in (Floor, Pydisque, RedisPy)]
    samples: dict[str, dict[str, list[Cost]]] = {"add_job": {}, "get_job + ack_job": {}}
    for turn in range(rounds):
        for contender in contenders:
            queue = f"bench-{turn}-{contender.name}"
            added = measure(contender.add, queue, count)
            fetched = measure(contender.get_and_ack, queue, count)
            samples["add_job"].setdefault(contender.name, []).append(added)
            samples["get_job + ack_job"].setdefault(contender.name, []).append(fetched)
    return {
        operation: {
            name: Cost(median(cost.cpu for cost in costs), median(cost.wall for cost in costs))
            for name, costs in by_name.items()
        }
        for operation, by_name in samples.items()
    }
