"""`pydisque dashboard` on the command line: what it takes, what it refuses, how it ends."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import sys
import urllib.request
from collections.abc import AsyncIterator, Iterable
from typing import Any

import pytest
import uvicorn

from pydisque.dashboard import http_protocol
from pydisque.node import Server
from support.cli import run
from support.dashboards import Dashboard
from support.servers import free_port


@pytest.mark.parametrize(
    "options",
    [
        ["--host", "0.0.0.0"],
        ["--host", "::"],
        ["--host", "10.0.0.1", "--allow-actions"],
    ],
)
def test_nobody_is_let_in_from_elsewhere_by_accident(options):
    """Listening beyond this machine needs a token or a password, or that it is said."""
    done = run(["127.0.0.1:1"], "dashboard", *options)
    assert done.code == 2
    assert "give --token-file or --password-file, or --insecure" in done.err


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--user", "ada"], "go together"),
        (["--password", "x"], "go together"),
        (["--token", "x", "--user", "ada", "--password", "y"], "not both"),
        (["--token-file", "/nowhere"], "No such file"),
        (["--nodes", "a b"], "--nodes"),
    ],
)
def test_options_that_make_no_sense(options, words):
    """They are refused before anything listens."""
    done = run(["127.0.0.1:1"], "dashboard", *options)
    assert done.code == 2
    assert words in done.err


def test_an_empty_file_is_no_token(tmp_path):
    """A file that was to have the token, and has none, does not let everybody in."""
    path = tmp_path / "token"
    path.write_text("\n")
    done = run(["127.0.0.1:1"], "dashboard", "--token-file", str(path))
    assert (done.code, "is empty" in done.err) == (2, True)


def test_a_token_from_standard_input():
    """A file that is - is standard input, which is read once, and may not be empty."""
    done = run(["127.0.0.1:1"], "dashboard", "--token-file", "-", typed=b"\n")
    assert (done.code, "--token-file: - is empty" in done.err) == (2, True)
    both = ("--token-file", "-", "--user", "ada", "--password-file", "-")
    done = run(["127.0.0.1:1"], "dashboard", *both, typed=b"sesame\n")
    assert (done.code, "- is given twice" in done.err) == (2, True)


@pytest.mark.parametrize("what", ["token", "password"])
def test_a_secret_that_was_not_filled_in(monkeypatch, what):
    """An option or a variable that is there and empty does not let everybody in."""
    done = run(["127.0.0.1:1"], "dashboard", f"--{what}", "")
    assert (done.code, f"the {what} is empty" in done.err) == (2, True)
    monkeypatch.setenv(f"PYDISQUE_DASHBOARD_{what.upper()}", "")
    done = run(["127.0.0.1:1"], "dashboard")
    assert (done.code, f"the {what} is empty" in done.err) == (2, True)


def test_who_asks_for_nothing_is_not_waited_for(monkeypatch):
    """Connections on which nothing comes, or no whole request, are closed; others go on."""
    monkeypatch.setattr(http_protocol, "FIRST_REQUEST", 0.2)

    async def app(_scope: Any, _receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body"})

    async def main() -> None:
        async with serving(app) as (port, _):
            asking = await asyncio.open_connection("127.0.0.1", port)
            idle = [await asyncio.open_connection("127.0.0.1", port) for _ in range(2)]
            idle[0][1].write(b"GET / HTTP/1.1\r\n")
            for _ in range(2):
                asking[1].write(GET)
                assert b"204" in await asking[0].readuntil(b"\r\n\r\n")
                for reader, _ in idle:
                    assert await reader.read() == b""
            await closed(writer for _, writer in (asking, *idle))

    asyncio.run(main())


def test_unread_responses_lock_nobody_out(monkeypatch):
    """A new connection over the limit closes the oldest one whose client does not read."""
    monkeypatch.setattr(http_protocol, "MOST_CONNECTIONS", 2)

    async def app(_scope: Any, _receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for _ in range(100):
            await send({"type": "http.response.body", "body": bytes(2**20), "more_body": True})
        await send({"type": "http.response.body"})

    async def main() -> None:
        async with serving(app) as (port, connections), contextlib.AsyncExitStack() as stack:

            def unread() -> set[int]:
                return {each.client[1] for each in connections if each.flow.write_paused}

            ports = []
            for _ in range(4):
                _, writer = await asyncio.open_connection("127.0.0.1", port, limit=1)
                stack.push_async_callback(closed, [writer])
                writer.write(GET)
                ports.append(writer.get_extra_info("sockname")[1])
                async with asyncio.timeout(10):
                    while unread() != set(ports[-2:]):  # noqa: ASYNC110 - of another's state
                        await asyncio.sleep(0.01)

    asyncio.run(main())


GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


@contextlib.asynccontextmanager
async def serving(app: Any) -> AsyncIterator[tuple[int, set[Any]]]:
    """Serve an application with the dashboard's protocol; the port and its connections."""
    server = uvicorn.Server(
        uvicorn.Config(
            app, http=http_protocol.Protocol, lifespan="off", log_config=None,
            timeout_graceful_shutdown=1,
        )
    )  # fmt: skip
    with socket.create_server(("127.0.0.1", 0)) as listener:
        task = asyncio.create_task(server.serve(sockets=[listener]))
        try:
            yield listener.getsockname()[1], server.server_state.connections
        finally:
            server.should_exit = True
            await task


