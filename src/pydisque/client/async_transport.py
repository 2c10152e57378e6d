"""Carries commands to the nodes and brings back what came of them, in an event loop.

A command first takes the short way: the connection to the node in use that all share, or, if it
waits, an idle one of its own. Everything else, from the first connection to the loss of one, is a
`Journey`. Jobs that arrive for a coroutine that was cancelled are put back where they came from.
Nothing here knows what else the commands mean.
"""

from __future__ import annotations

import asyncio
import contextlib
from asyncio import get_running_loop
from collections.abc import Coroutine, Iterable, Sequence
from contextlib import AbstractAsyncContextManager
from random import random
from typing import Any, NamedTuple, TypeVar

import redis.asyncio
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from pydisque.client.async_connection import LINGER, AsyncConnection
from pydisque.client.async_pool import AsyncLine
from pydisque.client.base_transport import (
    Origin,
    Routing,
    closed_meanwhile,
    first_answer,
    ids_in,
    logger,
)
from pydisque.client.connection import redis_settings
from pydisque.client.failover import Call, Journey, Patience
from pydisque.client.nodes import Node
from pydisque.client.requeue import HandedOut, putting_back, tell_of_failure
from pydisque.errors import ConnectionLostError, DisqueError
from pydisque.protocol import commands
from pydisque.protocol.addresses import Address
from pydisque.protocol.command import SLICE, Command, first_slice, goes_on
from pydisque.protocol.replies import Job, jobs_in

R = TypeVar("R")

_FIRST = (0,)


class AsyncConnectedNode(NamedTuple):
    """A node as users see it; ``connection`` is opened when it is first used."""

    node_id: bytes
    host: str
    port: int
    connection: redis.asyncio.Redis

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.host}:{self.port}>"


