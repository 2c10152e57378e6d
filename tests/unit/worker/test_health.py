"""The worker's door: where it listens, what it says of the worker, and to whom it says no."""

from __future__ import annotations

import contextlib
import http.client
import json
import logging
import socket
import struct
import sys
import threading
import time
from collections.abc import Iterator

import pytest

import pydisque.service.http_server
from pydisque.service.http_server import Door, parse_listen
from pydisque.worker import Worker
from pydisque.worker.handlers.stats import Tally
from pydisque.worker.health import door_of, report, status_of
from support.servers import until

NOW = 1000.0


def a_worker(http: str | None = None) -> Worker:
    """A worker that does not run."""
    worker = Worker(http=http, concurrency=4)
    worker.handler("emails")(print)
    return worker


@pytest.fixture
def door() -> Iterator[Door]:
    """The open door of a worker that does not run."""
    door = door_of(a_worker(), ":0")
    door.open()
    yield door
    door.close()


def ask(
    door: Door, path: str, method: str = "GET", **headers: str
) -> tuple[http.client.HTTPResponse, bytes]:
    """One request, and its answer."""
    connection = http.client.HTTPConnection(door.address, timeout=10)
    try:
        connection.request(method, path, headers=headers)
        answer = connection.getresponse()
        return answer, answer.read()
    finally:
        connection.close()


# Where


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("127.0.0.1:9000", ("127.0.0.1", 9000)),
        ("example.org:80", ("example.org", 80)),
        (":0", ("127.0.0.1", 0)),
        ("[::1]:9000", ("::1", 9000)),
        ("0.0.0.0:65535", ("0.0.0.0", 65535)),
    ],
)
def test_where_to_listen(text, where):
    """Host and port, an IPv6 address in brackets; without a host it is loopback."""
    assert parse_listen(text) == where


@pytest.mark.parametrize("text", ["", "9000", "host", "::1:9000", "[]:9", "a:65536", "a:-1", "a:٣"])
def test_where_nobody_can_listen(text):
    """What is no address is refused when the worker is made."""
    with pytest.raises(ValueError, match="http must be 'host:port'"):
        Worker(http=text)


def test_a_taken_port_is_told_at_the_start(door):
    """A worker whose port is in use does not start, says which, and can be started later."""
    worker = a_worker(door.address)
    with pytest.raises(OSError, match=f"cannot serve /health on {door.address}: Address already"):
        worker.start()
    assert worker.http_address is None


def test_it_can_listen_on_ipv6():
    """An IPv6 address is told in brackets, with the port it got."""
    door = door_of(a_worker(), "[::1]:0")
    try:
        door.open()
    except OSError:
        pytest.skip("there is no IPv6 here")
    assert door.address.startswith("[::1]:")
    assert ask(door, "/health")[0].status == 200
    door.close()


def test_it_opens_again(door):
    """A door that was closed is closed, and opens again."""
    port = int(door.address.rpartition(":")[2])
    door.close()
    door.close()
    assert door.address is None
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port)).close()
    door.open()
    assert ask(door, "/health")[0].status == 200


# How the worker is


@pytest.mark.parametrize(
    ("status", "last_fetch", "wanting_since"),
    [
        ("starting", None, None),
        ("starting", None, NOW - 14),
        ("unreachable", None, NOW - 16),
        ("working", NOW - 14, NOW - 3000),
        ("unreachable", NOW - 16, NOW - 3000),
        ("busy", NOW - 3000, None),
        ("working", NOW - 3000, NOW - 14),
    ],
)
def test_how_a_worker_is(status, last_fetch, wanting_since):
    """A worker is unreachable once it has wanted jobs for 15 s without an answer to a fetch."""
    tally = Tally(last_fetch=last_fetch, wanting_since=wanting_since)
    assert status_of(tally, NOW, stopping=False) == status


def test_a_worker_that_stops_is_well():
    """Whoever stops fetches no more, and is not to be killed for that."""
    tally = Tally(last_fetch=NOW - 100, wanting_since=NOW - 200)
    assert status_of(tally, NOW, stopping=True) == "stopping"


