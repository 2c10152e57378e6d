"""The client: Disque's commands as methods.

What a command sends and what its reply means stands in `commands`, how it reaches a node in
`transport`; what is left here is what people see.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from time import monotonic
from types import TracebackType
from typing import Any, Concatenate, Literal, ParamSpec, Self, TypeVar, overload

import redis
from redis.exceptions import ConnectionError  # noqa: A004

from pydisque.client.base import Facade, Waiting
from pydisque.client.base_transport import Origin
from pydisque.client.nodes import Node
from pydisque.client.pipeline import Pipeline
from pydisque.client.requeue import HandedOut, by_origin
from pydisque.client.signatures import present
from pydisque.client.transport import ConnectedNode, Transport
from pydisque.protocol import commands, validation
from pydisque.protocol.command import Command
from pydisque.protocol.replies import Job, JobInfo
from pydisque.protocol.validation import Text

P = ParamSpec("P")
R = TypeVar("R")


class ReceivedJob(HandedOut):
    """A `Job` that knows which client received it, and so can be acknowledged by itself."""

    _client: Client

    @classmethod
    def of(cls, client: Client, job: Job, origin: Node | None = None) -> ReceivedJob:
        """The same job, bound to a client and to the node that handed it out."""
        received = cls(job)
        received._client = client
        received.origin = origin
        return received

    def ack(self) -> int:
        """Acknowledge the job, see `Client.ack_job`."""
        return self._client.ack_job(self.id)

    def nack(self, delay: int | None = None) -> int:
        """Give the job back, to come again after so many seconds, see `Client.nack_job`."""
        return self._client.nack_job(self.id, delay=delay)

    def working(self) -> int:
        """Put off the job's next delivery, see `Client.working`."""
        return self._client.working(self.id)

    def __reduce__(self) -> tuple[Any, ...]:
        return Job, (tuple(self),)


def _method(function: Callable[P, Command[R]]) -> Callable[Concatenate[Client, P], R]:
    def method(self: Client, /, *args: P.args, **kwargs: P.kwargs) -> R:
        result: R = self._run(function(*args, **kwargs))
        return result

    return present(method, function, "Client")


