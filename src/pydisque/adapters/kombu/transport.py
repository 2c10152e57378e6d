"""The transport: what kombu makes of a URL that begins with ``disque://``.

It sends by a `Client`, and fetches by an engine in a thread of its own, whose bell a hub can poll.
Neither gives up when a node goes away, so kombu hears of no loss.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from time import monotonic
from typing import Any

from kombu.transport import virtual
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from pydisque._version import __version__
from pydisque.adapters.kombu.bindings import REPEAT, Bindings
from pydisque.adapters.kombu.channel import Channel
from pydisque.adapters.kombu.consumer import Engine
from pydisque.adapters.kombu.messages import DEFAULT_PORT, Options, nodes_of_connection, safe_url
from pydisque.adapters.priorities import Steps
from pydisque.client.client import Client

_Base: Any = virtual.Transport  # kombu says little of its types


class Transport(_Base):
    """Celery's way to Disque."""

    Channel = Channel
    can_parse_url = True
    default_port = DEFAULT_PORT
    driver_type = "disque"
    driver_name = "pydisque"
    connection_errors = (
        *_Base.connection_errors,
        RedisConnectionError,
        RedisTimeoutError,
        OSError,
    )
    recoverable_channel_errors = ()
    implements = _Base.implements.extend(
        asynchronous=True, exchange_type=frozenset(["direct", "topic", "fanout"])
    )

    def __init__(self, client: Any, **kwargs: Any) -> None:
        """Take what kombu knows of the connection; nothing is opened yet."""
        super().__init__(client, **kwargs)
        options = Options.of(client.transport_options)
        tls = client.ssl if isinstance(client.ssl, dict) else {"ssl": True} if client.ssl else {}
        self.options = options.with_client(tls, client.connect_timeout)
        self.nodes = nodes_of_connection(client)
        self.disque = Client(self.nodes, **self.options.client)
        self.bindings = Bindings(self.disque)
        self.steps: dict[str, Steps] = {}
        self.passing: dict[str, int | None] = {}
        """Queues that live as long as their consumers, and the lives of their messages."""
        self.configured: set[str] = set()
        """Exchanges for which the queues of the program's configuration are declared."""
        self.dropping: set[str] = set()
        """Exchanges for which the log has said that messages are dropped."""
        self._pid = os.getpid()
        self._engine: Engine | None = None
        self._recording = False
        self._hub: Any = None

    @property
    def is_ours(self) -> bool:
        """Whether it was made in this process; after a fork what is in hand is the parent's."""
        return self._pid == os.getpid()

    @property
    def engine(self) -> Engine:
        """What fetches for all channels; only consumers need it.

        A forked child that uses its parent's connection gets one of its own.
        """
        if not self.is_ours:
            self._start_anew()
        if self._engine is None:
            self._engine = Engine()
        return self._engine

    def _start_anew(self) -> None:
        self._pid, self._engine, self._recording = os.getpid(), None, False
        self.bindings = Bindings(self.disque)
        for channel in list(self.channels):
            channel.start_anew()

    def establish_connection(self) -> Any:
        """See that there is a node.

        Raises:
            redis.exceptions.ConnectionError: There is none, or it does not let us in.
        """
        self.disque.connect()
        return super().establish_connection()

    def verify_connection(self, connection: Any) -> bool:
        """The client and the engine connect again by themselves."""
        return True

    def close_connection(self, connection: Any) -> None:
        """Give back what was fetched, and close what is open."""
        self.unregister_from_event_loop(connection, self._hub)
        super().close_connection(connection)
        if not self.is_ours:
            return
        self.bindings.withdraw()
        engine, self._engine, self._recording = self._engine, None, False
        if engine is not None:
            engine.close()
        self.disque.close()

    def keep_recorded(self) -> None:
        """From now on, record bindings again and again, as records may expire or be lost."""
        if not self._recording:
            self._recording = True
            self.engine.spawn(self._record())

    async def _record(self) -> None:
        while True:
            await asyncio.sleep(REPEAT)
            await asyncio.to_thread(self.bindings.repeat)

    # Messages

    def drain_events(self, connection: Any, timeout: float | None = None, **_: Any) -> None:
        """Pass on a message; wait for one when there is none.

        Raises:
            TimeoutError: None came within so many seconds.
        """
        until = None if timeout is None else monotonic() + timeout
        bell = self.engine.bell
        while True:
            bell.hush()
            if self._pass_on():
                return
            rest = None if until is None else until - monotonic()
            if rest is not None and rest <= 0:
                raise socket.timeout  # noqa: UP041 - as kombu knows it
            bell.wait(rest)

    def _pass_on(self) -> bool:
        """One message of each channel; whether there was any."""
        passed = [channel.pass_on() for channel in list(self.channels)]
        return any(passed)

    # The hub

    def register_with_event_loop(self, connection: Any, loop: Any) -> None:
        """Have a hub call us when the bell rings."""
        self._hub = loop
        loop.add_reader(self.engine.bell, self.on_readable, connection, loop)

    def unregister_from_event_loop(self, connection: Any, loop: Any) -> None:
        """Have it call us no more."""
        if loop is not None and self._engine is not None and self.is_ours:
            with contextlib.suppress(Exception):  # the hub may be closed already
                loop.remove_reader(self._engine.bell)
        self._hub = None

    def on_readable(self, connection: Any, loop: Any) -> None:
        """Pass on one message; the bell rings on while there may be more.

        A task may run in this very call, and a worker may be told to stop during it.
        """
        if self._pass_on():
            return
        bell = self.engine.bell
        bell.hush()
        if self._pass_on():  # it came just before the hush, which may not be its end
            bell.ring()

    # What kombu shows

    def as_uri(self, uri: str, include_password: bool = False, mask: str = "**") -> str:
        """The URL, for people to see."""
        return uri if include_password else safe_url(self.nodes, mask)

    def driver_version(self) -> str:
        """Our version."""
        return __version__