def test_what_is_reported():
    """The report has the last fetch, what is in hand, and each queue's jobs by their outcome."""
    worker = a_worker()
    tally = worker.tally
    tally.last_fetch, tally.wanting_since, tally.in_hand = NOW - 1.5, NOW - 2, 3
    tally.fetched[b"emails"], tally.done[b"emails"], tally.lost[b"emails"] = 9, 5, 1
    status, told = report(worker, NOW)
    assert status == 200
    assert told == {
        "status": "working",
        "last_fetch_seconds_ago": 1.5,
        "in_hand": 3,
        "concurrency": 4,
        "queues": {
            "emails": {
                "fetched": 9, "done": 5, "retried": 0, "dead": 0, "dropped": 0, "returned": 0,
                "lease_lost": 1, "cut_short": 0,
            }
        },
    }  # fmt: skip
    assert report(worker, NOW + 20)[0] == 503


# What is answered


def test_health_is_json(door):
    """GET /health answers with JSON, whatever stands behind a question mark."""
    answer, body = ask(door, "/health?verbose=1")
    assert (answer.status, answer.headers["Content-Type"]) == (200, "application/json")
    assert answer.headers["Cache-Control"] == "no-store"
    assert json.loads(body)["status"] == "starting"


def test_head_has_no_body(door):
    """HEAD has the status and headers of GET, and nothing else."""
    answer, body = ask(door, "/health", "HEAD")
    assert (answer.status, body) == (200, b"")
    assert int(answer.headers["Content-Length"]) > 0


def test_there_is_nothing_else(door):
    """Other paths are not found, other methods not allowed."""
    assert ask(door, "/")[0].status == 404
    assert ask(door, "/healthy")[0].status == 404
    for method in ("POST", "DELETE", "BREW"):
        answer, _ = ask(door, "/health", method)
        assert (answer.status, answer.headers["Allow"]) == (405, "GET, HEAD")


def test_metrics_are_in_the_format_asked_for(door):
    """/metrics is Prometheus' text, or OpenMetrics for who wants it."""
    answer, body = ask(door, "/metrics")
    assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    assert b"pydisque_worker_concurrency 0.0" in body
    answer, _ = ask(door, "/metrics", Accept="application/openmetrics-text; version=1.0.0")
    assert answer.headers["Content-Type"].startswith("application/openmetrics-text")


def test_without_prometheus_client(monkeypatch):
    """Without prometheus_client /metrics tells how to get it, and all else works."""
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    monkeypatch.delitem(sys.modules, "pydisque.worker.metrics", raising=False)
    worker = a_worker()
    door = door_of(worker, ":0")
    door.open()
    try:
        answer, body = ask(door, "/metrics")
        assert answer.status == 501
        assert body == b"the figures need prometheus_client: pip install 'pydisque[metrics]>=1.0'\n"
        assert ask(door, "/health")[0].status == 200
        assert len(worker.hooks) == 1
    finally:
        door.close()


def test_a_client_that_is_silent_holds_up_nobody(door):
    """While one client does not ask, others are answered; nonsense is answered with 400."""
    host, port = door.address.split(":")
    with socket.create_connection((host, int(port))) as silent:
        assert ask(door, "/health")[0].status == 200
        silent.sendall(b"nonsense nonsense nonsense\r\n\r\n")
        assert b" 400 " in silent.recv(4096)


def raw(door: Door, data: bytes) -> bytes:
    """All that is answered to these bytes."""
    with connected(door) as sock:
        sock.sendall(data)
        answer = b""
        while more := sock.recv(65536):
            answer += more
        return answer


def connected(door: Door) -> socket.socket:
    host, _, port = (door.address or "").rpartition(":")
    return socket.create_connection((host, int(port)), 10)


