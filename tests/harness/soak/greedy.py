"""Greedy clients beside an honest one, on each store: `make greedy`.

Thirty clients pipeline requests with large replies, and read nothing, or all they get. Meanwhile
one client adds small jobs. Shows how long its ADDJOB takes and what the node takes of memory. The
exit code is 1 if the node takes more than 1.5 times `client-memory` or an ADDJOB takes half a
second.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import selectors
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple, cast

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[2]))

from harness.soak.samples import MEBI, percentile
from support.resp_peer import Peer, pack
from support.servers import NodeProcess
from support.valkeys import valkey

STORES = ("memory", "durable", "valkey")
MOST = 1.5
"""How many times `client-memory` the node may take beside what it takes without clients."""
SLOWEST = 0.5
"""Seconds that an ADDJOB of the honest client may take."""
PAUSE = 0.005


class Load(NamedTuple):
    """What each greedy client sends, and whether it reads."""

    request: tuple[str | int, ...]
    reads: bool = True
    times: int = 200


LOADS = {
    "peek": Load(("QPEEK", "big", 40)),
    "peek, unread": Load(("QPEEK", "big", 40), reads=False),
    "get": Load(("GETJOB", "NOHANG", "COUNT", 10, "FROM", "many")),
    "get, unread": Load(("GETJOB", "NOHANG", "COUNT", 10, "FROM", "many"), reads=False),
    "show": Load(("SHOW", "ID"), times=1000),
    "show, unread": Load(("SHOW", "ID"), reads=False, times=1000),
    "scan": Load(("JSCAN", 0, "COUNT", 1000, "REPLY", "all")),
    "scan, unread": Load(("JSCAN", 0, "COUNT", 1000, "REPLY", "all"), reads=False),
    "add": Load(("ADDJOB", "heap", "BODY", 0), times=100),
}


class Result(NamedTuple):
    """What one load did to a node."""

    store: str
    load: str
    median: float
    slowest: float
    errors: int
    memory: int
    valkey: int

    def fails(self, limit: int) -> bool:
        """Whether the honest client was refused or waited too long, or memory was too much."""
        return self.memory > MOST * limit or self.slowest > SLOWEST or self.errors > 0


def be_greedy(address: str, data: bytes, load: Load, args: argparse.Namespace, ready: Any) -> None:
    """Clients that send requests, and read what comes or nothing, until time is over."""
    host, _, port = address.rpartition(":")
    selector = selectors.DefaultSelector()
    clients = [socket.create_connection((host, int(port))) for _ in range(args.clients)]
    for sock in clients:
        sock.setblocking(False)
        selector.register(sock, selectors.EVENT_WRITE, memoryview(data))
    buffer = bytearray(1 << 20)
    ready.set()
    until_ = time.monotonic() + args.seconds
    while (left := until_ - time.monotonic()) > 0:
        for key, events in selector.select(left):
            sock = cast("socket.socket", key.fileobj)
            try:
                unsent = key.data
                if events & selectors.EVENT_WRITE:
                    unsent = unsent[sock.send(unsent) :]
                closed = events & selectors.EVENT_READ and not sock.recv_into(buffer)
            except OSError:
                closed = True
            wanted = selectors.EVENT_READ * load.reads + selectors.EVENT_WRITE * bool(unsent)
            if closed or not wanted:
                selector.unregister(sock)
            else:
                selector.modify(sock, wanted, unsent)


def resident(pid: int) -> int:
    """Bytes of memory that a process takes now."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


class Peak(threading.Thread):
    """The most that a process takes beyond what it took at first."""

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self._pid = pid
        self._over = threading.Event()
        self._first = self._most = resident(pid) if pid else 0

    def run(self) -> None:
        """Look until it is over."""
        while self._pid and not self._over.wait(PAUSE):
            self._most = max(self._most, resident(self._pid))

    def taken(self) -> int:
        """Bytes; ends it."""
        self._over.set()
        self.join()
        return self._most - self._first


