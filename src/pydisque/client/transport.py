"""Carries commands to the nodes and brings back what came of them, for threads that block.

A command first takes the short way: an idle connection to the node in use. Everything else, from
the first connection to the loss of one, is a `Journey`. A connection in use belongs to one thread,
so threads share a transport without a lock around what they send. Nothing here knows what the
commands mean.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import threading
import weakref
from collections.abc import Iterable, Sequence
from random import random
from time import monotonic, sleep
from typing import Any, NamedTuple, TypeVar

import redis
from redis.exceptions import RedisError

from pydisque.client.base_transport import (
    Origin,
    Routing,
    closed_meanwhile,
    first_answer,
    ids_in,
    logger,
)
from pydisque.client.connection import SLACK, Connection, Line, redis_client
from pydisque.client.failover import Call, Journey, Patience
from pydisque.client.nodes import Node
from pydisque.client.requeue import putting_back, tell_of_failure
from pydisque.errors import ConnectionLostError, DisqueError, UnexpectedReplyError
from pydisque.protocol import commands
from pydisque.protocol.addresses import Address
from pydisque.protocol.command import SLICE, Command, first_slice, goes_on, shortened
from pydisque.protocol.replies import Job, jobs_in

R = TypeVar("R")

# Seconds between two looks at connections whose callers were interrupted.
LOOK_AT_ORPHANS = 0.01

# Seconds that a node has at the end for replies whose callers were interrupted.
LAST_WAIT = 1.0


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
        self._keeper: threading.Thread | None = None
        self._returned: list[tuple[Node, list[Job]]] = []
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
        if command.takes:
            return self._take_jobs(command, origin)
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

    def _take_jobs(  # noqa: C901, PLR0912 - one function, as each call more is felt
        self, command: Command[R], origin: Origin | None
    ) -> R:
        """The same for GETJOB: it waits in slices, and jobs in its reply are not to be lost."""
        started = monotonic()
        line = self._line
        if line is None:
            return self._travel(command, started, origin=origin)
        args, wait = first_slice(command)
        ends = started + wait
        connection: Connection | None = None
        replies: list[Any] = []
        request = b""
        try:
            if line.orphans and wait:
                connection = line.adopt(command, started)
            if connection is not None:
                ends = connection.ends
            elif (connection := line.idle(started)) is not None:
                request = self._pack(args)
            if connection is not None:
                connection.exchange(request, replies, 1, wait, True)
                connection.due = 0
                line.give_back(connection)
                if type(replies[0]) is list:  # the rest is seldom
                    if origin is not None:
                        origin.append(line.node)
                    try:
                        return command.parse(replies[0])
                    except Exception:  # noqa: BLE001 - see Command.misread
                        raise command.misread(replies[0]) from None
        except ConnectionLostError as error:
            return self._travel(command, started, line, connection, error, origin)
        except UnexpectedReplyError:
            raise
        except BaseException:
            sent = command._replace(args=args, wait=wait)
            if connection is not None:
                self._keep_orphan(line, connection, [sent], replies, ends)
            raise
        if connection is None:
            return self._travel(command, started, origin=origin)
        reply = replies[0]
        if isinstance(reply, DisqueError):
            return self._travel(command, started, line, connection, reply, origin)
        if reply is None and goes_on(command, ends - SLICE, started, monotonic()):
            return self._travel(command, started, line, origin=origin)
        return self._parsed(command, reply, line, origin)

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
        self.end_orphans()
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
                self._take(journey, line, [call], [error], started)
        elif line is not None:
            journey.go_on(line.node, call)
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
        takes = any(call.command.takes for call in calls)
        try:
            connection.exchange(request, replies, len(calls), wait, takes)
        except ConnectionLostError as error:
            self._take(journey, line, calls, replies, monotonic())
            self._lost(journey, line, connection, calls[len(replies) :], error)
            return False
        except BaseException:
            sent = [shortened(call.command, 0.0) for call in calls]
            self._keep_orphan(line, connection, sent, replies, monotonic() + (wait or SLICE))
            self._use(line)  # so that the next call finds what is on its way
            raise
        return self._take(journey, line, calls, replies, monotonic())

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

    # Replies whose callers were interrupted: by Ctrl-C, by gevent.Timeout, …

    def _keep_orphan(
        self,
        line: Line,
        connection: Connection,
        commands: Sequence[Command[Any]],
        replies: list[Any],
        ends: float,
    ) -> None:
        """Have jobs put back that came, and those that may still come. Sends nothing itself."""
        jobs = _jobs_in(commands, replies)
        with self._lock:
            if connection.due:
                connection.wants, connection.ends = commands[len(replies) :], ends
                line.orphans.append(connection)
            if jobs:
                self._returned.append((line.node, jobs))
            if (connection.due or jobs) and self._keeper is None:
                self._keeper = threading.Thread(
                    target=self._watch_orphans, name="pydisque-orphans", daemon=True
                )
                self._keeper.start()

    def _watch_orphans(self) -> None:
        """Put back what comes until nothing more can; this runs in a thread of its own."""
        while True:
            with self._lock:
                if not self._returned and not any(line.orphans for line in self._lines.values()):
                    self._keeper = None
                    return
            while self._returned:
                self.put_back(*self._returned.pop())
            for line in list(self._lines.values()):
                for connection in line.orphans[:]:
                    over = monotonic() > connection.ends + SLACK
                    if (over or connection.has_input()) and line.claim(connection):
                        if over:
                            connection.close()
                        self._end_orphan(line, connection)
            sleep(LOOK_AT_ORPHANS)

    def _end_orphan(self, line: Line, connection: Connection) -> None:
        """Read the replies that are due, and put back the jobs in them."""
        replies: list[Any] = []
        if not connection.closed:
            with contextlib.suppress(ConnectionLostError):
                connection.exchange(b"", replies, len(connection.wants), 0.0)
        connection.due = 0
        jobs = _jobs_in(connection.wants, replies)
        line.give_back(connection)
        if jobs:
            self.put_back(line.node, jobs)

    def end_orphans(self) -> None:
        """Have the nodes forget the waits of interrupted callers, and put back what they sent."""
        for line in list(self._lines.values()):
            for connection in line.orphans[:]:
                if line.claim(connection):
                    connection.half_close()
                    connection.limit(LAST_WAIT)
                    self._end_orphan(line, connection)
        while self._returned:
            self.put_back(*self._returned.pop())

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
        self._keeper, self._returned = None, []
        for line in list(self._lines.values()):
            line.forget()


_TRANSPORTS: weakref.WeakSet[Transport] = weakref.WeakSet()


def _after_fork() -> None:
    for transport in list(_TRANSPORTS):
        transport.after_fork()


def _at_exit() -> None:
    for transport in list(_TRANSPORTS):
        transport.end_orphans()


def _jobs_in(commands: Sequence[Command[Any]], replies: Sequence[Any]) -> list[Job]:
    pairs = zip(commands, replies, strict=False)
    return [job for command, reply in pairs if command.takes for job in jobs_in(reply)]


os.register_at_fork(after_in_child=_after_fork)
atexit.register(_at_exit)
