"""A worker's door for who looks after it: is it well, and its figures. HTTP, in a thread.

It reports the last fetch that a node answered, and not merely that the process is there: a worker
that wants jobs and gets no answer is not well. What it tells is found in the worker's tally; it
asks no node.
"""

from __future__ import annotations

import json
import logging
import re
import socket
import sys
import threading
from functools import partial
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import TCPServer
from time import monotonic
from typing import TYPE_CHECKING, Any

from pydisque.worker.tally import Tally, readable

if TYPE_CHECKING:
    from pydisque.worker.metrics import PrometheusHook
    from pydisque.worker.worker import Worker

logger = logging.getLogger("pydisque.worker")

# Seconds that a node may leave fetches without an answer; one waits for 4 s if there is no job.
PATIENCE = 15.0

LOOPBACK = "127.0.0.1"

# Seconds that a client gets to send its request, and to take the answer.
CLIENT_TIMEOUT = 5.0

# Seconds between two looks at whether the door is to be closed.
CLOSING = 0.1

NO_METRICS = "the figures need prometheus_client: pip install 'pydisque[metrics]'\n"


def parse_listen(text: str) -> tuple[str, int]:
    """Read where to listen: ``"host:port"``, ``"[::1]:port"``, ``":port"`` for loopback alone.

    Raises:
        ValueError: It is none of these.
    """
    parts = re.fullmatch(r"(?:\[([^\[\]]+)\]|([^\[\]:/\s]*)):(\d{1,5})", text, re.ASCII)
    if parts is None or int(parts[3]) > 65535:
        raise ValueError(f"http must be 'host:port', '[::1]:port' or ':port', not {text!r}")
    return parts[1] or parts[2] or LOOPBACK, int(parts[3])


def status_of(tally: Tally, now: float, *, stopping: bool) -> str:
    """How a worker is: starting, working, busy (its hands are full), unreachable or stopping."""
    if stopping:
        return "stopping"
    wanting = tally.wanting_since
    if wanting is not None and now - max(wanting, tally.last_fetch or wanting) > PATIENCE:
        return "unreachable"
    if tally.last_fetch is None:
        return "starting"
    return "busy" if wanting is None else "working"


def report(worker: Worker, now: float) -> tuple[HTTPStatus, dict[str, Any]]:
    """What ``/health`` answers."""
    tally = worker.tally
    status = status_of(tally, now, stopping=worker.stopping)
    well = status != "unreachable"
    ago = None if tally.last_fetch is None else round(now - tally.last_fetch, 3)
    return HTTPStatus.OK if well else HTTPStatus.SERVICE_UNAVAILABLE, {
        "status": status,
        "last_fetch_seconds_ago": ago,
        "in_hand": tally.in_hand,
        "concurrency": worker.concurrency,
        "queues": {
            readable(queue): {"fetched": tally.fetched[queue], **tally.outcomes(queue)}
            for queue in worker.course().handlers
        },
    }


def prometheus_hook(worker: Worker) -> PrometheusHook | None:
    """The worker's hook for figures, added if it has none; None without prometheus_client."""
    try:
        from pydisque.worker.metrics import PrometheusHook  # noqa: PLC0415 - an extra
    except ModuleNotFoundError as error:
        if error.name != "prometheus_client":
            raise
        return None
    for hook in worker.hooks:
        if isinstance(hook, PrometheusHook):
            return hook
    hook = PrometheusHook()
    worker.hooks.append(hook)
    return hook


class Door:
    """The HTTP server of one worker; it can be opened again after it was closed."""

    def __init__(self, worker: Worker, listen: str) -> None:
        """Read where to listen, and see to it that the worker has its figures.

        Raises:
            ValueError: The address is not understood.
        """
        self._worker = worker
        self.listen = listen
        self._host, self._port = parse_listen(listen)
        self._hook = prometheus_hook(worker)
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
        logger.info("serving http://%s/health and /metrics", self.address)

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

    def health(self) -> tuple[HTTPStatus, str, bytes]:
        """The answer to ``/health``."""
        status, told = report(self._worker, monotonic())
        return status, "application/json", json.dumps(told).encode() + b"\n"

    def metrics(self, accept: str) -> tuple[HTTPStatus, str, bytes]:
        """The answer to ``/metrics``."""
        if self._hook is None:
            return HTTPStatus.NOT_IMPLEMENTED, _TEXT, NO_METRICS.encode()
        text, content_type = self._hook.exposition(accept)
        return HTTPStatus.OK, content_type, text


_TEXT = "text/plain; charset=utf-8"


class _Server(ThreadingHTTPServer):
    """A thread for each request, none of which holds up the end of the process."""

    def __init__(self, host: str, port: int, door: Door) -> None:
        self.address_family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        super().__init__((host, port), partial(_Request, door))

    def server_bind(self) -> None:
        """Bind without asking the name service for our name, which may take long."""
        TCPServer.server_bind(self)
        host, port = str(self.server_address[0]), int(self.server_address[1])
        self.server_name, self.server_port = host, port
        self.address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002
        """A client that went away is no matter."""
        logger.debug("a request of %s failed", client_address, exc_info=sys.exc_info())


class _Request(BaseHTTPRequestHandler):
    """One request."""

    timeout = CLIENT_TIMEOUT

    def __init__(self, door: Door, *args: Any) -> None:
        self._door = door
        super().__init__(*args)

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if path == "/health":
            self._answer(*self._door.health())
        elif path == "/metrics":
            self._answer(*self._door.metrics(self.headers.get("Accept", "")))
        else:
            self._answer(HTTPStatus.NOT_FOUND, _TEXT, b"there are /health and /metrics\n")

    do_HEAD = do_GET  # noqa: N815 - the base class looks for it

    def __getattr__(self, name: str) -> Any:
        """Any other method there may be."""
        if name.startswith("do_"):
            return self._refuse
        raise AttributeError(name)

    def _refuse(self) -> None:
        self._answer(HTTPStatus.METHOD_NOT_ALLOWED, _TEXT, b"only GET and HEAD\n")

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
        logger.debug("HTTP, %s: %s", self.address_string(), format % args)
