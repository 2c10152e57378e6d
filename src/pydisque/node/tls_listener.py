"""A TCP port whose clients agree on TLS before they come in.

The loop could do this by itself, but would tell nobody of those who have not finished: it cannot
end with one of them in it, and they would count for nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Callable

PATIENCE = 10
"""Seconds a client has for the handshake."""

CROWD = 1000
"""Clients that may be at it at once; when there are more, the one that came first has to go."""


class Doorway:
    """One address, listened on in the running loop."""

    def __init__(
        self, address: tuple[str, int], tls: ssl.SSLContext, inside: Callable[[], asyncio.Protocol]
    ) -> None:
        """Listen; who has agreed on TLS meets what `inside` makes.

        Raises:
            OSError: the address cannot be listened on.
        """
        family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        self._sock = socket.create_server(address, family=family, backlog=511)
        self._sock.setblocking(False)
        self.port: int = self._sock.getsockname()[1]
        self._tls = tls
        self._inside = inside
        self._loop = asyncio.get_running_loop()
        self._arriving: dict[asyncio.Task[None], socket.socket] = {}
        self._open()

    def _open(self) -> None:
        if self._sock.fileno() >= 0:
            self._loop.add_reader(self._sock, self._accept)

    def _accept(self) -> None:
        try:
            sock, _ = self._sock.accept()
        except (BlockingIOError, ConnectionError):  # it has left already
            return
        except OSError:  # there is no file left for it
            self._loop.remove_reader(self._sock)
            self._loop.call_later(0.1, self._open)
            return
        sock.setblocking(False)
        task = self._loop.create_task(self._let_in(sock))
        self._arriving[task] = sock
        task.add_done_callback(self._arriving.pop)
        if len(self._arriving) > CROWD:
            _turn_away(next(iter(self._arriving.values())))

    async def _let_in(self, sock: socket.socket) -> None:
        with contextlib.suppress(OSError):  # it speaks no TLS, has no certificate, or left
            await self._loop.connect_accepted_socket(
                self._inside, sock, ssl=self._tls, ssl_handshake_timeout=PATIENCE
            )

    async def aclose(self) -> None:
        """Listen no more, and turn away who has not come in."""
        self._loop.remove_reader(self._sock)
        self._sock.close()
        for sock in self._arriving.values():
            _turn_away(sock)
        await asyncio.gather(*self._arriving)


def _turn_away(sock: socket.socket) -> None:
    with contextlib.suppress(OSError):
        sock.shutdown(socket.SHUT_RDWR)
