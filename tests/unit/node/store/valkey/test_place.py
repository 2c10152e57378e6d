"""How the place of a Valkey is written."""

from __future__ import annotations

import pytest

from pydisque.node.store.valkey.url import Place, parse


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("valkey", Place(())),
        ("valkey://host", Place((("host", 6379),))),
        ("redis://host:1", Place((("host", 1),))),
        ("valkeys://host", Place((("host", 6379),), tls=True)),
        ("rediss://[::1]:7,[::2]", Place((("::1", 7), ("::2", 6379)), tls=True)),
        ("valkey://a:1,b,c:3/2", Place((("a", 1), ("b", 6379), ("c", 3)), database=2)),
        ("valkey://:s%40cret@a", Place((("a", 6379),), password="s@cret")),
        ("valkey://me:s@a", Place((("a", 6379),), user="me", password="s")),
        ("valkey://a?service=m&shards=64", Place((("a", 6379),), service="m", shards=64)),
        ("valkeys://a?prefix=x&ca=/f", Place((("a", 6379),), tls=True, prefix="x", ca="/f")),
        (
            "valkey://a?sentinel_user=me&sentinel_password=s%26",
            Place((("a", 6379),), sentinel_user="me", sentinel_password="s&"),
        ),
    ],
)
def test_what_is_understood(text: str, place: Place) -> None:
    """Hosts, ports, TLS, credentials, a database and options are where URLs have them."""
    assert parse(text) == place


@pytest.mark.parametrize(
    ("text", "allowed"),
    [
        ("", "an address as in"),
        ("host:6379", "an address as in"),
        ("http://host", "an address as in"),
        ("valkey://", "a host"),
        ("valkey://a,,b", "a host"),
        ("valkey://a:0", "the port"),
        ("valkey://a:x", "the port"),
        ("valkey://a/x", "the database"),
        ("valkey://a?shards=65", "shards"),
        ("valkey://a?what=1", "there is no 'what'"),
        ("valkey://a?service", "options after"),
        ("valkey://a?prefix={x}", "braces"),
    ],
)
def test_what_is_not(text: str, allowed: str) -> None:
    """What is wrong is told by what would be right."""
    with pytest.raises(ValueError, match=allowed):
        parse(text)


@pytest.mark.parametrize("text", ["valkey://me:secret@a:x", "valkey://me:secret@a?what=1"])
def test_no_password_is_told(text: str) -> None:
    """Neither an error nor the place as text has the password in it."""
    with pytest.raises(ValueError, match=r".") as error:
        parse(text)
    assert "secret" not in str(error.value)
    place = parse("valkeys://me:secret@a:1,b?sentinel_password=secret")
    assert str(place) == "valkeys://a:1,b:6379"
    assert "secret" not in repr(place)
    assert "secret" not in repr(place)
