"""HTTP server for health checks and metrics of a process; what a path returns comes from outside.

One thread does all I/O, so a client that sends or reads slowly costs no thread; a few threads
compute responses. Connections, size of requests and time are bounded. When all places are taken,
the connection that has sent no whole request for longest makes room, so that a probe gets in.
"""

from __future__ import annotations

import contextlib
import ipaddress
import logging
import re
import selectors
import socket
import threading
import time
from collections.abc import Callable, Mapping
from email.utils import formatdate
from enum import IntEnum
from http import HTTPStatus
from queue import SimpleQueue
from typing import NamedTuple

from pydisque.service.hosts import host_is_ours

LOOPBACK = "127.0.0.1"

# Seconds in which a client has to send its request, and again in which it has to take the response.
CLIENT_TIMEOUT = 5.0

# Seconds in which a response has to be computed.
ANSWER_TIMEOUT = 30.0

# Seconds that a connection lives after its response, for the client to close it.
LINGER = 1.0

# Maximum number of connections.
MOST = 64

# Threads that compute responses.
THREADS = 4

# Maximum size of a request in bytes; nginx and Apache have 8 KiB for a line.
LARGEST_REQUEST = 16 * 1024

WRONG_HOST = "this name is not ours: use localhost or an address"

_END = re.compile(rb"(\r?\n\r?\n|\Z)")
_HEADER = re.compile(r"([^\s:]+):(.*)")

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
            self._server = _Server(self._host, self._port, self.answers, self.logger)
        except OSError as error:
            reason = error.strerror or error
            text = f"cannot serve /health on {self.listen}: {reason}"
            raise OSError(error.errno, text) from None
        self._server.start()
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
            server.close()


class _State(IntEnum):
    """Of a connection; those with lower values make room first."""

    CLOSING = 0
    """The response is sent; what the client still sends is dropped until it closes."""
    READING = 1
    SENDING = 2
    ANSWERING = 3


class _Connection:
    """One client, which gets one response."""

    __slots__ = ("deadline", "local", "received", "since", "sock", "state", "unsent")

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self.sock = sock
        address = sock.getsockname()[0].partition("%")[0].removeprefix("::ffff:")
        self.local = ipaddress.ip_address(address).is_loopback
        self.received = b""
        self.unsent = b""
        self.enter(_State.READING, CLIENT_TIMEOUT)

    def enter(self, state: _State, seconds: float) -> None:
        """Change the state, which may last so long."""
        self.state = state
        self.since = time.monotonic()
        self.deadline = self.since + seconds

    @property
    def seniority(self) -> tuple[int, float]:
        """The connection with the lowest makes room."""
        return self.state, self.since


