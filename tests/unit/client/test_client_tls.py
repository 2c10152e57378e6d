"""TLS as both clients speak it, whatever the defaults of the installed redis-py."""

from __future__ import annotations

import ssl
import warnings

import pytest
import redis
import trustme
from redis.credentials import UsernamePasswordCredentialProvider

from pydisque import AsyncClient, Client
from pydisque.client.connection import redis_client
from pydisque.protocol.addresses import parse_addresses
from support.client_nodes import CERTIFICATE, FakeTLSNode, FakeUnixNode


@pytest.fixture
def impostor(tmp_path):
    """A TLS node whose certificate is of a trusted authority, and for another host."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    cert = authority.issue_cert("elsewhere.example")
    cert.private_key_and_cert_chain_pem.write_to_path(tmp_path / "node.pem")
    with FakeTLSNode() as node:
        node.certificate = (tmp_path / "node.pem",)
        node.options = {"ssl_ca_certs": str(tmp_path / "ca.pem")}
        node.url = f"disques://:secret@localhost:{node.port}"
        yield node


async def ask_both(url, **options):
    """What a `Client` and an `AsyncClient` answer to ping, or the errors that they raise."""
    answers = []
    with Client(url, deadline=0.0, **options) as client:
        try:
            answers.append(client.ping())
        except redis.exceptions.ConnectionError as error:
            answers.append(str(error))
    async with AsyncClient(url, deadline=0.0, **options) as client:
        try:
            answers.append(await client.ping())
        except redis.exceptions.ConnectionError as error:
            answers.append(str(error))
    return answers


async def test_tls_checks_the_host_name(impostor):
    """A certificate for another host is refused before the password is sent."""
    for answer in await ask_both(impostor.url, **impostor.options):
        assert "certificate" in answer
    [address] = parse_addresses(impostor.url)
    with (
        redis_client(address, impostor.options) as connection,  # what get_connection returns
        pytest.raises(redis.exceptions.ConnectionError, match="certificate"),
    ):
        connection.ping()
    assert impostor.received == []


@pytest.mark.parametrize("unchecked", ["none", ssl.CERT_NONE])
async def test_tls_without_certificates(impostor, unchecked):
    """Certificates can be left unchecked, and then their names are too."""
    impostor.answers["AUTH"] = b"+OK\r\n"
    assert await ask_both(impostor.url, ssl_cert_reqs=unchecked) == [True, True]


async def test_tls_without_host_names(impostor):
    """The host name alone can be left unchecked, as for nodes that are known by numbers."""
    impostor.answers["AUTH"] = b"+OK\r\n"
    options = impostor.options | {"ssl_check_hostname": False}
    assert await ask_both(impostor.url, **options) == [True, True]


async def test_tls_is_new_enough():
    """TLS 1.1 is not spoken, whatever the version of redis-py."""
    with FakeTLSNode() as node:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            node.newest = ssl.TLSVersion.TLSv1_1
        url = f"disques://:secret@localhost:{node.port}"
        for answer in await ask_both(url, ssl_ca_certs=str(CERTIFICATE)):
            assert "no node answered" in str(answer)
        assert node.received == []


def test_every_way_to_give_a_password_counts(tmp_path):
    """From a Unix socket a client with a password uses no port that the node names."""
    with FakeUnixNode(str(tmp_path / "s")) as node:
        node.answers["AUTH"] = b"+OK\r\n"
        node.others = [("b" * 40, "127.0.0.1", 7712, 1)]
        for options, count in (
            ({}, 2),
            ({"password": "secret"}, 1),
            ({"password": "secret", "ssl": True}, 2),
            ({"credential_provider": UsernamePasswordCredentialProvider("me", "secret")}, 1),
        ):
            with Client(f"unix:{node.path}", **options) as client:
                client.connect()
                assert len(client.nodes) == count, options
