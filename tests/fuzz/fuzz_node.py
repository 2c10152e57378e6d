"""Throw random and mutated requests at a node's port: `make fuzz`.

The node runs in a process of its own. Several connections send it commands with odd arguments,
mutated bytes and plain noise, while one well-behaved client beside them adds, gets, nacks and
acknowledges jobs and checks every single answer. The run fails when the node dies, logs a
traceback, leaves the good client without its right answer for ten seconds, loses one of its jobs,
or keeps growing.

What the noise leaves behind (random names make queues, ADDJOB makes jobs for a day) is flushed
between rounds, when the good client has none; so from round to round memory must stay level.
The noise never says SHUTDOWN, and nothing that would be allowed to stop the others: no password,
no limits, no long sleep, no CLUSTER LEAVING. Job IDs of the good client end in ``-0003``, by their
TTL of three minutes; the noise picks up any ID it reads but those.
"""

from __future__ import annotations

import argparse
import contextlib
import random
import re
import select
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import hiredis

DEADLINE = 10.0
ROUND = 100_000
"""Requests between two flushes; a short run has ten rounds all the same."""
LEVEL = 64 * 1024 * 1024
"""Bytes by which the node may be larger after a late round than after an early one."""

NODE = """
from pydisque.node import Server
server = Server(port=0)
server.run(lambda: print(server.port, flush=True))
"""


class Failure(Exception):  # noqa: N818 - what it is, in the words of the report
    """The node did what it must never do."""


