"""TLS between a node and its Valkey: both ends may want to see certificates."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import threading
from collections.abc import Iterator

import pytest

from pydisque.node import Server
from pydisque.node.store.valkey.connection import LineLostError
from pydisque.node.store.valkey.topology import WrongPlaceError
from support.servers import free_port
from support.tls import issue
from support.valkeys import ValkeyProcess


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return issue(tmp_path_factory.mktemp("tls"))


@pytest.fixture
def secure(shared: ValkeyProcess, files: dict[str, str]) -> Iterator[str]:
    """The URL of a Valkey that speaks TLS with those only whom it knows.

    A doorkeeper does that in front of it, as not every server is built with TLS.
    """
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=files["ca.pem"])
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_cert_chain(files["node.pem"], files["node.key"])
    port, ready, over = free_port(), threading.Event(), threading.Event()

    async def keep_door() -> None:
        async with await asyncio.start_server(enter, "127.0.0.1", port, ssl=context):
            ready.set()
            await asyncio.to_thread(over.wait)

    async def enter(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        inner_reader, inner_writer = await asyncio.open_connection("127.0.0.1", shared.port)
        await asyncio.gather(carry(reader, inner_writer), carry(inner_reader, writer))

    thread = threading.Thread(target=asyncio.run, args=(keep_door(),))
    thread.start()
    assert ready.wait(10)
    yield f"valkeys://127.0.0.1:{port}"
    over.set()
    thread.join()


async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    writer.close()


def test_a_node_is_known(secure, files, connect, nodes):
    """It shows its certificate, and looks at the server's."""
    [node] = nodes(f"{secure}?ca={files['ca.pem']}&cert={files['me.pem']}&key={files['me.key']}")
    peer = connect(node)
    job = peer.ask("ADDJOB", "q", "x", 0)
    assert peer.ask("GETJOB", "FROM", "q") == [[b"q", job, b"x"]]


def test_a_server_nobody_knows(secure):
    """A certificate that no known authority signed is refused, and nothing sent."""
    with pytest.raises(LineLostError, match="certificate verify failed"), Server(store=secure):
        pass


def test_a_node_nobody_knows(secure, files):
    """That the server hangs up on it is told."""
    pair = f"cert={files['other.pem']}&key={files['other.key']}"
    with pytest.raises(LineLostError), Server(store=f"{secure}?ca={files['ca.pem']}&{pair}"):
        pass


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ("ca=/none.pem", "ca: /none.pem cannot be read: No such file"),
        ("cert=/none.pem", "cert: /none.pem cannot be read"),
        ("cert={me.pem}", "key: .*me.pem and .*me.pem do not go together"),
        ("cert={me.pem}&key={other.key}", "key: .*me.pem and .*other.key do not go together"),
        ("ca={me.key}", "ca: .*me.key holds no certificate"),
    ],
)
def test_files_that_cannot_be_used(secure, files, options, told):
    """Such a file is named, and what is wrong with it."""
    for name, path in files.items():
        options = options.replace(f"{{{name}}}", path)
    with pytest.raises(WrongPlaceError, match=told), Server(store=f"{secure}?{options}"):
        pass
