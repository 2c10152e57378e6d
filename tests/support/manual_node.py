"""Nodes on Valkey without sockets of their own or an event loop: a test moves them, and the time.

Everything a command passes on its way is the real thing, down to the functions in Valkey, but for
the one line there that asks for the time: it reads a key that the test sets.
"""

from __future__ import annotations

import socket
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from itertools import count
from typing import Any
from unittest import mock

import hiredis

from pydisque.node.state.node import Node, Session
from pydisque.node.store.deferred import Later
from pydisque.node.store.valkey import keys
from pydisque.node.store.valkey.connection import LineLostError, Room
from pydisque.node.store.valkey.keys import Layout
from pydisque.node.store.valkey.store import ValkeyStore
from pydisque.node.store.valkey.url import Place
from support.engines import START
from support.valkeys import ValkeyProcess

LIBRARY = "handdriven"
PREFIX = "hand"
_ASKS_FOR_TIME = 'local time = call("TIME")'
_READS_IT = 'local time = call("HMGET", "clock", "seconds", "microseconds")'
_SHORTEST = Fraction(2, 1000)
"""Seconds that a store waits at most for what is due already."""


def source() -> str:
    """The functions, on the test's clock."""
    rules = keys._FUNCTIONS.replace("@LIBRARY@", LIBRARY)
    assert rules.count(_ASKS_FOR_TIME) == 1
    return rules.replace(_ASKS_FOR_TIME, _READS_IT)


class Clock:
    """The time, and all that is to happen at some."""

    def __init__(self) -> None:
        self.now = START

    @property
    def seconds(self) -> int:
        """Since the epoch."""
        return self.now // 1000


class Timer:
    """What `call_later` gives."""

    def __init__(self, when: Fraction, callback: Callable[[], object]) -> None:
        self.when = when
        self.callback: Callable[[], object] | None = callback

    def cancel(self) -> None:
        """Never call it."""
        self.callback = None


