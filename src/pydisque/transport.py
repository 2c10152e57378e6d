"""Carries commands to the nodes and brings back what came of them, for threads that block.

A command first takes the short way: an idle connection to the node in use. Everything else, from
the first connection to the loss of one, is a `Journey`. A connection in use belongs to one thread,
so threads share a transport without a lock around what they send. Nothing here knows what the
commands mean.
"""

from __future__ import annotations

import logging
import os
import threading
import weakref
from collections.abc import Iterable, Iterator, Sequence
from random import random
from time import monotonic
from typing import Any, NamedTuple, TypeVar

import redis
from redis.exceptions import RedisError

from pydisque import commands
from pydisque.addresses import Address
from pydisque.command import Command, Resend
from pydisque.connection import Connection, Line, packer, redis_client
from pydisque.errors import ConnectionLostError, DisqueError, UnreachableError
from pydisque.journey import Call, Journey, Patience
from pydisque.nodes import Following, Node, Nodes

R = TypeVar("R")

DEFAULT_TIMEOUT = 5.0

# A piece small enough to fit the buffers on the way, so that a node which stops reading until its
# replies are fetched cannot keep us from fetching them.
PIECE_BYTES = 32768
PIECE_COMMANDS = 256

logger = logging.getLogger("pydisque")


class ConnectedNode(NamedTuple):
    """A node as users see it; ``connection`` is opened when it is first used."""

    node_id: bytes
    host: str
    port: int
    connection: redis.Redis

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.host}:{self.port}>"