class _Server:
    """The sockets, the thread that serves them, and those that compute responses."""

    def __init__(self, host: str, port: int, answers: Answers, logger: logging.Logger) -> None:
        self._answers = answers
        self._logger = logger
        self._name = host.lower()
        self._listener = _listener(host, port)
        host, port = self._listener.getsockname()[:2]
        self.address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        self._wake, self._woken = socket.socketpair()
        self._selector = selectors.DefaultSelector()
        self._wake.setblocking(False)
        for sock in (self._listener, self._woken):
            sock.setblocking(False)
            self._selector.register(sock, selectors.EVENT_READ)
        self._connections: dict[socket.socket, _Connection] = {}
        self._requests: SimpleQueue[tuple[_Connection, _Request] | None] = SimpleQueue()
        self._responses: SimpleQueue[tuple[_Connection, bytes]] = SimpleQueue()
        self._closing = False
        self._threads = [
            threading.Thread(target=run, name="pydisque-http", daemon=True)
            for run in (self._serve, *[self._answer] * THREADS)
        ]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        self._closing = True
        self._rouse()
        self._threads[0].join()

    def _rouse(self) -> None:
        """Let the serving thread look at what has changed."""
        with contextlib.suppress(OSError):  # it has ended, or has been roused often enough
            self._wake.send(b"x")

    # The thread of the sockets

    def _serve(self) -> None:
        while not self._closing:
            accepts = False
            for key, _ in self._selector.select(self._patience()):
                if key.fileobj is self._woken:
                    self._woken.recv(4096)
                elif key.fileobj is self._listener:
                    accepts = True
                elif connection := self._connections.get(key.fileobj):  # type: ignore[call-overload]
                    self._step(connection)
            while not self._responses.empty():
                self._send(*self._responses.get())
            if accepts:  # last: who has sent a request by now has nobody's place
                self._accept()
            now = time.monotonic()
            for connection in [c for c in self._connections.values() if c.deadline <= now]:
                self._drop(connection)
        self._end()

    def _patience(self) -> float | None:
        deadlines = [connection.deadline for connection in self._connections.values()]
        return max(0.0, min(deadlines) - time.monotonic()) if deadlines else None

    def _end(self) -> None:
        for _ in range(THREADS):
            self._requests.put(None)
        for connection in list(self._connections.values()):
            self._drop(connection)
        self._selector.close()
        for sock in (self._listener, self._wake, self._woken):
            sock.close()

    def _accept(self) -> None:
        for _ in range(MOST):
            try:
                sock, _address = self._listener.accept()
            except BlockingIOError:
                return
            except OSError:  # no file is left, perhaps; without a pause this would be tried at once
                time.sleep(0.05)
                return
            if len(self._connections) >= MOST:
                self._drop(min(self._connections.values(), key=lambda other: other.seniority))
            connection = self._connections[sock] = _Connection(sock)
            self._selector.register(sock, selectors.EVENT_READ)
            self._step(connection)  # most have sent their request already

    def _drop(self, connection: _Connection) -> None:
        if self._connections.pop(connection.sock, None):
            if connection.state is not _State.ANSWERING:
                self._selector.unregister(connection.sock)
            connection.sock.close()

    def _step(self, connection: _Connection) -> None:
        """Go on with a connection that can be read or written."""
        try:
            if connection.state is _State.SENDING:
                self._write(connection)
                return
            data = connection.sock.recv(LARGEST_REQUEST)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._drop(connection)
        elif connection.state is _State.READING:
            connection.received += data
            self._read(connection)

    def _read(self, connection: _Connection) -> None:
        head, end, _ = _END.split(connection.received.lstrip(b"\r\n"), maxsplit=1)
        if len(head) > LARGEST_REQUEST:
            self._send(connection, _refused(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE))
        elif end:
            request = _parse(head)
            if request is None:
                self._send(connection, _refused(HTTPStatus.BAD_REQUEST))
            elif not self._is_ours(connection, request.host):
                self._send(connection, _refused(HTTPStatus.MISDIRECTED_REQUEST, WRONG_HOST))
            else:
                self._selector.unregister(connection.sock)
                connection.enter(_State.ANSWERING, ANSWER_TIMEOUT)
                self._requests.put((connection, request))

    def _is_ours(self, connection: _Connection, host: str) -> bool:
        """Whether a request may name this host; from other machines any name leads here."""
        return not (host and connection.local) or host_is_ours(host, [self._name])

    def _send(self, connection: _Connection, response: bytes) -> None:
        if connection.sock not in self._connections:  # it has been dropped
            return
        if connection.state is _State.ANSWERING:
            self._selector.register(connection.sock, selectors.EVENT_WRITE)
        else:
            self._selector.modify(connection.sock, selectors.EVENT_WRITE)
        connection.enter(_State.SENDING, CLIENT_TIMEOUT)
        connection.unsent = response
        self._step(connection)

    def _write(self, connection: _Connection) -> None:
        sent = connection.sock.send(connection.unsent)
        connection.unsent = connection.unsent[sent:]
        if not connection.unsent:
            # Closed with bytes unread, the client might lose the response to a reset.
            connection.sock.shutdown(socket.SHUT_WR)
            self._selector.modify(connection.sock, selectors.EVENT_READ)
            connection.enter(_State.CLOSING, LINGER)

    # The threads that compute responses

    def _answer(self) -> None:
        while job := self._requests.get():
            connection, request = job
            try:
                response = self._response(request)
            except Exception:
                self._logger.exception("HTTP request for %s failed", request.path)
                response = _refused(HTTPStatus.INTERNAL_SERVER_ERROR)
            self._responses.put((connection, response))
            self._rouse()

    def _response(self, request: _Request) -> bytes:
        if request.method not in ("GET", "HEAD"):
            return _refused(HTTPStatus.METHOD_NOT_ALLOWED, "only GET and HEAD")
        answer = self._answers.get(request.path)
        if answer is None:
            text = f"there are {' and '.join(self._answers)}"
            return _refused(HTTPStatus.NOT_FOUND, text, head=request.method == "HEAD")
        return _encoded(answer(request.accept), head=request.method == "HEAD")


def _listener(host: str, port: int) -> socket.socket:
    family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    sock = socket.socket(family)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(address)
        sock.listen(MOST)
    except BaseException:
        sock.close()
        raise
    return sock


class _Request(NamedTuple):
    """What a request asks for; `host` and `accept` are empty if they are not given."""

    method: str
    path: str
    host: str
    accept: str


def _parse(head: bytes) -> _Request | None:
    """Read a request without its body; None if it is no request of HTTP/1."""
    first, *lines = head.decode("latin-1").replace("\r\n", "\n").split("\n")
    start = re.fullmatch(r"([A-Z]+) (/\S*) HTTP/1\.[0-9]", first)
    headers = [_HEADER.fullmatch(line) for line in lines]
    if start is None or None in headers:
        return None
    values: dict[str, list[str]] = {"host": [], "accept": []}
    for header in filter(None, headers):
        values.setdefault(header[1].lower(), []).append(header[2].strip())
    if len(values["host"]) > 1:
        return None
    path = start[2].partition("?")[0]
    return _Request(start[1], path, "".join(values["host"]), ", ".join(values["accept"]))


def _refused(status: HTTPStatus, text: str = "", *, head: bool = False) -> bytes:
    return _encoded(Response(status, TEXT, f"{text or status.phrase}\n".encode()), head=head)


def _encoded(response: Response, *, head: bool) -> bytes:
    status = response.status
    lines = [
        f"HTTP/1.1 {status.value} {status.phrase}",
        "Server: pydisque",
        f"Date: {formatdate(usegmt=True)}",
        f"Content-Type: {response.content_type}",
        f"Content-Length: {len(response.body)}",
        "Cache-Control: no-store",
        "Connection: close",
    ]
    if status is HTTPStatus.METHOD_NOT_ALLOWED:
        lines.append("Allow: GET, HEAD")
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + (b"" if head else response.body)
