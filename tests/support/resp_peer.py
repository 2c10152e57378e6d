"""A bare socket that speaks RESP: for tests of what stands on the wire, byte for byte."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any, Self

import hiredis
from hiredis import ReplyError

from pydisque.node.wire import resp
from support.servers import until

SILENCE = 0.15
"""Seconds without a byte that count as no answer."""

Word = str | bytes | int


def pack(*words: Word) -> bytes:
    """One request."""
    return resp.bulks([w if isinstance(w, bytes) else str(w).encode() for w in words])


class Peer:
    """A client without any wit. Errors come as `hiredis.ReplyError` values, not raised."""

    def __init__(self, address: str) -> None:
        """Connect to a node by ``host:port`` or ``unix:/path``."""
        self.sock = socket.socket(socket.AF_UNIX if address[:5] == "unix:" else socket.AF_INET)
        self.sock.settimeout(20)
        self._reader = hiredis.Reader()
        try:
            if address[:5] == "unix:":
                self.sock.connect(address[5:])
            else:
                host, _, port = address.rpartition(":")
                self.sock.connect((host, int(port)))
                self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except OSError:
            self.sock.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.sock.close()

    def send(self, *words: Word) -> None:
        """Send a command and do not wait."""
        self.sock.sendall(pack(*words))

    def raw(self, data: bytes) -> None:
        """Send bytes as they are."""
        self.sock.sendall(data)

    def read(self) -> Any:
        """The next reply; raises `EOFError` when the node hung up."""
        while (reply := self._reader.gets()) is False:
            try:
                data = self.sock.recv(1 << 20)
            except ConnectionError:
                data = b""
            if not data:
                raise EOFError
            self._reader.feed(data)
        return reply

    def ask(self, *words: Word) -> Any:
        """A command's reply."""
        self.send(*words)
        return self.read()

    def exactly(self, count: int) -> bytes:
        """So many bytes as they stand on the wire; fewer when the node hangs up."""
        data = b""
        while len(data) < count and (more := self.sock.recv(count - len(data))):
            data += more
        return data

    def rest(self) -> bytes:
        """Everything until the node hangs up."""
        data = b""
        try:
            while more := self.sock.recv(1 << 16):
                data += more
        except ConnectionError:
            pass
        return data

    def silent(self) -> bool:
        """Whether nothing comes for a moment."""
        self.sock.settimeout(SILENCE)
        try:
            return self.sock.recv(1, socket.MSG_PEEK) == b"never"
        except TimeoutError:
            return True
        finally:
            self.sock.settimeout(20)


Connect = Callable[[], Peer]
"""Makes a further connection to the node under test."""


def error(reply: object) -> str:
    """The text of an error reply; anything else fails the test."""
    assert isinstance(reply, ReplyError), reply
    return str(reply)


def info(peer: Peer, section: str = "all") -> dict[str, str]:
    """What INFO tells."""
    lines = peer.ask("INFO", section).decode().split("\r\n")
    return dict(line.split(":", 1) for line in lines if ":" in line)


def blocked(peer: Peer, queue: str) -> int:
    """How many clients wait for a queue."""
    stat = peer.ask("QSTAT", queue)
    return stat[stat.index(b"blocked") + 1] if stat else 0


def wait_for_blocked(peer: Peer, queue: str, count: int) -> None:
    """Wait until so many do."""
    until(lambda: blocked(peer, queue) == count)


def clients(peer: Peer) -> list[dict[str, str]]:
    """What CLIENT LIST tells of each, the oldest first."""
    lines = peer.ask("CLIENT", "LIST").decode().splitlines()
    return [dict(field.split("=", 1) for field in line.split(" ")) for line in lines]
