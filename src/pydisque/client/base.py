"""What both clients have in common: how they are made, and what of them needs no sending.

Nothing here sends, and nothing here knows whether calls are awaited.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import Any, Generic, TypeVar

import redis

from pydisque.client.base_transport import Routing
from pydisque.client.failover import Patience
from pydisque.protocol.addresses import parse_addresses
from pydisque.protocol.command import Command, raw

TransportT = TypeVar("TransportT", bound=Routing[Any, Any])

DEFAULT_NODE = "localhost:7711"

# Seconds after which `jobs` asks again, so that a node which vanished without a word is noticed.
ASK_AGAIN = 10.0


class Facade(Generic[TransportT]):
    """A client without its commands."""

    _make_transport: Callable[..., TransportT]

    def __init__(
        self,
        nodes: str | Iterable[str] | None = None,
        *,
        deadline: float = 10.0,
        backoff: tuple[float, float] = (0.05, 1.0),
        resend_add: bool = True,
        follow_jobs: bool = False,
        discover: bool = True,
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
            discover: Whether to learn of the other nodes of the cluster, and to use them when those
                given do not answer. If false only those given are used. Nodes learnt get the
                password too, but not in the clear on a less safe way: from a Unix socket to no
                port without TLS, from loopback to no other host without TLS.
            **options: Keyword arguments of `redis.Redis`: ``password``, ``username``, ``ssl``,
                ``ssl_*``, ``decode_responses``, ``socket_connect_timeout``, ``socket_timeout``
                (seconds, default 5; a command that waits gets its own timeout and 2 s)...

        Raises:
            ValueError: An argument is not as described.
            TypeError: Likewise, or `redis.Redis` knows no such option.
        """
        if nodes is None:
            nodes = os.environ.get("DISQUE_NODES") or DEFAULT_NODE
        self._transport = self._make_transport(
            parse_addresses(nodes),
            Patience(deadline, backoff),
            options,
            resend_add=resend_add,
            discover=discover,
        )
        self._run: Callable[..., Any] = (
            self._transport.run_and_follow if follow_jobs else self._transport.run
        )
        self._callbacks: Any = None

    @property
    def nodes(self) -> dict[str, Any]:
        """Every node known, given or learnt, by its address; None for one not yet reached."""
        return self._transport.nodes()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {', '.join(self.nodes)}>"

    def _raw(self, *args: Any, **options: Any) -> Command[Any]:
        if self._callbacks is None:
            self._callbacks = redis.Redis(protocol=2).response_callbacks
        callback = self._callbacks.get(args[0]) if args and isinstance(args[0], str) else None
        if callback is None:
            return raw(args, lambda reply: reply)
        return raw(args, lambda reply: callback(reply, **options))


class Waiting:
    """How long `jobs` goes on, and for how long it asks each time; all in milliseconds."""

    def __init__(self, timeout: int | None, now: float) -> None:
        """Begin to wait at a time in seconds; a timeout of None or 0 has no end."""
        self._until = now + timeout / 1000 if timeout else None

    def rest(self, now: float) -> int | None:
        """For how long to ask a node now; None when the time is up."""
        if self._until is None:
            return int(ASK_AGAIN * 1000)
        rest = min(ASK_AGAIN, self._until - now)
        return max(1, int(rest * 1000)) if rest > 0 else None
