"""A node that behaves as badly as a test wants: hangs up, stays silent, refuses, disappears.

Answers are looked up by command name; what is not scripted gets a plausible reply.
"""

from __future__ import annotations

import contextlib
import secrets
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any, Self

import hiredis

HANG_UP = object()
SILENCE = object()


def bulk(data: bytes) -> bytes:
    return b"$%d\r\n%s\r\n" % (len(data), data)


def array(*items: bytes) -> bytes:
    return b"*%d\r\n%s" % (len(items), b"".join(items))


def _described(fields: dict[bytes, Any], given: dict[str, Any]) -> list[Any]:
    named = {name.replace("_", "-").encode(): value for name, value in given.items()}
    return [part for pair in (fields | named).items() for part in pair]


def job_info(**given: Any) -> list[Any]:
    """A whole reply to SHOW, parsed, with these fields in place of the usual ones."""
    fields: dict[bytes, Any] = {
        b"id": b"D-dcb833cf-8YL1NT17e9+wsA/09NqxscQI-05a1", b"queue": b"q", b"state": b"queued",
        b"repl": 1, b"ttl": 86400, b"ctime": 1_000_000_000, b"delay": 0, b"retry": 300,
        b"nacks": 0, b"additional-deliveries": 0, b"nodes-delivered": [], b"nodes-confirmed": [],
        b"next-requeue-within": None, b"next-awake-within": None, b"body": b"x",
    }  # fmt: skip
    return _described(fields, given)


def queue_stats(**given: Any) -> list[Any]:
    """A whole reply to QSTAT, parsed, with these fields in place of the usual ones."""
    fields: dict[bytes, Any] = {
        b"name": b"q", b"len": 1, b"age": 9, b"idle": 0, b"blocked": 0, b"import-from": [],
        b"import-rate": 0, b"jobs-in": 1, b"jobs-out": 0, b"pause": b"none",
    }  # fmt: skip
    return _described(fields, given)


def on_wire(reply: Any) -> bytes:
    """The bytes of a parsed reply."""
    if isinstance(reply, list):
        return array(*map(on_wire, reply))
    if reply is None:
        return b"$-1\r\n"
    return b":%d\r\n" % reply if isinstance(reply, int) else bulk(reply)


class FakeNode:
    """One listening socket, one thread for it, one thread for each connection."""

    def __init__(self, node_id: str | None = None, **answers: Any) -> None:
        self.id = node_id or secrets.token_hex(20)
        self.priority = 1
        self.others: list[tuple[str, str, int, int]] = []
        self.answers = answers
        self.received: list[tuple[bytes, ...]] = []
        self.connections = 0
        self._threads: list[threading.Thread] = []
        self._sockets: list[socket.socket] = []
        self._heard = threading.Condition()
        self._listener: socket.socket | None = None
        self.port = 0

    # What tests look at

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def count(self, name: str) -> int:
        """How often a command arrived."""
        return sum(command[0] == name.encode() for command in self.received)

    def wait_for(self, name: str, times: int = 1) -> None:
        """Wait until a command arrived so often."""
        with self._heard:
            assert self._heard.wait_for(lambda: self.count(name) >= times, 20), f"no {name} came"

    # Up and down

    def start(self) -> Self:
        """Listen, on the same port as before if there was one."""
        self._listener = socket.create_server(("127.0.0.1", self.port))
        self.port = self._listener.getsockname()[1]
        self._spawn(self._accept, self._listener)
        return self

    def stop(self) -> None:
        """Disappear like a killed process: no farewell, and the port closed."""
        if self._listener is not None:
            with contextlib.suppress(OSError):
                self._listener.shutdown(socket.SHUT_RDWR)
            self._listener.close()
            self._listener = None
        self.hang_up()
        for thread in self._threads:
            if thread is not threading.current_thread():
                thread.join(20)
        self._threads.clear()

    def hang_up(self) -> None:
        """Close every connection."""
        for sock in self._sockets:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        self._sockets.clear()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    # Inside

    def _spawn(self, target: Callable[..., None], *args: Any) -> None:
        thread = threading.Thread(target=target, args=args, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                sock, _ = listener.accept()
            except OSError:
                return
            self.connections += 1
            self._sockets.append(sock)
            self._spawn(self._serve, sock)

    def _serve(self, sock: socket.socket) -> None:
        with sock, contextlib.suppress(OSError):
            for command in self._commands(sock):
                with self._heard:
                    self.received.append(command)
                    self._heard.notify_all()
                reply = self._answer(command)
                if reply is HANG_UP:
                    return
                if reply is not SILENCE:
                    sock.sendall(reply)

    def _commands(self, sock: socket.socket) -> Iterator[tuple[bytes, ...]]:
        reader = hiredis.Reader()
        while data := sock.recv(65536):
            reader.feed(data)
            while (command := reader.gets()) is not False:
                yield tuple(command)

    def _answer(self, command: tuple[bytes, ...]) -> Any:
        scripted = self.answers.get(command[0].decode())
        if callable(scripted):
            scripted = scripted(*command[1:])
        if scripted is not None:
            return scripted
        return getattr(self, f"_{command[0].decode().lower()}", self._unknown)(*command[1:])

    def _hello(self) -> bytes:
        entries = [(self.id, "", self.port, self.priority), *self.others]
        rows = [array(*(bulk(str(part).encode()) for part in entry)) for entry in entries]
        return array(b":1\r\n", bulk(self.id.encode()), *rows)

    def _addjob(self, *_: bytes) -> bytes:
        return b"+%s\r\n" % self.new_id()

    def new_id(self) -> bytes:
        """A job ID of this node."""
        return f"D-{self.id[:8]}-{secrets.token_hex(12)}-05a1".encode()

    def _getjob(self, *_: bytes) -> bytes:
        return b"*-1\r\n"

    def _ping(self, *message: bytes) -> bytes:
        return bulk(*message) if message else b"+PONG\r\n"

    def _qlen(self, _: bytes) -> bytes:
        return b":0\r\n"

    def _ackjob(self, *ids: bytes) -> bytes:
        return b":%d\r\n" % len(ids)

    def _unknown(self, *_: bytes) -> bytes:
        return b"-ERR unknown command 'X'\r\n"