RIGHT = b"GET /nodes HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer sesame\r\n\r\n"
WRONG = RIGHT.replace(b"sesame", b"wrong")
SLOW_FORM = (
    b"POST /login HTTP/1.1\r\nHost: localhost\r\nOrigin: http://localhost\r\n"
    b"Content-Length: 1000\r\n\r\n"
)


async def asked(url: str, request: bytes) -> bytes:
    """The first line of an answer."""
    host, port = url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        writer.write(request)
        return await reader.readline()
    finally:
        await closed([writer])


async def closed(writers: Iterable[asyncio.StreamWriter]) -> None:
    """Close these connections, whether or not they are closed already."""
    ending = []
    for writer in writers:
        writer.close()
        ending.append(writer.wait_closed())
    await asyncio.gather(*ending, return_exceptions=True)


def test_wrong_tokens_lock_nobody_out():
    """However many wrong tokens come, from wherever, the right one is answered at once."""

    async def main(url: str) -> None:
        wrong = [asyncio.create_task(asked(url, WRONG)) for _ in range(400)]
        for _ in range(10):
            began = asyncio.get_running_loop().time()
            assert b" 200 " in await asked(url, RIGHT)
            assert asyncio.get_running_loop().time() - began < 5
            wrong += [asyncio.create_task(asked(url, WRONG)) for _ in range(5)]
        lines = await asyncio.gather(*wrong)
        assert all(b" 401 " in line or b" 429 " in line for line in lines)
        assert sum(b" 429 " in line for line in lines) > 300

    with Server() as node, Dashboard([node.address], "--token", "sesame") as board:
        asyncio.run(main(board.url))


@pytest.mark.parametrize(
    ("sent", "count"),
    [
        ([b""], 600),
        ([SLOW_FORM], 600),
        ([b"", SLOW_FORM, RIGHT[:-2]], 900),
        ([SLOW_FORM], 300),
    ],
    ids=["idle", "forms", "mixed", "fewer"],
)
def test_waiting_connections_lock_nobody_out(sent, count):
    """A request is processed at once, however many connections wait for their clients.

    Those send nothing, or do not end a request.
    """

    async def main(url: str) -> None:
        host, port = url.removeprefix("http://").split(":")
        async with asyncio.timeout(30), contextlib.AsyncExitStack() as stack:
            writers: list[asyncio.StreamWriter] = []
            stack.push_async_callback(closed, writers)
            for number in range(count):
                writers.append((await asyncio.open_connection(host, int(port)))[1])
                writers[-1].write(sent[number % len(sent)])
            for _ in range(3):
                assert b" 200 " in await asked(url, RIGHT)

    with Server() as node, Dashboard([node.address], "--token", "sesame") as board:
        asyncio.run(main(board.url))
    assert "Traceback" not in board.log


@pytest.mark.parametrize("name", ["uvicorn", "starlette", "jinja2"])
def test_a_package_that_is_missing(monkeypatch, name):
    """It is told in one line, with what to install."""
    for module in [m for m in sys.modules if m.startswith("pydisque.dashboard")]:
        monkeypatch.delitem(sys.modules, module)
    for module in [m for m in sys.modules if m.partition(".")[0] == name]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, name, None)
    done = run(["127.0.0.1:1"], "dashboard", "--port", str(free_port()))
    assert done.code == 1
    assert done.err == (
        "Error: the dashboard needs some packages more: pip install 'pydisque[dashboard]>=1.0'\n"
    )


def test_a_port_that_somebody_has():
    """It is told in one line."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = run(["127.0.0.1:1"], "dashboard", "--port", str(port))
    assert done.code == 1
    assert "Address already in use" in done.err
    assert len(done.err.splitlines()) == 1


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_it_ends_when_told(tmp_path, signum):
    """Ctrl-C and SIGTERM end it at once, with a page open or not, and without a word."""
    path = tmp_path / "token"
    path.write_text("sesame\n")
    with Server() as node, Dashboard([node.address], "--token-file", str(path)) as board:
        headers = {"Authorization": "Bearer sesame"}
        request = urllib.request.Request(f"{board.url}/", headers=headers)
        with urllib.request.urlopen(request) as answer:
            assert b"Overview" in answer.read()
        board.process.send_signal(signum)
        assert board.process.wait(timeout=20) == 0
    assert board.log == ""