class Report(NamedTuple):
    """What came of a run; sizes in MiB."""

    requests: int
    megabytes: float
    reconnects: int
    errors: int
    good_jobs: int
    rss_before: float
    rss_after: float
    rss_peak: float
    rss_rounds: list[float]
    seconds: float

    def __str__(self) -> str:
        some = self.rss_rounds[:: max(1, len(self.rss_rounds) // 10)]
        rounds = " ".join(f"{rss:.0f}" for rss in some)
        return (
            f"{self.requests} requests, {self.megabytes:.0f} MB in {self.seconds:.0f} s; "
            f"{self.reconnects} reconnects, {self.errors} errors answered; "
            f"{self.good_jobs} jobs of the good client, none lost; "
            f"RSS {self.rss_before:.0f} MiB before, {self.rss_after:.0f} after, "
            f"{self.rss_peak:.0f} at most; from round to round: {rounds}"
        )


@contextmanager
def node_process() -> Iterator[int]:
    """A node in a process of its own, by its port; it must be alive and calm at the end."""
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen([sys.executable, "-c", NODE], stdout=subprocess.PIPE, stderr=log)
        try:
            assert process.stdout is not None
            port = int(process.stdout.readline())
            try:
                yield port
            finally:
                died = process.poll()
                log.seek(0)
                said = log.read()
                if died is not None or b"Traceback" in said:
                    raise Failure(f"exit status {died}; it said: {said.decode()[-4000:]}")
        finally:
            process.kill()
            process.wait()
            if process.stdout:
                process.stdout.close()


def pack(*args: bytes) -> bytes:
    """One request."""
    return b"*%d\r\n" % len(args) + b"".join(b"$%d\r\n%b\r\n" % (len(arg), arg) for arg in args)


# The noise

QUEUES = [b"a", b"b", b"", b"\0", b"\r\n", b"queue with blanks", b"\xff" * 30]
ODD = [
    b"", b"0", b"1", b"-1", b"+5", b"007", b" 1", b"1.5", b"x", b"\0", b"\xff\xfe", b"9" * 20,
    b"9223372036854775807", b"-9223372036854775808", b"18446744073709551615", b"4294967296",
    b"%s%n%x", b"\r\n", b"*", b"?[a-", b"D-", b"x" * 300,
]  # fmt: skip
WORDS = [
    b"COUNT", b"TIMEOUT", b"NOHANG", b"FROM", b"WITHCOUNTERS", b"TTL", b"RETRY", b"DELAY",
    b"MAXLEN", b"REPLICATE", b"ASYNC", b"BUSYLOOP", b"QUEUE", b"STATE", b"REPLY", b"all", b"id",
    b"queued", b"active", b"MINLEN", b"IMPORTRATE", b"in", b"out", b"none", b"state", b"bcast",
]  # fmt: skip
ON_JOBS = [
    b"ADDJOB", b"GETJOB", b"ACKJOB", b"FASTACK", b"DELJOB", b"SHOW", b"ENQUEUE", b"NACK",
    b"DEQUEUE", b"WORKING", b"QLEN", b"QPEEK", b"QSTAT", b"QSCAN", b"JSCAN", b"PAUSE",
]  # fmt: skip
COMMANDS = [
    *ON_JOBS, b"PING", b"HELLO", b"TIME", b"INFO", b"COMMAND", b"AUTH", b"LOADJOB",
    b"BGREWRITEAOF", b"QUIT", b"NOSUCH",
]  # fmt: skip
FIXED = [
    pack(*line.split())
    for line in (
        b"CLIENT LIST", b"CLIENT GETNAME", b"CLIENT SETNAME x", b"CLIENT ID", b"CLIENT PAUSE 1",
        b"CLIENT KILL 1.2.3.4:5", b"CLIENT KILL ID 0 SKIPME no x", b"CLIENT REPLY ON",
        b"CLIENT REPLY SKIP", b"CLIENT REPLY OFF", b"CLIENT SETINFO LIB-NAME x", b"CLIENT",
        b"CONFIG GET *", b"CONFIG GET [^a-z]*?[", b"CONFIG SET hz 7", b"CONFIG SET bogus 1",
        b"CONFIG SET slowlog-log-slower-than 0", b"CONFIG SET slowlog-log-slower-than 10000",
        b"CONFIG SET latency-monitor-threshold 1", b"CONFIG SET latency-monitor-threshold 0",
        b"CONFIG SET maxmemory-policy noeviction", b"CONFIG RESETSTAT", b"CONFIG REWRITE",
        b"CLUSTER MYID", b"CLUSTER NODES", b"CLUSTER INFO", b"CLUSTER MEET 127.0.0.1 7711",
        b"CLUSTER FORGET x", b"CLUSTER LEAVING", b"CLUSTER SAVECONFIG", b"CLUSTER x y z",
        b"SLOWLOG GET", b"SLOWLOG GET -1", b"SLOWLOG LEN", b"SLOWLOG RESET", b"LATENCY LATEST",
        b"LATENCY DOCTOR", b"LATENCY GRAPH ping", b"LATENCY HISTORY x", b"LATENCY RESET",
        b"DEBUG ERROR x", b"DEBUG STRUCTSIZE", b"DEBUG SLEEP 0", b"DEBUG x", b"HELLO 3",
        b"HELLO 2", b"HELLO 3 AUTH a b SETNAME c", b"MONITOR", b"COMMAND DOCS", b"INFO all",
        b"GETJOB FROM nothing-ever-comes", b"GETJOB TIMEOUT 9223372036854775807 FROM nothing",
    )
]  # fmt: skip
_ID = re.compile(rb"D-[0-9a-f]{8}-[A-Za-z0-9+/]{24}-(?!0003)[0-9a-f]{4}")


class Noise:
    """Makes requests, good, odd and broken, from a seed."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.ids: list[bytes] = [b"D-00000000-000000000000000000000000-0001"]

    def learn(self, reply: bytes) -> None:
        """Pick up job IDs to use later."""
        if self.random.random() < 0.2:
            self.ids = (self.ids + [match[0] for match in _ID.finditer(reply, 0, 4000)])[-500:]

    def batch(self) -> tuple[int, bytes]:
        """Some requests and their number; what may break the stream comes last."""
        choose = self.random
        requests = [self.request() for _ in range(choose.randint(1, 60))]
        if choose.random() < 0.4:
            requests += [self.broken() for _ in range(choose.randint(1, 5))]
        return len(requests), b"".join(requests)

    def request(self) -> bytes:
        """A request that keeps the stream whole."""
        dice = self.random.random()
        if dice < 0.35:
            return self.plausible()
        if dice < 0.42:
            return self.random.choice(FIXED)
        if dice < 0.5:
            words = [self.random.choice(COMMANDS), *self.arguments(3)]
            return b" ".join(self.inline(word) for word in words) + b"\r\n"
        return pack(self.random.choice(ON_JOBS if dice < 0.9 else COMMANDS), *self.arguments(6))

    def plausible(self) -> bytes:
        """What a client would say."""
        choose = self.random
        queue = choose.choice(QUEUES) if choose.random() < 0.9 else choose.randbytes(6)
        if choose.random() < 0.5:
            body = choose.randbytes(choose.choice([0, 3, 30, 300, 3000]))
            options = choose.choice([
                [], [b"TTL", b"2"], [b"RETRY", b"1"], [b"RETRY", b"0"], [b"DELAY", b"1"],
                [b"ASYNC"], [b"TTL", b"9223372036854775807", b"DELAY", b"9223372036854775806"],
            ])  # fmt: skip
            return pack(b"ADDJOB", queue, body, b"0", *options)
        if choose.random() < 0.2:
            seconds = choose.choice([*ODD, b"1"])
            id_ = choose.choice(self.ids)
            words = [b"NACK", id_, b"DELAY", seconds], [b"ENQUEUE", id_, b"UNCOUNTED"]
            return pack(*choose.choice(words))
        return pack(
            b"GETJOB", b"TIMEOUT", b"1", b"COUNT", b"%d" % choose.randint(1, 20), b"FROM", queue
        )

    def arguments(self, most: int) -> list[bytes]:
        """Up to so many words of all kinds."""
        choose = self.random
        words = []
        for _ in range(choose.randint(0, most)):
            kind = choose.choice((ODD, WORDS, QUEUES, self.ids, self.ids))
            words.append(choose.choice(kind) if choose.random() < 0.95 else choose.randbytes(9))
        return words

    def inline(self, word: bytes) -> bytes:
        """A word as it may stand in an inline command, well quoted or not."""
        if self.random.random() < 0.97:
            return b'"' + b"".join(b"\\x%02x" % byte for byte in word[:40]) + b'"'
        return word

    def broken(self) -> bytes:
        """A request with something done to it, two of them spliced, or mere noise."""
        choose = self.random
        if choose.random() < 0.2:
            return choose.randbytes(choose.randint(1, 80)) + choose.choice([b"", b"\n", b"\r\n"])
        data = bytearray(self.request())
        for _ in range(choose.randint(1, 3)):
            place = choose.randrange(len(data) + 1)
            end = min(len(data), place + choose.randint(1, 9))
            match choose.randrange(6):
                case 0:
                    data[place:end] = b""
                case 1:
                    data[place:place] = data[place:end]
                case 2:
                    data[place:place] = choose.randbytes(choose.randint(1, 9))
                case 3:
                    data[place:end] = choose.choice(ODD)
                case 4:
                    data[place:] = self.request()[choose.randrange(8) :]
                case _:
                    for i in range(place, end):
                        data[i] ^= 1 << choose.randrange(8)
        return bytes(data)


MARK = b"the batch is over"
PATIENCE = 0.1


class Line:
    """A connection that carries noise; opened again whenever the node has closed it.

    Behind each batch goes a PING. Until its answer comes no more is sent: except when none comes
    for a while, because the node was told to be silent, waits for a job or for the rest of a
    request; then more follows, or the connection ends.
    """

    def __init__(self, port: int, noise: Noise) -> None:
        self._port = port
        self._noise = noise
        self.opened = self.errors = self.sent = 0
        self.open()

    def open(self) -> None:
        """Connect, again."""
        self.sock = socket.create_connection(("127.0.0.1", self._port), DEADLINE)
        self.sock.setblocking(False)
        self._unsent = self._tail = b""
        self._answered = True
        self._since = time.monotonic()
        self.opened += 1

    def close(self) -> None:
        """Hang up."""
        self.sock.close()

    def step(self) -> int:
        """Read what is there, send what may be sent; how many requests were begun."""
        try:
            self._read()
            if self._unsent:
                self._send(len(self._unsent))
            elif self._answered or time.monotonic() - self._since > PATIENCE:
                return self._next()
        except (ConnectionError, EOFError):
            self.close()
            self.open()
        return 0

    def _next(self) -> int:
        """Begin the next batch, if this connection is to live on."""
        choose = self._noise.random
        if choose.random() < (0.005 if self._answered else 0.5):
            raise EOFError
        count, batch = self._noise.batch()
        self._unsent = batch + pack(b"PING", MARK)
        self._answered = False
        self._since = time.monotonic()
        self._send(len(self._unsent) if choose.random() < 0.7 else choose.randint(1, 2000))
        return count

    def _send(self, most: int) -> None:
        with contextlib.suppress(BlockingIOError):
            sent = self.sock.send(self._unsent[:most])
            self.sent += sent
            self._unsent = self._unsent[sent:]

    def _read(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while data := self.sock.recv(1 << 16):
                self.errors += data.count(b"\r\n-") + (data[:1] == b"-")
                self._tail = self._tail[-len(MARK) :] + data
                self._answered = self._answered or MARK in self._tail
                if b"-ERR internal error" in self._tail:
                    raise Failure("the node answered with an internal error")
                self._noise.learn(data)
            raise EOFError


# The good client


class GoodClient:
    """Adds, gets, nacks and acknowledges jobs of its own, and insists on the right answers."""

    QUEUE = b"the queue of the good client"

    def __init__(self, port: int, seed: int) -> None:
        self._random = random.Random(seed)
        self._sock = socket.create_connection(("127.0.0.1", port), DEADLINE)
        self._reader = hiredis.Reader()
        self._resting = threading.Event()
        self._may_work = threading.Event()
        self._over = False
        self.jobs = 0
        self.failure: BaseException | None = None
        self._thread = threading.Thread(target=self._work, name="good-client")
        self._thread.start()

    def ask(self, *args: bytes) -> Any:
        """A command's reply, within the deadline."""
        try:
            self._sock.sendall(pack(*args))
            while (reply := self._reader.gets()) is False:
                data = self._sock.recv(1 << 20)
                if not data:
                    raise Failure(f"the node hung up on the good client at {args!r}")
                self._reader.feed(data)
        except TimeoutError:
            raise Failure(f"no answer to {args[0]!r} for {DEADLINE} s") from None
        except ConnectionError as error:
            raise Failure(f"the good client's connection broke: {error}") from None
        return reply

    def expect(self, wanted: object, *args: bytes) -> None:
        """A command that must have just this reply."""
        if (reply := self.ask(*args)) != wanted:
            raise Failure(f"{args!r} gave {reply!r} and not {wanted!r}")

    def _work(self) -> None:
        try:
            while not self._over:
                if self._may_work.is_set():
                    self._resting.clear()
                    self._cycle()
                else:
                    self._resting.set()
                    self._may_work.wait(0.05)
        except BaseException as error:  # noqa: BLE001 - whoever started this thread raises it
            self.failure = error
        finally:
            self._resting.set()

    def _cycle(self) -> None:
        bodies = [self._random.randbytes(self._random.randint(0, 200)) for _ in range(12)]
        jobs = []
        for body in bodies:
            id_ = self.ask(b"ADDJOB", self.QUEUE, body, b"0", b"TTL", b"180", b"RETRY", b"90")
            if not isinstance(id_, bytes) or len(id_) != 40:
                raise Failure(f"ADDJOB gave {id_!r}")
            jobs.append([self.QUEUE, id_, body])
        self.expect(len(jobs), b"QLEN", self.QUEUE)
        self.expect(jobs, b"GETJOB", b"NOHANG", b"COUNT", b"99", b"FROM", self.QUEUE)
        back = self._random.sample(jobs, 3)
        self.expect(3, b"NACK", *[job[1] for job in back])
        back.sort(key=jobs.index)
        again = [[*job, b"nacks", 1, b"additional-deliveries", 0] for job in back]
        self.expect(again, b"GETJOB", b"WITHCOUNTERS", b"COUNT", b"9", b"FROM", self.QUEUE)
        self.expect(90, b"WORKING", jobs[0][1])
        self.expect(len(jobs), b"ACKJOB", *[job[1] for job in jobs])
        self.expect(None, b"GETJOB", b"NOHANG", b"FROM", self.QUEUE)
        self.jobs += len(jobs)

    def check(self) -> None:
        """Raise what went wrong, if anything did."""
        if self.failure:
            raise self.failure

    def work(self) -> None:
        """Begin, or go on."""
        self._may_work.set()

    def rest(self) -> None:
        """Finish what is under way; on return it has no jobs, and its connection may be used."""
        self._may_work.clear()
        self._resting.clear()
        self._resting.wait()
        self.check()

    def resident(self) -> float:
        """MiB the node takes; ask only while the client rests."""
        found = re.search(rb"used_memory_rss:(\d+)", self.ask(b"INFO", b"memory"))
        assert found
        return int(found[1]) / 1024 / 1024

    def close(self) -> None:
        """End the thread and hang up."""
        self._over = True
        self._thread.join()
        self._sock.close()


def run(requests: int, seed: int = 0, connections: int = 12) -> Report:
    """Send so many requests over so many connections; raises `Failure`."""
    started = time.monotonic()
    with node_process() as port, contextlib.ExitStack() as stack:
        good = GoodClient(port, seed)
        stack.callback(good.close)
        noise = Noise(seed)
        lines = [Line(port, noise) for _ in range(connections)]
        for line in lines:
            stack.callback(line.close)
        good.rest()
        before = peak = good.resident()
        after: list[float] = []
        sent = 0
        size = min(ROUND, requests // 10)
        while sent < requests:
            good.work()
            while sent < min(requests, size * (len(after) + 1)):
                select.select([line.sock for line in lines], [], [], 0.01)
                sent += sum(line.step() for line in lines)
                good.check()
            good.rest()
            peak = max(peak, good.resident())
            good.expect(b"OK", b"DEBUG", b"FLUSHALL")
            after.append(good.resident())
        if after[-1] > max(after[1:3]) + LEVEL / 1024 / 1024:
            raise Failure(f"memory grew from round to round: {after} MiB")
        return Report(
            sent,
            sum(line.sent for line in lines) / 1e6,
            sum(line.opened - 1 for line in lines),
            sum(line.errors for line in lines),
            good.jobs,
            before,
            after[-1],
            peak,
            after,
            time.monotonic() - started,
        )


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description="Throw random requests at a node's port.")
    parser.add_argument("--requests", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=random.randrange(2**32))
    parser.add_argument("--connections", type=int, default=12)
    options = parser.parse_args()
    print(f"seed {options.seed}", flush=True)  # noqa: T201
    print(run(options.requests, options.seed, options.connections))  # noqa: T201


if __name__ == "__main__":
    main()
