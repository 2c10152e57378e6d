"""A process's door for who looks after it: is it well, and its figures. HTTP, in threads.

What is answered under which path is for others to say, in these threads. Whoever asks much is not
served for it: so many requests at once, so many seconds each.
"""

from __future__ import annotations

import logging
import re
import socket
import sys
import threading
from collections.abc import Callable, Mapping
from functools import partial
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import TCPServer
from typing import Any, NamedTuple

LOOPBACK = "127.0.0.1"

# Seconds that a client gets to send its request, and to take the answer.
CLIENT_TIMEOUT = 5.0

# Requests that are answered at the same time; further ones are hung up on.
MOST = 32

# Seconds between two looks at whether the door is to be closed.
CLOSING = 0.1

TEXT = "text/plain; charset=utf-8"

NO_METRICS = "the figures need prometheus_client: pip install 'pydisque[metrics]>=1.0'"

ADDRESS = "'host:port', '[::1]:port' or ':port'"
"""How one writes where to listen."""


class Response(NamedTuple):
    """An answer."""

    status: HTTPStatus
    content_type: str
    body: bytes


Answers = Mapping[str, Callable[[str], Response]]
"""What answers under which path; it gets what the client accepts."""


def no_metrics(accept: str) -> Response:  # noqa: ARG001 - as those that answer are called
    """The answer of who has no figures for want of the library."""
    return Response(HTTPStatus.NOT_IMPLEMENTED, TEXT, f"{NO_METRICS}\n".encode())


def parse_listen(text: str) -> tuple[str, int]:
    """Read where to listen: ``"host:port"``, ``"[::1]:port"``, ``":port"`` for loopback alone.

    Raises:
        ValueError: It is none of these; the text says what is allowed.
    """
    parts = re.fullmatch(r"(?:\[([^\[\]]+)\]|([^\[\]:/\s]*)):(\d{1,5})", text, re.ASCII)
    if parts is None or int(parts[3]) > 65535:
        raise ValueError(ADDRESS)
    return parts[1] or parts[2] or LOOPBACK, int(parts[3])


class Door:
    """An HTTP server; it can be opened again after it was closed."""

    def __init__(self, listen: str, answers: Answers, logger: logging.Logger) -> None:
        """Read where to listen, and note what answers.

        Raises:
            ValueError: The address is not understood.
        """
        self.listen = listen
        self.answers = answers
        self.logger = logger
        self._host, self._port = parse_listen(listen)
        self._server: _Server | None = None

    def open(self) -> None:
        """Listen.

        Raises:
            OSError: That address cannot be listened on; the text names it.
        """
        try:
            self._server = _Server(self._host, self._port, self)
        except OSError as error:
            reason = error.strerror or error
            text = f"cannot serve /health on {self.listen}: {reason}"
            raise OSError(error.errno, text) from None
        threading.Thread(
            target=self._server.serve_forever, args=(CLOSING,), name="pydisque-http", daemon=True
        ).start()
        self.logger.info("serving http://%s%s", self.address, " and ".join(self.answers))

    @property
    def address(self) -> str | None:
        """Where it listens, with the port it got; None while it is closed."""
        server = self._server
        return server.address if server else None

    def close(self) -> None:
        """Stop listening; may be called again."""
        server, self._server = self._server, None
        if server is not None:
            server.shutdown()
            server.server_close()


class _Server(ThreadingHTTPServer):
    """A thread for each request, none of which holds up the end of the process."""

    def __init__(self, host: str, port: int, door: Door) -> None:
        self.address_family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        self._logger = door.logger
        self._places = threading.BoundedSemaphore(MOST)
        super().__init__((host, port), partial(_Request, door))

    def server_bind(self) -> None:
        """Bind without asking the name service for our name, which may take long."""
        TCPServer.server_bind(self)
        host, port = str(self.server_address[0]), int(self.server_address[1])
        self.server_name, self.server_port = host, port
        self.address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

    def process_request(self, request: Any, client_address: Any) -> None:
        """Take a request if there is a place."""
        if self._places.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Answer it and give its place back."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._places.release()

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002
        """A client that went away is no matter."""
        self._logger.debug("a request of %s failed", client_address, exc_info=sys.exc_info())


class _Request(BaseHTTPRequestHandler):
    """One request."""

    timeout = CLIENT_TIMEOUT

    def __init__(self, door: Door, *args: Any) -> None:
        self._door = door
        super().__init__(*args)

    def do_GET(self) -> None:
        answer = self._door.answers.get(self.path.partition("?")[0])
        if answer is not None:
            self._answer(*answer(self.headers.get("Accept", "")))
        else:
            paths = " and ".join(self._door.answers)
            self._answer(HTTPStatus.NOT_FOUND, TEXT, f"there are {paths}\n".encode())

    do_HEAD = do_GET  # noqa: N815 - the base class looks for it

    def __getattr__(self, name: str) -> Any:
        """Any other method there may be."""
        if name.startswith("do_"):
            return self._refuse
        raise AttributeError(name)

    def _refuse(self) -> None:
        self._answer(HTTPStatus.METHOD_NOT_ALLOWED, TEXT, b"only GET and HEAD\n")

    def _answer(self, status: HTTPStatus, content_type: str, body: bytes) -> None:
        self.send_response(status)
        if status == HTTPStatus.METHOD_NOT_ALLOWED:
            self.send_header("Allow", "GET, HEAD")
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def version_string(self) -> str:
        """Tell no versions."""
        return "pydisque"

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Requests come every few seconds."""
        self._door.logger.debug("HTTP, %s: %s", self.address_string(), format % args)
