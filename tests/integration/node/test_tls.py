"""TLS: the port speaks nothing else, and both ends may want to see certificates."""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pydisque.client import Client
from pydisque.errors import UnreachableError
from pydisque.node import Server
from support.resp_peer import Peer, pack
from support.tls import issue


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Certificates and keys of the node, of a client, and of a client that nobody knows."""
    folder = tmp_path_factory.mktemp("tls")
    (folder / "nonsense.pem").write_text("nothing to see here")
    return issue(folder)


@pytest.fixture
def settings(files: dict[str, str]) -> dict[str, Any]:
    return {"tls_cert": files["node.pem"], "tls_key": files["node.key"]}


@pytest.fixture
def secure(settings: dict[str, Any]) -> Iterator[Server]:
    with Server(**settings) as server:
        yield server


def client(server: Server, files: dict[str, str], name: str = "") -> Client:
    """A client that knows the authority and perhaps has a certificate."""
    own = {}
    if name:
        own = {"ssl_certfile": files[f"{name}.pem"], "ssl_keyfile": files[f"{name}.key"]}
    url = f"disques://{server.address}"
    return Client(url, ssl_ca_certs=files["ca.pem"], deadline=0.2, **own)


def test_both_ends_together(secure: Server, files: dict[str, str]) -> None:
    """Client and node speak TLS with each other, also long replies and many requests."""
    with client(secure, files) as each:
        job = each.add_job("q", b"x" * 3_000_000)
        assert each.get_job(["q"]) == [(b"q", job, b"x" * 3_000_000)]
        ids = each.add_jobs("many", [b"y" * 1000] * 500)
        assert each.ack_job(*ids) == 500


def test_a_blocked_client_over_tls(secure: Server, files: dict[str, str]) -> None:
    """A wait ends in time over TLS as well."""
    with client(secure, files) as each:
        assert each.get_job(["q"], timeout=50) == []


def test_plain_text_is_refused(secure: Server, caplog: pytest.LogCaptureFixture) -> None:
    """A client that does not speak TLS gets no answer of Disque's, and is not quoted."""
    with caplog.at_level(logging.DEBUG), Peer(secure.address) as peer:
        peer.raw(pack("PING", "hunter2"))
        assert b"PONG" not in peer.rest()
    assert "hunter2" not in caplog.text


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
def test_old_versions_are_refused(secure: Server) -> None:
    """TLS 1.1 is not spoken, 1.2 and 1.3 are."""
    for version, spoken in (
        (ssl.TLSVersion.TLSv1_1, False),
        (ssl.TLSVersion.TLSv1_2, True),
        (ssl.TLSVersion.TLSv1_3, True),
    ):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        context.set_ciphers("ALL:@SECLEVEL=0")
        context.minimum_version = context.maximum_version = version
        assert handshakes(secure, context) == spoken


def handshakes(server: Server, context: ssl.SSLContext) -> bool:
    """Whether TLS comes about with this context."""
    with socket.create_connection(("127.0.0.1", server.port), 5) as sock:
        try:
            with context.wrap_socket(sock) as wrapped:
                wrapped.sendall(pack("PING"))
                return wrapped.recv(99) == b"+PONG\r\n"
        except OSError:
            return False


def test_client_certificates(settings: dict[str, Any], files: dict[str, str]) -> None:
    """With `tls-ca` a client needs a certificate of that authority."""
    with Server(**settings, tls_ca=files["ca.pem"]) as server:
        with client(server, files, "me") as each:
            assert each.ping()
        for name in ("", "other"):
            with pytest.raises(UnreachableError), client(server, files, name) as each:
                each.ping()


def test_certificates_guard_a_public_node(settings: dict[str, Any], files: dict[str, str]) -> None:
    """TLS alone lets everybody in, so protected mode wants more; client certificates are enough."""
    with pytest.raises(ValueError, match="protected mode"):
        Server("0.0.0.0", **settings)
    Server("0.0.0.0", **settings, tls_ca=files["ca.pem"])


def test_the_unix_socket_stays_plain(settings: dict[str, Any], tmp_path: Path) -> None:
    """Who is on the same machine needs no TLS."""
    with (
        Server(unixsocket=str(tmp_path / "s"), **settings) as server,
        Peer(server.addresses[1]) as peer,
    ):
        assert peer.ask("PING") == b"PONG"


def test_a_node_ends_while_somebody_shakes_hands(secure: Server) -> None:
    """A client that connects and says nothing does not hold up the end."""
    with socket.create_connection(("127.0.0.1", secure.port)):
        secure.close()


def test_a_crowd_at_the_door(secure: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those who only connect do not keep the others out: the one that came first has to go."""
    monkeypatch.setattr("pydisque.node.tls_listener.CROWD", 1)
    with Peer(secure.address) as first, Peer(secure.address) as second:
        assert first.rest() == b""
        assert second.silent()


async def test_in_asyncio_s_own_loop(settings: dict[str, Any], files: dict[str, str]) -> None:
    """TLS does not depend on uvloop, and a stop does not wait for those who say nothing."""
    async with Server(**settings) as server:
        with socket.create_connection(("127.0.0.1", server.port)), client(server, files) as each:
            assert await asyncio.to_thread(each.ping)
            await server.aclose()


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"tls_cert": "node.pem"}, "tls-key: missing; TLS needs both tls-cert and tls-key"),
        ({"tls_key": "node.key"}, "tls-cert: missing; TLS needs both"),
        ({"tls_ca": "ca.pem"}, "tls-cert: missing; TLS needs both"),
        ({"tls_cert": "/none", "tls_key": "node.key"}, "tls-cert: /none cannot be read: No such"),
        ({"tls_cert": "node.pem", "tls_key": "/none"}, "tls-key: /none cannot be read: No such"),
        ({"tls_cert": "node.pem", "tls_key": "me.key"}, "do not go together"),
        ({"tls_cert": "nonsense.pem", "tls_key": "node.key"}, "do not go together"),
        (
            {"tls_cert": "node.pem", "tls_key": "node.key", "tls_ca": "nonsense.pem"},
            "nonsense.pem holds no certificate",
        ),
    ],
)
def test_what_cannot_be_used(files: dict[str, str], given: dict[str, str], told: str) -> None:
    """Files that are missing or do not fit each other are told before anything starts."""
    with pytest.raises(ValueError, match=r"^tls-") as caught:
        Server(**{name: files.get(value, value) for name, value in given.items()})
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)