def test_silent_connections_make_room(door):
    """However many connections send nothing, a probe is answered at once."""
    threads = threading.active_count()
    with contextlib.ExitStack() as stack:
        for _ in range(3 * pydisque.service.http_server.MOST):
            stack.enter_context(connected(door))
        started = time.monotonic()
        for _ in range(10):
            assert ask(door, "/health")[0].status == 200
        assert time.monotonic() - started < pydisque.service.http_server.CLIENT_TIMEOUT / 2
        assert threading.active_count() == threads


def test_slow_requests_make_room(door):
    """Connections that send a request byte by byte, or read no response, hold up no probe."""
    with contextlib.ExitStack() as stack:
        slow = [
            stack.enter_context(connected(door)) for _ in range(pydisque.service.http_server.MOST)
        ]
        for sock in slow[::2]:
            sock.sendall(b"GET /metrics HTTP/1.1\r\nX: ")
        for sock in slow[1::2]:
            sock.sendall(b"GET /metrics HTTP/1.1\r\n\r\n")
        for _ in range(10):
            assert ask(door, "/health")[0].status == 200


def test_request_has_a_time_limit(door, monkeypatch):
    """A connection whose request does not end in time is closed, also if it sends on and on."""
    monkeypatch.setattr(pydisque.service.http_server, "CLIENT_TIMEOUT", 0.3)
    with connected(door) as sock:
        sock.sendall(b"GET /health HTTP/1.1\r\n")
        sock.settimeout(0.02)

        def is_closed() -> bool:
            try:
                sock.sendall(b"x")
                return sock.recv(1) == b""
            except TimeoutError:
                return False
            except OSError:
                return True

        until(is_closed, 5)


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"GET /health HTTP/1.0\r\n\r\n", 200),
        (b"\r\nGET /health HTTP/1.1\nHost: localhost:80\n\n", 200),
        (b"GET /health HTTP/1.1\r\nX: " + b"x" * 70_000 + b"\r\n\r\n", 431),
        (b"GET " + b"/" * 70_000, 431),
        (b"GET /health\r\n\r\n", 400),
        (b"GET /health HTTP/1.1\r\nnonsense\r\n\r\n", 400),
        (b"GET /health HTTP/1.1\r\nX y: z\r\n\r\n", 400),
        (b"GET /health HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n\r\n", 400),
        (b"\xff\x00\r\n\r\n", 400),
        (b"POST /health HTTP/1.1\r\nContent-Length: 9\r\n\r\n123456789", 405),
    ],
)
def test_what_is_a_request(door, request_, status):
    """What is no request of HTTP, or a large one, is refused with its status."""
    assert raw(door, request_).startswith(b"HTTP/1.1 %d " % status)


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost", 200),
        ("LOCALHOST:9000", 200),
        ("127.0.0.1:1", 200),
        ("[::1]:9000", 200),
        ("10.0.0.5", 200),
        ("evil.example", 421),
        ("evil.example:9000", 421),
        ("localhost.evil.example", 421),
        ("127.0.0.1.evil.example", 421),
        ("a@localhost", 421),
    ],
)
def test_other_names_are_refused(door, host, status):
    """A page whose name leads to loopback (DNS rebinding) is told nothing."""
    assert ask(door, "/health", Host=host)[0].status == status


def test_response_that_fails_is_an_error(caplog):
    """An error of what computes a response is logged and answered with 500; the next is served."""
    door = Door(":0", {"/bad": lambda _: 1 / 0}, logging.getLogger("door"))  # type: ignore[dict-item]
    door.open()
    try:
        for _ in range(10):
            assert ask(door, "/bad")[0].status == 500
    finally:
        door.close()
    assert "HTTP request for /bad failed" in caplog.text


def test_client_that_goes_away_harms_nobody(door):
    """Connections that end at any point leave no trace."""
    for data in (b"", b"GET", b"GET /health HTTP/1.1\r\n\r\n", b"GET /metrics HTTP/1.1\r\n\r\n"):
        for _ in range(20):
            with connected(door) as sock:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                sock.sendall(data)
    assert ask(door, "/health")[0].status == 200
    until(lambda: len(door._server._connections) <= 1)
