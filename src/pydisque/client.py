"""The client: Disque's commands as methods.

What a command sends and what its reply means stands in `commands`, how it reaches a node in
`transport`; what is left here is what people see.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from types import TracebackType
from typing import Any, Concatenate, Literal, ParamSpec, Self, TypeVar, overload

import redis
from redis.exceptions import ConnectionError  # noqa: A004

from pydisque import arguments, commands
from pydisque.addresses import parse_addresses
from pydisque.arguments import Text
from pydisque.binding import present
from pydisque.command import Command, raw
from pydisque.journey import Patience
from pydisque.pipeline import Pipeline
from pydisque.replies import Job, JobInfo
from pydisque.transport import ConnectedNode, Transport

P = ParamSpec("P")
R = TypeVar("R")

DEFAULT_NODE = "localhost:7711"


class ReceivedJob(Job):
    """A `Job` that knows which client received it, and so can be acknowledged by itself."""

    _client: Client

    @classmethod
    def of(cls, client: Client, job: Job) -> ReceivedJob:
        """The same job, bound to a client."""
        received = cls(job)
        received._client = client
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
        return self._run(function(*args, **kwargs))

    return present(method, function, "Client")


class Client:
    """A client of one Disque node, or of all nodes of a cluster, shared by any number of threads.

    >>> client = Client(["localhost:7711", "localhost:7712"])
    >>> client.connect()

    Text in replies is bytes, or str with ``decode_responses=True``.
    """

    def __init__(
        self,
        nodes: str | Iterable[str] | None = None,
        *,
        deadline: float = 10.0,
        backoff: tuple[float, float] = (0.05, 1.0),
        resend_add: bool = True,
        follow_jobs: bool = False,
        **options: Any,
    ) -> None:
        """Make a client; it connects with its first command, or with `connect`.

        Args:
            nodes: Where the nodes are: ``"host:port"``, ``"[::1]:7711"``, ``"unix:/path"``,
                ``"disque://[user:password@]host:port[,host:port...]"``, ``disques://`` for TLS;
                or a list of these. Default: the environment variable ``DISQUE_NODES``, else
                ``localhost:7711``.
            deadline: Seconds after which a command that no node answers is given up, once all
                nodes have been tried.
            backoff: Seconds of the first and of the longest pause between rounds of tries.
            resend_add: Whether an ADDJOB whose connection broke is sent to the other nodes, at
                most once to each; the job may then be added twice. If false it raises
                `ConnectionLostError` instead.
            follow_jobs: Whether to move to the node that makes most of the jobs received.
            **options: Keyword arguments of `redis.Redis`: ``password``, ``username``, ``ssl``,
                ``ssl_*``, ``decode_responses``, ``socket_connect_timeout``, ``socket_timeout``
                (seconds, default 5; a command that waits gets its own timeout and 2 s)...

        Raises:
            ValueError: An argument is not as described.
            TypeError: Likewise, or `redis.Redis` knows no such option.
        """
        if nodes is None:
            nodes = os.environ.get("DISQUE_NODES") or DEFAULT_NODE
        self._transport = Transport(
            parse_addresses(nodes),
            Patience(deadline, backoff),
            options,
            resend_add=resend_add,
        )
        self._run = self._transport.run_and_follow if follow_jobs else self._transport.run
        self._callbacks: Any = None

    add_job = _method(commands.add_job)
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

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {', '.join(self.nodes)}>"

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

    def _raw(self, *args: Any, **options: Any) -> Command[Any]:
        if self._callbacks is None:
            self._callbacks = redis.Redis(protocol=2).response_callbacks
        callback = self._callbacks.get(args[0]) if args and isinstance(args[0], str) else None
        if callback is None:
            return raw(args, lambda reply: reply)
        return raw(args, lambda reply: callback(reply, **options))

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
        each = arguments.several("bodies", bodies)
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
        found = self.get_job(queues, timeout, count, nohang, withcounters=True)
        return [ReceivedJob.of(self, job) for job in found]

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
