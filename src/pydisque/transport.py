"""Carries commands to the nodes and brings back what came of them, for threads that block.

A command first takes the short way: an idle connection to the node in use. Everything else, from
the first connection to the loss of one, is a `Journey`. A connection in use belongs to one thread,
so threads share a transport without a lock around what they send. Nothing here knows what the
commands mean.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Iterable, Sequence
from random import random
from time import monotonic
from typing import Any, NamedTuple, TypeVar

import redis
from redis.exceptions import RedisError

from pydisque import commands
from pydisque.addresses import Address
from pydisque.command import Command
from pydisque.connection import Connection, Line, redis_client
from pydisque.errors import ConnectionLostError, DisqueError
from pydisque.journey import Call, Journey, Patience
from pydisque.nodes import Node
from pydisque.put_back import putting_back, tell_of_failure
from pydisque.replies import Job
from pydisque.routing import Origin, Routing, closed_meanwhile, first_answer, ids_in, logger

R = TypeVar("R")


class ConnectedNode(NamedTuple):
    """A node as users see it; ``connection`` is opened when it is first used."""

    node_id: bytes
    host: str
    port: int
    connection: redis.Redis

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.host}:{self.port}>"


class Transport(Routing[Line, ConnectedNode]):
    """All lines of one client."""

    def __init__(
        self,
        addresses: Iterable[Address],
        patience: Patience,
        options: dict[str, Any],
        *,
        resend_add: bool,
        discover: bool,
    ) -> None:
        super().__init__(addresses, patience, options, resend_add=resend_add, discover=discover)
        self._lock = threading.Lock()  # held while nodes or jobs are counted, never while sending
        self._closing = threading.Event()
        _TRANSPORTS.add(self)

    def run(self, command: Command[R], origin: Origin | None = None) -> R:
        """Send a command to whichever node answers and return its parsed reply.

        Args:
            command: What to send.
            origin: Takes the node that answered, for who wants to know.

        Raises:
            DisqueError: The node refused it.
            redis.exceptions.ConnectionError: No node answered it.
        """
        started = monotonic()
        request = self._pack(command.args)
        line = self._line
        connection = None if line is None else line.idle(started)
        if line is None or connection is None:
            return self._travel(command, started, origin=origin)
        replies: list[Any] = []
        try:
            connection.exchange(request, replies, 1, command.wait)
        except ConnectionLostError as error:
            return self._travel(command, started, line, connection, error, origin)
        line.give_back(connection)
        reply = replies[0]
        if isinstance(reply, DisqueError):
            return self._travel(command, started, line, connection, reply, origin)
        if origin is not None:
            origin.append(line.node)
        try:
            return command.parse(reply)
        except Exception:  # noqa: BLE001 - see Command.misread
            raise command.misread(reply) from None

    def run_and_follow(self, command: Command[R], origin: Origin | None = None) -> R:
        """As `run`; in between move to the node that makes most of the jobs received."""
        result = self.run(command, origin)
        if command.takes:
            self._follow(result)
        return result

    def run_all(self, batch: Sequence[Command[Any]]) -> list[Any]:
        """Send commands together and return their results in order, errors in their places."""
        calls = [self._call(command) for command in batch]
        self._drive(self._journey(calls, monotonic()))
        return [call.result_or_error() for call in calls]

    def run_at(self, node: Node, batch: Sequence[Command[Any]]) -> list[Any]:
        """Send commands to this very node, and never again; results as from `run_all`.

        Raises:
            redis.exceptions.RedisError: The node cannot be reached.
        """
        line = self._line_to(node)
        connection = line.idle(monotonic()) or self._open(line)
        calls = [self._call(command) for command in batch]
        for piece, request, wait in self._pieces((call, call.command) for call in calls):
            replies: list[Any] = []
            connection.exchange(request, replies, len(piece), wait)
            for call, reply in zip(piece, replies, strict=True):
                call.answer(reply)
        line.give_back(connection)
        return [call.result_or_error() for call in calls]

    def put_back(self, node: Node, jobs: Sequence[Job]) -> None:
        """Put jobs back into their queues on the node they came from; see `putting_back`."""
        script = putting_back(jobs)
        try:
            batch = next(script)
            while True:
                batch = script.send(self.run_at(node, batch))
        except StopIteration:
            return
        except RedisError as error:
            tell_of_failure(node, len(jobs), error)

    def connect(self) -> None:
        """Use the first node, in the order given, that answers.

        Raises:
            UnreachableError: None does; the text names each one tried and why.
        """
        journey, hello = self._first_round(monotonic())
        self._drive(journey)
        first_answer(hello)

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
        origin: Origin | None = None,
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
        if origin is not None:
            origin.append(call.node)
        return call.result()

    def _drive(self, journey: Journey) -> None:
        """Take a journey to its end, unless the client is closed meanwhile."""
        closing = self._closing
        while (step := journey.step(monotonic(), random())) is not None:
            if isinstance(step, Node):
                self._visit(journey, self._line_to(step), closing)
            elif closing.wait(step):
                raise closed_meanwhile()

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
            raise closed_meanwhile()
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
            raise closed_meanwhile() from error
        line.close_idle()
        self._leave(line, error)
        journey.broke(line.node, calls if error.sent else [], error)

    # The lines

    def _seen(self, node_id: Any, host: str, port: int, connection: Any) -> ConnectedNode:
        return ConnectedNode(node_id, host, port, connection)

    def _make_line(self, node: Node) -> Line:
        return Line(node, redis_client(node.address, self._options))

    def _open(self, line: Line) -> Connection:
        connection, hello = line.open()
        with self._lock:
            self._nodes.learn(line.node, hello)
        return connection

    def _follow(self, jobs: Any) -> None:
        """Count jobs and perhaps move; whatever fails in this, the jobs are safe."""
        here = self._line
        with self._lock:
            if not self._following.received(ids_in(jobs)) or here is None:
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


_TRANSPORTS: weakref.WeakSet[Transport] = weakref.WeakSet()


def _after_fork() -> None:
    for transport in list(_TRANSPORTS):
        transport.after_fork()


os.register_at_fork(after_in_child=_after_fork)