class Transport:
    """All lines of one client."""

    def __init__(
        self,
        addresses: Iterable[Address],
        patience: Patience,
        options: dict[str, Any],
        *,
        resend_add: bool,
    ) -> None:
        timeout: float | None = options.get("socket_timeout", DEFAULT_TIMEOUT)
        timeouts = {"socket_timeout": timeout, "socket_connect_timeout": timeout}
        self._options = timeouts | options
        self._pack = packer(options)
        self._patience = patience
        self._resend_add = resend_add
        self._following = Following()
        self._nodes = Nodes(addresses)
        self._lines: dict[Node, Line] = {}
        self._line: Line | None = None
        self._lock = threading.Lock()  # held while nodes or jobs are counted, never while sending
        self._closing = threading.Event()
        for node in self._nodes:
            self._line_to(node)
        _TRANSPORTS.add(self)

    def run(self, command: Command[R]) -> R:
        """Send a command to whichever node answers and return its parsed reply.

        Raises:
            DisqueError: The node refused it.
            redis.exceptions.ConnectionError: No node answered it.
        """
        started = monotonic()
        request = self._pack(command.args)
        line = self._line
        connection = None if line is None else line.idle(started)
        if line is None or connection is None:
            return self._travel(command, started)
        replies: list[Any] = []
        try:
            connection.exchange(request, replies, 1, command.wait)
        except ConnectionLostError as error:
            return self._travel(command, started, line, connection, error)
        line.give_back(connection)
        reply = replies[0]
        if isinstance(reply, DisqueError):
            return self._travel(command, started, line, connection, reply)
        return command.parse(reply)

    def run_and_follow(self, command: Command[R]) -> R:
        """As `run`; in between move to the node that makes most of the jobs received."""
        result = self.run(command)
        if command.name == "GETJOB":
            self._follow(result)
        return result

    def run_all(self, batch: Sequence[Command[Any]]) -> list[Any]:
        """Send commands together and return their results in order, errors in their places."""
        calls = [self._call(command) for command in batch]
        self._drive(self._journey(calls, monotonic()))
        return [call.error or call.result() for call in calls]

    def connect(self) -> None:
        """Use the first node, in the order given, that answers.

        Raises:
            UnreachableError: None does; the text names each one tried and why.
        """
        self._line = None
        self._nodes.forgive()
        hello = Call(commands.hello())
        once = Patience(0, (0, 0))
        self._drive(Journey(self._nodes, [hello], once, monotonic()))
        if isinstance(hello.error, DisqueError):
            raise UnreachableError(f"no node answered as it should ({hello.error})")
        hello.result()

    @property
    def connected(self) -> ConnectedNode | None:
        """The node in use."""
        line = self._line
        return None if line is None else self._record(line)

    def nodes(self) -> dict[str, ConnectedNode | None]:
        """Every node known by its address; None for one that was never reached."""
        lines = {str(node.address): self._lines.get(node) for node in self._nodes}
        return {
            name: self._record(line) if line and line.was_open else None
            for name, line in lines.items()
        }

    def close(self) -> None:
        """Close all connections; a command under way in another thread fails at once."""
        closing, self._closing = self._closing, threading.Event()
        closing.set()
        self._line = None
        for line in list(self._lines.values()):
            line.close()

    # The journeys

    def _travel(
        self,
        command: Command[R],
        started: float,
        line: Line | None = None,
        connection: Connection | None = None,
        error: ConnectionLostError | DisqueError | None = None,
    ) -> R:
        """Find a node for a command, after what the short way came to, if it was taken."""
        call = self._call(command)
        journey = self._journey([call], started)
        if line is not None and connection is not None:
            if isinstance(error, ConnectionLostError):
                self._lost(journey, line, connection, [call], error)
            else:
                self._take(journey, line, [call], [error])
        self._drive(journey)
        return call.result()

    def _call(self, command: Command[R]) -> Call[R]:
        if command.resend is Resend.ONCE_PER_NODE and not self._resend_add:
            command = command._replace(resend=Resend.NEVER)
        return Call(command)

    def _journey(self, calls: list[Call[Any]], started: float) -> Journey:
        line = self._line
        here = None if line is None else line.node
        return Journey(self._nodes, calls, self._patience, started, here)

    def _drive(self, journey: Journey) -> None:
        """Take a journey to its end, unless the client is closed meanwhile."""
        closing = self._closing
        while (step := journey.step(monotonic(), random())) is not None:
            if isinstance(step, Node):
                self._visit(journey, self._line_to(step), closing)
            elif closing.wait(step):
                raise _closed()

    def _visit(self, journey: Journey, line: Line, closing: threading.Event) -> None:
        """Send a node what it may get, and tell the journey what came of it."""
        try:
            connection = line.idle(monotonic()) or self._open(line)
        except RedisError as error:
            self._leave(line, error)
            journey.failed(line.node, error)
            return
        if closing.is_set():  # whoever closed may not have seen this connection
            connection.close()
            raise _closed()
        if not journey.postpone(line.node):
            pieces = list(self._pieces(journey.calls_for(line.node, monotonic())))
            if all(self._send(journey, line, connection, *piece) for piece in pieces):
                self._use(line)
        line.give_back(connection)

    def _send(
        self,
        journey: Journey,
        line: Line,
        connection: Connection,
        calls: list[Call[Any]],
        request: bytes,
        wait: float | None,
    ) -> bool:
        """Send one piece; false if the node is not to be used any longer."""
        replies: list[Any] = []
        try:
            connection.exchange(request, replies, len(calls), wait)
        except ConnectionLostError as error:
            self._take(journey, line, calls, replies)
            self._lost(journey, line, connection, calls[len(replies) :], error)
            return False
        return self._take(journey, line, calls, replies)

    def _take(
        self, journey: Journey, line: Line, calls: list[Call[Any]], replies: list[Any]
    ) -> bool:
        """Give the calls their replies; false if the node sends any elsewhere."""
        refusal = journey.answered(line.node, calls, replies)
        if refusal is not None:
            self._leave(line, refusal)
        return refusal is None

    def _lost(
        self,
        journey: Journey,
        line: Line,
        connection: Connection,
        calls: list[Call[Any]],
        error: ConnectionLostError,
    ) -> None:
        """A connection broke: the others to this node are as good as lost."""
        if connection.abandoned:
            raise _closed() from error
        line.close_idle()
        self._leave(line, error)
        journey.broke(line.node, calls if error.sent else [], error)

    def _pieces(
        self, pairs: Iterable[tuple[Call[Any], Command[Any]]]
    ) -> Iterator[tuple[list[Call[Any]], bytes, float | None]]:
        """Calls in pieces to be sent at once, each with its bytes and the longest wait in it."""
        calls: list[Call[Any]] = []
        request = bytearray()
        wait: float | None = 0.0
        for call, command in pairs:
            packed = self._pack(command.args)
            full = len(request) + len(packed) > PIECE_BYTES or len(calls) == PIECE_COMMANDS
            if calls and full:
                yield calls, bytes(request), wait
                calls, request, wait = [], bytearray(), 0.0
            calls.append(call)
            request += packed
            wait = None if wait is None or command.wait is None else max(wait, command.wait)
        if calls:
            yield calls, bytes(request), wait

    # The lines

    def _line_to(self, node: Node) -> Line:
        line = self._lines.get(node)
        if line is None:
            made = Line(node, redis_client(node.address, self._options))
            line = self._lines.setdefault(node, made)  # another thread may have been faster
        return line

    def _open(self, line: Line) -> Connection:
        connection, hello = line.open()
        with self._lock:
            self._nodes.learn(line.node, hello)
        return connection

    def _use(self, line: Line) -> None:
        line.node.failing = False
        if self._line is not line:
            self._line = line
            logger.info("using node %s", line.node.address)

    def _leave(self, line: Line, error: Exception) -> None:
        if self._line is line:
            self._line = None
        if not line.node.failing:  # say it once, not in every round
            line.node.failing = True
            logger.warning("node %s: %s", line.node.address, error)

    def _record(self, line: Line) -> ConnectedNode:
        node_id: Any = line.node.id or ""
        if not self._options.get("decode_responses"):
            node_id = node_id.encode()
        address = line.node.address
        return ConnectedNode(node_id, address.path or address.host, address.port, line.redis)

    def _follow(self, jobs: Any) -> None:
        """Count jobs and perhaps move; whatever fails in this, the jobs are safe."""
        here = self._line
        with self._lock:
            if not self._following.received(job[1] for job in jobs or ()) or here is None:
                return
        try:
            hello = self.run(commands.hello())
            with self._lock:
                if self._line is here:
                    self._nodes.learn(here.node, hello)
                best = self._following.choose(self._nodes, here.node)
            if best is not None:
                there = self._line_to(best)
                there.give_back(there.idle(monotonic()) or self._open(there))
                self._use(there)
        except RedisError as error:
            logger.info("cannot move to where the jobs are made: %s", error)

    def after_fork(self) -> None:
        """Leave the parent's connections to the parent."""
        self._lock = threading.Lock()
        self._closing = threading.Event()
        for line in list(self._lines.values()):
            line.forget()


def _closed() -> ConnectionLostError:
    return ConnectionLostError("the client was closed meanwhile")


_TRANSPORTS: weakref.WeakSet[Transport] = weakref.WeakSet()


def _after_fork() -> None:
    for transport in list(_TRANSPORTS):
        transport.after_fork()


os.register_at_fork(after_in_child=_after_fork)
