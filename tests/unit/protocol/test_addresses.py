"""How nodes are written down."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pydisque.protocol.addresses import Address, parse_addresses


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("localhost:7711", Address("localhost", 7711)),
        ("localhost", Address("localhost", 7711)),
        ("10.0.0.1:1", Address("10.0.0.1", 1)),
        ("[::1]:7712", Address("::1", 7712)),
        ("[::1]", Address("::1", 7711)),
        ("unix:/tmp/d.sock", Address("localhost", path="/tmp/d.sock")),
        ("unix:///tmp/d.sock", Address("localhost", path="/tmp/d.sock")),
        ("disque://host:7712", Address("host", 7712)),
        ("disque://host:7712/", Address("host", 7712)),
        ("disques://host", Address("host", 7711, tls=True)),
        ("disque://:p%40ss@host", Address("host", username=None, password="p@ss")),
        ("disque://pass@host", Address("host", password="pass")),
        ("disque://:p:a@ss@host", Address("host", password="p:a@ss")),
        ("disque://me:p:ass@host", Address("host", username="me", password="p:ass")),
        ("disque://me:pass@[::1]:1", Address("::1", 1, username="me", password="pass")),
    ],
)
def test_one_node(text, address):
    """Each way of writing a node is understood."""
    assert parse_addresses(text) == [address]
    assert parse_addresses([text]) == [address]


def test_hosts_of_a_url_share_its_password():
    """The hosts after a URL's first are reached in the same way; a list keeps its order."""
    found = parse_addresses(["disques://u:p@a:1,b:2", "c:3"])
    assert found == [
        Address("a", 1, tls=True, username="u", password="p"),
        Address("b", 2, tls=True, username="u", password="p"),
        Address("c", 3),
    ]


def test_a_node_named_twice_is_one_node():
    """The same address counts once."""
    assert parse_addresses("a:1,b:1,a:1") == [Address("a", 1), Address("b", 1)]


@pytest.mark.parametrize(
    "text",
    ["", "a:", "a:0", "a:65536", "a:x", ":7711", "::1", "[a:1", "[]:1", "[::1]x", "a b", "a,,b",
     "http://a", "redis://a:1", "unix:", "unix://", "disque://", "disque://a:1/0", "a:1:2", "a:²"],
)  # fmt: skip
def test_what_is_no_node_is_refused(text):
    """A bad address is refused with the ways that are allowed."""
    with pytest.raises(ValueError, match="allowed are 'host:port'"):
        parse_addresses(text)


@pytest.mark.parametrize("nodes", [[], [1], [b"a:1"], [None], 7711])
def test_what_is_no_text_is_refused(nodes):
    """Something that is not text, or no node at all, is refused."""
    with pytest.raises((TypeError, ValueError)):
        parse_addresses(nodes)


def test_no_password_is_shown():
    """Neither an address nor the error about one shows a password."""
    (address,) = parse_addresses("disque://me:secret@host:1")
    assert "secret" not in f"{address} {address!r}"
    with pytest.raises(ValueError, match="allowed") as caught:
        parse_addresses("disque://me:secret@host:x")
    assert "secret" not in str(caught.value)


@given(st.text())
def test_any_text_is_a_node_or_an_error(text):
    """No text makes the parser fail in another way, and what it takes it can write again."""
    try:
        found = parse_addresses(text)
    except ValueError:
        return
    for address in found:
        (again,) = parse_addresses(str(address))
        assert (again.host, again.port, again.path) == (address.host, address.port, address.path)