class Client(Facade[Transport]):
    """A client of one Disque node, or of all nodes of a cluster, shared by any number of threads.

    >>> client = Client(["localhost:7711", "localhost:7712"])
    >>> client.connect()

    Text in replies is bytes, or str with ``decode_responses=True``.
    """

    _make_transport = Transport

    add_job = _method(commands.add_job)
    add_json = _method(commands.add_json)
    get_job = _method(commands.get_job)
    ack_job = _method(commands.ack_job)
    fast_ack = _method(commands.fast_ack)
    nack_job = _method(commands.nack_job)
    working = _method(commands.working)
    enqueue = _method(commands.enqueue)
    dequeue = _method(commands.dequeue)
    del_job = _method(commands.del_job)
    show = _method(commands.show)
    qlen = _method(commands.qlen)
    qstat = _method(commands.qstat)
    qpeek = _method(commands.qpeek)
    pause = _method(commands.pause)
    qscan = _method(commands.qscan)
    jscan = _method(commands.jscan)
    hello = _method(commands.hello)
    info = _method(commands.info)
    ping = _method(commands.ping)

    # The connection

    def connect(self) -> None:
        """Connect to the first node that answers, in the order given; see `connected_node`.

        Raises:
            redis.exceptions.ConnectionError: None does; the text names each one tried and why.
        """
        self._transport.connect()

    @property
    def connected_node(self) -> ConnectedNode | None:
        """The node in use: ``node_id, host, port, connection``; None when there is none."""
        return self._transport.connected

    @property
    def nodes(self) -> dict[str, ConnectedNode | None]:
        """Every node known, given or learnt, by its address; None for one not yet reached."""
        return self._transport.nodes()

    def get_connection(self) -> redis.Redis:
        """Return a `redis.Redis` for the node in use; its connections are its own.

        Raises:
            redis.exceptions.ConnectionError: There is none; `connect` first.
        """
        node = self.connected_node
        if node is None:
            raise ConnectionError("not connected")
        return node.connection

    def close(self) -> None:
        """Close all connections; commands under way in other threads fail at once.

        The client can be used again: the next command connects.
        """
        self._transport.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    # Beyond single commands

    def execute_command(self, *args: Any, **options: Any) -> Any:
        """Send any command and return its reply, as redis-py returns it for Redis' commands.

        Disque's own replies are returned as they come: lists, int, bytes. A command that is not
        Disque's own is never sent twice.

        Args:
            *args: The command's words: str, bytes, int or float. Not MONITOR, which never ends.
            **options: What redis-py's callback for this command takes.
        """
        return self._run(self._raw(*args, **options))

    def pipeline(self) -> Pipeline:
        """Return an empty `Pipeline`, which sends many commands at once."""
        return Pipeline(self._transport.run_all, self._raw)

    def add_jobs(
        self, queue: Text, bodies: Iterable[Text], **options: Any
    ) -> list[bytes | Exception]:
        """Add many jobs to one queue at once.

        Args:
            queue: The queue's name.
            bodies: The jobs.
            **options: What `add_job` takes, the same for all.

        Returns:
            For each job its ID, or the error that came instead: a `DisqueError`, or a
            `redis.exceptions.ConnectionError` when no node answered.
        """
        each = validation.several("bodies", bodies)
        return self._transport.run_all([commands.add_job(queue, b, **options) for b in each])

    def get_jobs(
        self,
        queues: Iterable[Text],
        timeout: int | None = None,
        count: int | None = None,
        nohang: bool = False,
    ) -> list[ReceivedJob]:
        """Take jobs as `get_job` does, as objects with counters that can be acknowledged.

        ::

            for job in client.get_jobs(["mail"], count=10):
                deliver(job.body)
                job.ack()

        Args:
            queues: Names of queues, at least one.
            timeout: Milliseconds to wait for a job; None or 0: for ever.
            count: The most jobs to return, 1 or more. Default: 1.
            nohang: Do not wait at all.

        Returns:
            A list of `ReceivedJob`, tuples of five; empty when none came in time.
        """
        return self._get(commands.get_job(queues, timeout, count, nohang, withcounters=True))

    def _get(self, command: Command[list[Job]]) -> list[ReceivedJob]:
        origin: Origin = []
        found: list[Job] = self._run(command, origin)
        return [ReceivedJob.of(self, job, origin[0]) for job in found]

    def jobs(
        self, *queues: Text, count: int | None = None, timeout: int | None = None
    ) -> Iterator[ReceivedJob]:
        """Iterate over jobs as they come, for ever.

        ::

            for job in client.jobs("mail"):
                deliver(job.body)
                job.ack()

        When the iteration is left, by ``break`` or an error, the jobs that were fetched and not
        yet given out are put back into their queues at once.

        Args:
            *queues: Names of queues, at least one.
            count: The most jobs to fetch at once, 1 or more. Default: 1.
            timeout: Milliseconds without a job after which the iteration ends; None or 0: never.
        """
        commands.get_job(queues, timeout, count)  # so that a bad argument is refused here and now
        return self._jobs(queues, count, timeout)

    def _jobs(
        self, queues: tuple[Text, ...], count: int | None, timeout: int | None
    ) -> Iterator[ReceivedJob]:
        fetched: deque[ReceivedJob] = deque()
        waiting = Waiting(timeout, monotonic())
        try:
            while (rest := waiting.rest(monotonic())) is not None:
                fetched.extend(self.get_jobs(queues, rest, count))
                if fetched:
                    while fetched:
                        yield fetched.popleft()
                    waiting = Waiting(timeout, monotonic())
        finally:
            self.put_back(fetched)

    def put_back(self, jobs: Iterable[ReceivedJob]) -> None:
        """Put jobs that nobody worked on back into their queues, on the nodes they came from.

        A job to be delivered at most once is made anew under another ID. Where it fails it is
        logged, and the jobs come back after their RETRY.
        """
        for node, each in by_origin(jobs):
            self._transport.put_back(node, each)

    def iter_queues(
        self,
        count: int | None = None,
        minlen: int | None = None,
        maxlen: int | None = None,
        importrate: int | None = None,
    ) -> Iterator[bytes]:
        """Iterate over the names of the node's queues; the arguments are those of `qscan`.

        A queue may come twice, and one made or removed meanwhile may come or not.
        """
        return self._scan(
            lambda cursor: commands.qscan(cursor, count, None, minlen, maxlen, importrate)
        )

    @overload
    def iter_jobs(
        self,
        queue: Text | None = None,
        state: str | Iterable[str] | None = None,
        reply: Literal["id"] | None = None,
        count: int | None = None,
    ) -> Iterator[bytes]: ...
    @overload
    def iter_jobs(
        self,
        queue: Text | None = None,
        state: str | Iterable[str] | None = None,
        *,
        reply: Literal["all"],
        count: int | None = None,
    ) -> Iterator[JobInfo]: ...
    def iter_jobs(
        self,
        queue: Text | None = None,
        state: str | Iterable[str] | None = None,
        reply: Literal["all", "id"] | None = None,
        count: int | None = None,
    ) -> Iterator[Any]:
        """Iterate over the node's jobs; the arguments are those of `jscan`.

        Yields job IDs, or with ``reply="all"`` a `JobInfo` of each. A job may come twice, and one
        made or removed meanwhile may come or not.
        """
        return self._scan(lambda cursor: commands.jscan(cursor, count, None, queue, state, reply))

    def _scan(self, scan: Callable[[Any], Command[list[Any]]]) -> Iterator[Any]:
        first = scan(0)  # now, so that a bad argument is refused before the first element is asked
        return self._pages(first, scan)

    def _pages(
        self, command: Command[list[Any]], scan: Callable[[Any], Command[list[Any]]]
    ) -> Iterator[Any]:
        """Call after call until the cursor is 0; a cursor means nothing to another node."""
        here = self.connected_node
        while True:
            cursor, elements = self._run(command)
            yield from elements
            before, here = here, self.connected_node
            moved = before is not None and before != here
            if not moved and int(cursor) == 0:
                return
            command = scan(0 if moved else cursor)