class Loop:
    """As much of an event loop as a store needs. It counts in fractions, so that all is exact."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.soon: deque[Callable[[], object]] = deque()
        self.timers: list[Timer] = []

    def time(self) -> Fraction:
        """Seconds since some moment."""
        return Fraction(self._clock.now - START, 1000)

    def call_soon(self, callback: Callable[..., object], *args: Any) -> None:
        """Call it before time goes on."""
        self.soon.append(lambda: callback(*args))

    def call_later(self, delay: float, callback: Callable[[], object]) -> Timer:
        """Call it once it is time."""
        self.timers.append(Timer(self.time() + Fraction(delay), callback))
        return self.timers[-1]

    def run(self) -> bool:
        """Call what is to be called soon; whether there was anything."""
        some = bool(self.soon)
        while self.soon:
            self.soon.popleft()()
        return some

    def ring(self, early: Fraction) -> bool:
        """Call what it is time for, or will be so soon; whether there was anything."""
        due = [timer for timer in self.timers if timer.when <= self.time() + early]
        self.timers = [timer for timer in self.timers if timer not in due and timer.callback]
        for timer in due:
            if timer.callback:
                timer.callback()
        return bool(due)


class Line:
    """A connection on which each reply is waited for, and given out later."""

    closed = False
    here = "127.0.0.1"
    replicas = 0
    ahead = 0.0
    awaits_copies = False

    def __init__(self, server: ValkeyProcess, node: HandDrivenNode) -> None:
        self._node = node
        self._sock = socket.create_connection(("127.0.0.1", server.port), 10)
        self._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._reader = hiredis.Reader()
        self.room = Room()
        self.exchange("HELLO", 3)

    def exchange(self, *words: Any) -> Any:
        """A command and its reply; what is published meanwhile is kept for later."""
        self._sock.sendall(hiredis.pack_command(words))
        return next(self._read(until=1))

    def subscribe(self, channels: list[bytes]) -> None:
        """Hear of these."""
        self._sock.sendall(hiredis.pack_command(("SSUBSCRIBE", *channels)))
        for _ in self._read(until=len(channels)):
            pass

    def _read(self, until: int) -> Iterator[Any]:
        while until:
            while (reply := self._reader.gets()) is False:
                self._reader.feed(self._sock.recv(1 << 20))
            if type(reply) is hiredis.PushNotification and reply[0] == b"smessage":
                self._node.heard.append(reply)
                continue
            until -= 1
            yield reply

    def listen(self) -> None:
        """Take in all that was published so far."""
        self.exchange("PING")

    def ask(self, words: list[Any], done: Callable[[Any], object]) -> None:
        """Ask now, and give out the reply in a moment."""
        if self.closed:
            self._node.loop.call_soon(done, LineLostError("it is closed", sent=False))
            return
        self._node.loop.call_soon(done, self.exchange(*words))

    def close(self) -> None:
        """Hang up, and wait until the server knows it: who listened there listens no longer."""
        self.closed = True
        self._sock.close()


class Client(Session):
    """A client of a hand-driven node: what it gets is for the test to see."""

    blocked = False

    def __init__(self, node: Node) -> None:
        super().__init__(node)
        self.got: list[bytes] = []

    def limit(self, *, short: bool) -> None:
        """All requests are taken."""

    def send(self, data: bytes) -> None:
        self.got.append(data)

    def close(self) -> None:
        self.node.forget(self)

    abort = close

    def hush(self) -> None:
        """Nothing comes by itself."""

    def in_hand(self) -> bool:
        return False

    def block(self, milliseconds: int) -> None:
        self.blocked = True

    def suspend(self) -> None:
        self.blocked = True

    def time_out(self, milliseconds: int) -> None:
        """It waits until the test ends it."""

    def unblock(self, reply: bytes) -> None:
        self.blocked = False
        self.send(reply)

    def settle(self, commit: int, failure: str) -> None:
        """Nothing is kept."""

    def resume(self) -> None:
        """Nothing was held back."""

    def buffers(self) -> tuple[int, int]:
        return 0, 0

    def memory(self) -> int:
        return 0

    def taken(self) -> list[list[bytes]]:
        """The jobs it got since this was last asked: queue, ID and body of each."""
        reader = hiredis.Reader()
        for data in self.got:
            reader.feed(data)
        self.got.clear()
        jobs: list[list[bytes]] = []
        while (reply := reader.gets()) is not False:
            jobs += reply or []  # nothing if it was sent away
        return jobs


class HandDrivenNode:
    """A node and its store."""

    _numbers = count(1)

    def __init__(self, server: ValkeyProcess, clock: Clock, shards: int) -> None:
        self._clock = clock
        self.loop = Loop(clock)
        self.heard: deque[Any] = deque()
        self.line = Line(server, self)
        with mock.patch("asyncio.get_running_loop", return_value=self.loop):
            self.store = ValkeyStore(Place(hosts=(("127.0.0.1", server.port),)), 5)
            made = self.store._make_shards(Layout(PREFIX, shards))
        self.store.set_node_id(b"%040x" % next(self._numbers))
        self.node = Node({}, self.store)
        token = self.store.node_id
        self.line.subscribe([s.tag + tail for s in made for tail in (b"@" + token, b":due")])
        for shard in made:
            shard.serve_on(self.line, token)  # type: ignore[arg-type]
            self.store._placed(shard)

    def step(self) -> bool:
        """Do what there is to do now; whether there was anything."""
        some = self.loop.run()
        self.line.listen()
        some |= bool(self.heard)
        while self.heard:
            self.store._published(self.line, list(self.heard.popleft()))  # type: ignore[arg-type]
        return self.loop.run() or some

    def ring(self) -> bool:
        """Do what the alarm is set for, if it is time; whether there was anything."""
        is_due = self.store._alarm.due <= self._clock.now
        return self.loop.ring(_SHORTEST if is_due else Fraction(0))

    def client(self) -> Client:
        """Somebody new."""
        return Client(self.node)


class HandDriven:
    """Some such nodes on one Valkey, and the time of all."""

    def __init__(self, server: ValkeyProcess, shards: int) -> None:
        self.clock = Clock()
        self._server = server
        self._shards = shards
        self._wire = Line(server, self)  # type: ignore[arg-type]
        self._wire.exchange("FLUSHALL")
        self._wire.exchange("FUNCTION", "LOAD", "REPLACE", source())
        self.set_time(START)
        self.nodes: list[HandDrivenNode] = []

    def add_node(self) -> HandDrivenNode:
        """One more."""
        with using_library():
            self.nodes.append(HandDrivenNode(self._server, self.clock, self._shards))
            self.settle()
        return self.nodes[-1]

    def set_time(self, now: int) -> None:
        """It is so late for Valkey and for all nodes."""
        self.clock.now = now
        fields = "seconds", now // 1000, "microseconds", now % 1000 * 1000
        self._wire.exchange("HSET", "clock", *fields)

    def settle(self, nodes: Iterable[HandDrivenNode] | None = None) -> None:
        """Let nodes do what they have to do now, until there is nothing left."""
        awake = self.nodes if nodes is None else list(nodes)
        with using_library():
            for _ in range(1000):
                if not any(node.step() for node in awake):
                    return
        raise AssertionError("it goes on and on")

    def pass_time(self, milliseconds: int, nodes: Iterable[HandDrivenNode] | None = None) -> None:
        """Let time pass in one leap; whose alarm rings within it does what is due."""
        awake = self.nodes if nodes is None else list(nodes)
        self.set_time(self.clock.now + milliseconds)
        with using_library():
            for _ in range(100):
                self.settle(awake)
                if not any(node.ring() for node in awake):
                    return
        raise AssertionError("an alarm rings again and again")

    def close(self) -> None:
        """Hang up."""
        for node in self.nodes:
            node.line.close()
        self._wire.close()


@contextmanager
def using_library() -> Iterator[None]:
    """Nodes call the functions on the test's clock."""
    with mock.patch("pydisque.node.store.valkey.shard.LIBRARY", LIBRARY):
        yield


def outcome(answer: Any) -> Callable[[], Any]:
    """What becomes of an answer, once all is settled; an error is its value."""
    told: list[Any] = []
    if isinstance(answer, Later):
        answer.then(told.append, told.append)
    else:
        told.append(answer)

    def read() -> Any:
        [value] = told
        return value

    return read