@contextmanager
def node_on(store: str, limit: int) -> Iterator[tuple[NodeProcess, int]]:
    """A node on such a store, and the process of its Valkey, 0 without one."""
    options = ["--client-memory", str(limit), "--maxmemory", "4gb"]
    with ExitStack() as stack:
        pid = 0
        if store == "durable":
            options += ["--data", stack.enter_context(tempfile.TemporaryDirectory())]
        elif store == "valkey":
            server = stack.enter_context(valkey())
            pid = server.ask("INFO", "server").partition(b"process_id:")[2].split()[0]
            options += ["--store", server.url]
        else:
            options += ["--data", ":memory:"]
        node = NodeProcess(*options)
        stack.callback(node.kill)
        yield node, int(pid)


def fill(peer: Peer, load: Load, body: bytes, clients: int) -> bytes:
    """Add the jobs that a load is about; what each client sends."""
    words = list(load.request)
    if words[0] == "GETJOB":
        for _ in range(clients * 20):
            peer.ask("ADDJOB", "many", body, 0, "RETRY", 0)
    ids = [peer.ask("ADDJOB", "big", body, 0) for _ in range(40)]
    known = {"ID": ids[0], "BODY": body}
    return pack(*(known.get(word, word) for word in words)) * load.times


def measure(store: str, name: str, args: argparse.Namespace) -> Result:
    """One load on one store."""
    load = LOADS[name]
    body = b"x" * args.body
    with node_on(store, args.memory) as (node, valkey_pid), Peer(node.address) as honest:
        data = fill(honest, load, body, args.clients)
        peaks = Peak(node.pid), Peak(valkey_pid)
        for peak in peaks:
            peak.start()
        spawn = multiprocessing.get_context("spawn")
        ready = spawn.Event()
        arguments = (node.address, data, load, args, ready)
        greedy = spawn.Process(target=be_greedy, args=arguments)
        greedy.start()
        try:
            ready.wait()
            taken, errors = add_jobs(honest, time.monotonic() + args.seconds)
        finally:
            greedy.terminate()
            greedy.join()
        node_taken, valkey_taken = (peak.taken() for peak in peaks)
        return Result(
            store, name, percentile(taken, 0.5), max(taken), errors, node_taken, valkey_taken
        )


def add_jobs(honest: Peer, until_: float) -> tuple[list[float], int]:
    """Add small jobs: the seconds that each took, and how many were refused."""
    honest.sock.settimeout(120)
    taken: list[float] = []
    errors = 0
    while time.monotonic() < until_:
        started = time.perf_counter()
        errors += isinstance(honest.ask("ADDJOB", "honest", "x", 0), Exception)
        taken.append(time.perf_counter() - started)
        time.sleep(PAUSE)
    return taken, errors


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main() -> int:
    """Measure all that was chosen."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--stores", default=",".join(STORES), help="stores, commas between them")
    parser.add_argument("--loads", default=";".join(LOADS), help="loads, semicolons between them")
    parser.add_argument("--clients", type=int, default=30, help="number of greedy clients")
    parser.add_argument("--seconds", type=float, default=6, help="duration of each load")
    parser.add_argument("--body", type=int, default=200_000, help="bytes of each large job")
    parser.add_argument(
        "--memory", type=int, default=256 * MEBI, help="client-memory of the node, in bytes"
    )
    args = parser.parse_args()
    say("store     load           ADDJOB p50 ms   max ms  refused  node MiB  of limit  Valkey MiB")
    failed = False
    for store in args.stores.split(","):
        for name in args.loads.split(";"):
            result = measure(store, name, args)
            fails = result.fails(args.memory)
            failed |= fails
            say(
                f"{store:9} {name:14} {1000 * result.median:13.1f} {1000 * result.slowest:8.1f} "
                f"{result.errors:8} {result.memory / MEBI:9.0f} {result.memory / args.memory:9.2f} "
                f"{result.valkey / MEBI:11.0f}{'  FAILED' if fails else ''}"
            )
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
