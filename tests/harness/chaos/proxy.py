"""A wire between a worker and a node that can be cut, and that can swallow all that is sent."""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
from collections.abc import Coroutine
from typing import Any, Self, TypeVar

T = TypeVar("T")

KINDS = {"replica": b"REPLCONF", "sentinel": b"sentinel-", "node": b"pydisque"}
"""Who is at the client's end of a connection to a Valkey, by a word of its first requests."""

_RESET = struct.pack("ii", 1, 0)


class Proxies:
    """All proxies of a run, in one loop in a thread."""

    def __init__(self) -> None:
        self._proxies: list[Proxy] = []
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.do(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _end(self) -> None:
        for proxy in self._proxies:
            await proxy.close()
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.sleep(0)  # in which transports that were aborted let go of their sockets

    def do(self, work: Coroutine[Any, Any, T]) -> T:
        """Run this in the loop."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(30)

    def to(self, port: int) -> Proxy:
        """A new proxy to a port of this machine."""
        proxy = Proxy(port)
        self._proxies.append(proxy)
        self.do(proxy.open())
        return proxy


class Proxy:
    """One address that leads to a node; its coroutines run in the loop of `Proxies`."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._server: asyncio.Server | None = None
        self._wires: set[_Wire] = set()
        self._silent = False
        self._parted: frozenset[str] = frozenset()
        self.port = 0

    @property
    def address(self) -> str:
        """Where it listens."""
        return f"127.0.0.1:{self.port}"

    @property
    def used(self) -> bool:
        """Whether there is a connection through it."""
        return any(not wire.silent for wire in self._wires)

    async def open(self) -> None:
        """Listen, on the same port every time."""
        if self._server is None:
            self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
            self.port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        """Refuse connections, and reset those there are."""
        if self._server is not None:
            self._server.close()
            self._server = None
        await self.cut()

    async def cut(self) -> None:
        """Reset all connections."""
        for wire in list(self._wires):
            wire.cut()

    async def fall_silent(self) -> None:
        """Swallow what is sent, also on new connections; what is open now stays dead for ever."""
        self._silent = True
        for wire in self._wires:
            wire.silent = True

    async def part(self, *kinds: str) -> None:
        """Swallow what clients of these `KINDS` send and get, and of no others, until next told."""
        self._parted = frozenset(kinds)
        for wire in list(self._wires):
            if not kinds and wire.silent and not self._silent:
                wire.cut()  # it has lost what was swallowed
            wire.silent = wire.silent or wire.kind in self._parted

    async def speak(self) -> None:
        """New connections lead to the node again."""
        self._silent = False

    def is_parted(self, kind: str) -> bool:
        """Whether clients of this kind get nothing now."""
        return kind in self._parted

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        wire = _Wire(writer, self, silent=self._silent)
        self._wires.add(wire)
        try:
            await wire.carry(reader, self._target)
        except (OSError, asyncio.CancelledError):  # the latter when all is over
            pass
        finally:
            self._wires.discard(wire)
            wire.cut()


class _Wire:
    """One connection."""

    def __init__(self, client: asyncio.StreamWriter, proxy: Proxy, *, silent: bool) -> None:
        self._ends = [client]
        self._proxy = proxy
        self._seen = b""
        self.silent = silent
        self.kind = ""

    async def carry(self, reader: asyncio.StreamReader, target: int) -> None:
        """Both ways until one end is over."""
        if self.silent:
            await self._pump(reader, self._ends[0])
            return
        theirs, node = await asyncio.open_connection("127.0.0.1", target)
        self._ends.append(node)
        ways = [
            asyncio.ensure_future(self._pump(reader, node)),
            asyncio.ensure_future(self._pump(theirs, self._ends[0])),
        ]
        try:
            done, _ = await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            if self.silent and ways[1] in done:  # the node hung up: nobody is told
                await ways[0]
        finally:
            for way in ways:
                way.cancel()

    async def _pump(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        while data := await source.read(65536):
            if not self.kind and sink is not self._ends[0]:
                self._recognize(data)
            if not self.silent:
                sink.write(data)
                await sink.drain()

    def _recognize(self, data: bytes) -> None:
        self._seen = (self._seen + data)[:4096]
        self.kind = next((kind for kind, word in KINDS.items() if word in self._seen), "")
        self.silent = self.silent or self._proxy.is_parted(self.kind)

    def cut(self) -> None:
        """Reset both ends."""
        for end in self._ends:
            sock = end.get_extra_info("socket")
            if sock is not None and not end.is_closing():
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            end.transport.abort()