class AsyncTransport(Routing[AsyncLine, AsyncConnectedNode]):
    """All lines of one client; it belongs to the loop in which it was first used."""

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
        self.timeout = self._timeout
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closing = asyncio.Event()
        self._openings: set[asyncio.Task[None]] = set()
        self._rescues: set[asyncio.Task[None]] = set()

    # Commands

    async def run(self, command: Command[R], origin: Origin | None = None) -> R:  # noqa: C901 - no call more than needed
        """Send a command to whichever node answers and return its parsed reply.

        Args:
            command: What to send.
            origin: Takes the node that answered, for who wants to know.

        Raises:
            DisqueError: The node refused it.
            redis.exceptions.ConnectionError: No node answered it.
        """
        loop = get_running_loop()
        if loop is not self._loop:
            self._enter(loop)
        if command.takes and command.wait != 0.0:
            return await self._take_jobs(command, loop.time(), origin)
        request = self._pack(command.args)
        started = loop.time()
        line = self._line
        if line is None:
            return await self._travel(command, started, origin=origin)
        connection = line.ready() if line.shares(command) else None
        if connection is None:
            del request  # many may have to wait, and each would keep its bytes twice
            return await self._travel(command, started, origin=origin)
        answer = connection.exchange(request, command.wait, _FIRST if command.takes else ())
        try:
            reply = await answer
        except ConnectionLostError as error:
            return await self._travel(command, started, line, connection, error, origin)
        except asyncio.CancelledError:
            if command.takes and _has_result(answer):  # it came in the same turn of the loop
                self.rescue(line.node, [answer.result()])
            raise
        if isinstance(reply, DisqueError):
            return await self._travel(command, started, line, connection, reply, origin)
        if origin is not None:
            origin.append(line.node)
        try:
            return command.parse(reply)
        except Exception:  # noqa: BLE001 - see Command.misread
            raise command.misread(reply) from None

    async def _take_jobs(self, command: Command[R], started: float, origin: Origin | None) -> R:
        """The same for a GETJOB that waits: in slices, on a connection of its own."""
        line = self._line
        if line is None:
            return await self._travel(command, started, origin=origin)
        args, wait = first_slice(command)
        ends = started + wait
        connection = line.adopt(command, started) if line.orphans else None
        if connection is not None:
            ends = connection.ends
            answer = connection.adopt()
        else:
            connection = line.idle()
            if connection is None:
                return await self._travel(command, started, origin=origin)
            answer = connection.exchange(self._pack(args), wait, _FIRST)
        try:
            reply = await answer
        except ConnectionLostError as error:
            return await self._travel(command, started, line, connection, error, origin)
        except asyncio.CancelledError:
            if _has_result(answer):  # it came in the same turn of the loop
                self.rescue(line.node, [answer.result()])
            raise
        finally:
            line.give_back(connection, [command])
        if reply is None and goes_on(command, ends - SLICE, started, get_running_loop().time()):
            return await self._travel(command, started, line, origin=origin)
        if isinstance(reply, DisqueError):
            return await self._travel(command, started, line, connection, reply, origin)
        return self._parsed(command, reply, line, origin)

    async def run_and_follow(self, command: Command[R], origin: Origin | None = None) -> R:
        """As `run`; in between move to the node that makes most of the jobs received."""
        result = await self.run(command, origin)
        if command.takes:
            self._count(result)
        return result

    async def run_all(self, batch: Sequence[Command[Any]]) -> list[Any]:
        """Send commands together and return their results in order, errors in their places."""
        self._enter(get_running_loop())
        calls = [self._call(command) for command in batch]
        await self._drive(self._journey(calls, get_running_loop().time()), calls)
        return [call.result_or_error() for call in calls]

    async def run_at(self, node: Node, batch: Sequence[Command[Any]]) -> list[Any]:
        """Send commands to this very node, and never again; results as from `run_all`.

        Raises:
            redis.exceptions.RedisError: The node cannot be reached.
        """
        self._enter(get_running_loop())
        calls = [self._call(command) for command in batch]
        for piece, request, wait in self._pieces((call, call.command) for call in calls):
            replies: list[Any] = []
            connection = await self._line_to(node).shared()
            await connection.exchange_all(request, replies, len(piece), wait, ())
            for call, reply in zip(piece, replies, strict=True):
                call.answer(reply)
        return [call.result_or_error() for call in calls]

    async def connect(self) -> None:
        """Use the first node, in the order given, that answers.

        Raises:
            UnreachableError: None does; the text names each one tried and why.
        """
        self._enter(get_running_loop())
        journey, hello = self._first_round(get_running_loop().time())
        await self._drive(journey, [])
        first_answer(hello)

    # Jobs that nobody got

    def rescue(self, node: Node, replies: Iterable[Any]) -> None:
        """Put back, in the background, the jobs in replies to GETJOB that nobody got."""
        jobs = [HandedOut(job) for reply in replies for job in jobs_in(reply)]
        self.put_back_soon([(node, jobs)] if jobs else [])

    async def put_back(self, origins: Iterable[tuple[Node, list[HandedOut]]]) -> None:
        """Put jobs back into their queues on the nodes they came from; see `putting_back`."""
        self._enter(get_running_loop())
        if put_back := self.put_back_soon(origins):
            await asyncio.shield(asyncio.gather(*put_back))  # it goes on, even if we are cancelled

    def put_back_soon(
        self, origins: Iterable[tuple[Node, list[HandedOut]]]
    ) -> list[asyncio.Task[None]]:
        """Begin to."""
        tasks = []
        for node, jobs in origins:
            if self._loop is None or self._loop.is_closed():
                tell_of_failure(node, len(jobs), closed_meanwhile())
            else:
                tasks.append(self._loop.create_task(self._put_back(node, jobs)))
        for task in tasks:
            self._rescues.add(task)
            task.add_done_callback(self._rescues.discard)
        return tasks

    async def _put_back(self, node: Node, jobs: Sequence[Job]) -> None:
        script = putting_back(jobs)
        try:
            batch = next(script)
            while True:
                batch = script.send(await self.run_at(node, batch))
        except StopIteration:
            return
        except RedisError as error:
            tell_of_failure(node, len(jobs), error)

    # The loop

    def _enter(self, loop: asyncio.AbstractEventLoop) -> None:
        """See to it that this is used in one loop; one that was closed gives way to the next."""
        if loop is self._loop:
            return
        if self._loop is not None and not self._loop.is_closed():
            raise RuntimeError(
                "this AsyncClient belongs to another event loop, which is not closed yet;"
                " make one for each loop"
            )
        self._loop = loop
        self._closing = asyncio.Event()
        self._line = None
        self._lines = {node: self._make_line(node) for node in self._nodes}
        self._openings, self._rescues = set(), set()

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Open a connection in the background."""
        task = get_running_loop().create_task(work)
        self._openings.add(task)
        task.add_done_callback(self._openings.discard)

    async def close(self) -> None:
        """Close all connections; commands under way fail at once.

        Jobs that were on their way to one of them are put back, for which the nodes have a few
        seconds.
        """
        loop = get_running_loop()
        if loop is not self._loop:
            if self._loop is None or self._loop.is_closed():
                return
            self._enter(loop)
        closing, self._closing = self._closing, asyncio.Event()
        closing.set()
        self._line = None
        lines = list(self._lines.values())
        patience = self.timeout or LINGER
        await _ended(self._rescues, patience)  # they are on connections that others use
        for task in self._openings:
            task.cancel()
        for line in lines:
            line.abandon()
        await _ended([gone for line in lines for gone in line.gone()], patience)
        await _ended(self._rescues, patience)
        for task in {*self._rescues, *self._openings}:
            task.cancel()
        for line in lines:
            line.close()
            await line.redis.connection_pool.disconnect()
        await _ended([gone for line in lines for gone in line.gone()], patience)
        await _ended(self._rescues | self._openings, patience)

    # The journeys

    async def _travel(
        self,
        command: Command[R],
        started: float,
        line: AsyncLine | None = None,
        connection: AsyncConnection | None = None,
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
        await self._drive(journey, [call])
        if origin is not None:
            origin.append(call.node)
        return call.result()

    async def _drive(self, journey: Journey, calls: list[Call[Any]]) -> None:
        """Take a journey to its end, unless the client is closed meanwhile."""
        now, closing = get_running_loop().time, self._closing
        try:
            while (step := journey.step(now(), random())) is not None:
                if isinstance(step, Node):
                    await self._visit(journey, self._line_to(step), closing)
                else:
                    await _pause(step, closing)
        except BaseException:  # a result that nobody gets may be of jobs
            for call in calls:
                if call.command.takes and call.node is not None:
                    self.rescue(call.node, [call.reply])
            raise

    async def _visit(self, journey: Journey, line: AsyncLine, closing: asyncio.Event) -> None:
        """Send a node what it may get, and tell the journey what came of it."""
        now = get_running_loop().time
        wanted = [command for _, command in journey.calls_for(line.node, now())]
        try:
            if not line.was_open and not all(line.shares(each) or each.takes for each in wanted):
                await line.shared()  # so that it has said whether it is alone
            shared = all(line.shares(each) for each in wanted)
            async with _turn(line, wanted, shared):
                if closing.is_set():
                    raise closed_meanwhile()
                connection = await (line.shared() if shared else line.own())
                try:
                    if not journey.postpone(line.node):
                        await self._send_all(journey, line, connection)
                finally:
                    line.give_back(connection, wanted)
        except RedisError as error:
            if closing.is_set():
                raise closed_meanwhile() from error
            self._leave(line, error)
            journey.failed(line.node, error)

    async def _send_all(
        self, journey: Journey, line: AsyncLine, connection: AsyncConnection
    ) -> None:
        pairs = journey.calls_for(line.node, get_running_loop().time())
        for calls, request, wait in self._pieces(pairs):
            if not await self._send(journey, line, connection, calls, request, wait):
                return
        self._use(line)

    async def _send(
        self,
        journey: Journey,
        line: AsyncLine,
        connection: AsyncConnection,
        calls: list[Call[Any]],
        request: bytes,
        wait: float | None,
    ) -> bool:
        """Send one piece; false if the node is not to be used any longer."""
        await connection.writable()
        replies: list[Any] = []
        takes = [at for at, call in enumerate(calls) if call.command.takes]
        answered = connection.exchange_all(request, replies, len(calls), wait, takes)
        try:
            await answered
        except ConnectionLostError as error:
            if not connection.abandoned:  # else what came is put back by the connection
                self._take(journey, line, calls, replies, get_running_loop().time())
            self._lost(journey, line, connection, calls[len(replies) :], error)
            return False
        except asyncio.CancelledError:
            if _has_result(answered):  # it came in the same turn of the loop
                self._take(journey, line, calls, replies, get_running_loop().time())
            raise
        return self._take(journey, line, calls, replies, get_running_loop().time())

    def _lost(
        self,
        journey: Journey,
        line: AsyncLine,
        connection: AsyncConnection,
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

    def _seen(self, node_id: Any, host: str, port: int, connection: Any) -> AsyncConnectedNode:
        return AsyncConnectedNode(node_id, host, port, connection)

    def _make_line(self, node: Node) -> AsyncLine:
        cls = redis.asyncio.Redis
        settings = redis_settings(cls, node.address, self._options)
        return AsyncLine(node, cls(**settings, retry=Retry(NoBackoff(), 0)), self)

    def learn(self, line: AsyncLine, hello: list[Any]) -> None:
        """Take in what a node said of itself when a connection was opened."""
        self._nodes.learn(line.node, hello)

    def _count(self, jobs: Any) -> None:
        """Count jobs and perhaps move, in the background, as the jobs are here to be worked on."""
        here = self._line
        if self._following.received(ids_in(jobs)) and here is not None:
            self.spawn(self._follow(here))

    async def _follow(self, here: AsyncLine) -> None:
        try:
            hello = await self.run(commands.hello())
            if self._line is here:
                self._nodes.learn(here.node, hello)
            best = self._following.choose(self._nodes, here.node)
            if best is not None:
                there = self._line_to(best)
                await there.shared()
                self._use(there)
        except RedisError as error:
            logger.info("cannot move to where the jobs are made: %s", error)


def _turn(
    line: AsyncLine, wanted: list[Command[Any]], shared: bool
) -> AbstractAsyncContextManager[Any]:
    """A turn for jobs to be copied: a cluster is not to be stormed with connections."""
    if shared or any(command.takes for command in wanted):
        return contextlib.nullcontext()
    return line.copying


def _has_result(future: asyncio.Future[Any]) -> bool:
    return future.done() and not future.cancelled() and future.exception() is None


async def _ended(work: Iterable[asyncio.Future[Any]], seconds: float) -> None:
    """Wait for all of it, but not for ever."""
    if futures := list(work):
        await asyncio.wait(futures, timeout=seconds)


async def _pause(seconds: float, closing: asyncio.Event) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await closing.wait()
    if closing.is_set():
        raise closed_meanwhile()
