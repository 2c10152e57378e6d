"""Who may look, and which requests are meant."""

from __future__ import annotations

import base64

import pytest

from pydisque.dashboard import auth
from pydisque.dashboard.auth import Door, Sessions
from pydisque.service.hosts import host_is_ours


def basic(text: str) -> str:
    return "Basic " + base64.b64encode(text.encode()).decode()


@pytest.mark.parametrize(
    ("header", "fine"),
    [
        ("Bearer sesame", True),
        ("bearer sesame", True),
        ("Bearer Sesame", False),
        ("Bearer", False),
        (basic("ada:sesame"), False),
        ("sesame", False),
    ],
)
def test_a_token(header, fine):
    """The token lets in, and nothing like it."""
    assert Door(token="sesame").takes_header(header) is fine


@pytest.mark.parametrize(
    ("header", "fine"),
    [
        (basic("ada:pass:wörd"), True),
        (basic("ada:pass"), False),
        (basic("eve:pass:wörd"), False),
        (basic(""), False),
        ("Basic !!!", False),
        ("Bearer pass:wörd", False),
    ],
)
def test_a_name_and_a_password(header, fine):
    """Both have to be right."""
    assert Door(user="ada", password="pass:wörd").takes_header(header) is fine


def test_no_token_is_not_an_empty_one():
    """Where no token is asked for none can be given, not even none."""
    assert Door().open
    assert not Door().takes_token("")
    assert not Door(user="ada", password="x").takes_header("Bearer ")


def test_sessions_end():
    """A browser that gave the token is known for a while, and not after it logged out."""
    sessions = Sessions()
    cookie = sessions.admit(100.0)
    assert sessions.admitted(cookie, 100.0 + auth.LASTS - 1)
    assert not sessions.admitted(cookie, 100.0 + auth.LASTS)
    assert not sessions.admitted("", 100.0)
    sessions.end(cookie)
    assert not sessions.admitted(cookie, 101.0)


def test_sessions_are_bounded(monkeypatch):
    """However many log in, only so many are remembered; the last ones are."""
    monkeypatch.setattr(auth, "MOST", 3)
    sessions = Sessions()
    cookies = [sessions.admit(0.0) for _ in range(5)]
    assert [sessions.admitted(cookie, 1.0) for cookie in cookies] == [
        False,
        False,
        True,
        True,
        True,
    ]


@pytest.mark.parametrize(
    ("host", "source"),
    [
        ("10.0.0.1", "10.0.0.1"),
        ("::ffff:10.0.0.1", "10.0.0.1"),
        ("2001:db8:1:2:aaaa::1", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::5", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("testclient", "testclient"),
        ("", ""),
    ],
)
def test_sources(host, source):
    """Of IPv6 all of a /64 is one source, of IPv4 each address is, however it is written."""
    assert auth.source_of(host) == source


def test_failed_logins_that_wait_are_bounded():
    """So many wait in all, fewer from one source, and nothing is kept of those that have waited."""
    failed = auth.FailedLogins()
    begun = [failed.begin("here") for _ in range(10)]
    assert begun == [True] * auth.DELAYED_OF_ONE + [False] * (10 - auth.DELAYED_OF_ONE)
    assert failed.begin("elsewhere")
    others = [f"10.0.0.{n}" for n in range(100) if failed.begin(f"10.0.0.{n}")]
    assert len(others) + auth.DELAYED_OF_ONE + 1 == auth.DELAYED
    for source in (*others, "elsewhere", *["here"] * auth.DELAYED_OF_ONE):
        failed.end(source)
    assert not failed._waiting
    assert failed.begin("here")


def test_form_tokens_are_a_browsers_own():
    """What is on one browser's forms is worth nothing with another's cookie, or elsewhere."""
    sessions = Sessions()
    token = sessions.form_token("one")
    assert sessions.is_form_token("one", token)
    assert not sessions.is_form_token("two", token)
    assert not sessions.is_form_token("one", "")
    assert not Sessions().is_form_token("one", token)


@pytest.mark.parametrize(
    ("host", "fine"),
    [
        ("localhost:7799", True),
        ("127.0.0.1", True),
        ("[::1]:7799", True),
        ("10.0.0.5:80", True),
        ("jobs.example.org", True),
        ("JOBS.example.org:443", True),
        ("evil.example.org", False),
        ("127.0.0.1.evil.example.org", False),
        ("localhost.evil.example.org", False),
        ("evil@localhost.evil.org", False),
        ("localhost/login?", False),
        ("127.0.0.1/static/", False),
        ("localhost#", False),
        ("evil.example.org@localhost", False),
        ("localhost:7799\\", False),
        ("", False),
        ("[", False),
    ],
)
def test_hosts(host, fine):
    """A name that was not said is not ours, as it may be an attacker's that leads to us."""
    assert host_is_ours(host, {"jobs.example.org"}) is fine


@pytest.mark.parametrize(
    ("host", "fine"),
    [("127.0.0.1", True), ("::1", True), ("localhost", True), ("0.0.0.0", False), ("::", False),
     ("10.1.1.1", False), ("example.org", False)],
)  # fmt: skip
def test_loopback(host, fine):
    """Only what nobody else reaches is loopback."""
    assert auth.is_loopback(host) is fine


OURS = "jobs.example.org"


@pytest.mark.parametrize(
    ("headers", "fine"),
    [
        ({"sec-fetch-site": "same-origin"}, True),
        ({"sec-fetch-site": "same-origin", "origin": f"https://{OURS}"}, True),
        ({"origin": f"http://{OURS}"}, True),
        ({"sec-fetch-site": "same-site", "origin": f"https://{OURS}"}, False),
        ({"sec-fetch-site": "cross-site"}, False),
        ({"sec-fetch-site": "none"}, False),
        ({"sec-fetch-site": "same-origin", "origin": "https://evil.org"}, False),
        ({"origin": "null"}, False),
        ({"origin": f"https://{OURS}:8443"}, False),
        ({}, False),
    ],
)
def test_requests_from_elsewhere(headers, fine):
    """Only what a browser says to be from one of our own pages is."""
    assert auth.is_from_us({"host": OURS} | headers) is fine
