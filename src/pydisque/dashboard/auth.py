"""Who may look, and whether a request is meant by who sends it. No I/O; the time is given.

Three things are kept apart. A *door* says who may look: anybody, who has a token, who has a name
and a password. A *session* is one browser's, known by a cookie that says nothing; it remembers that
a token was given. A *request* counts only if it names a host we go by, and if it changes anything
it must come from one of our own pages.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import ipaddress
import secrets
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

LASTS = 12 * 3600
"""Seconds after which a token has to be given again."""

MOST = 1000
"""Browsers that are remembered; the longest known goes first."""


# Who may look


def _same(given: str, wanted: str) -> bool:
    """Compare in a time that tells nothing, not even the length."""
    hashes = (hashlib.sha256(text.encode(errors="surrogateescape")) for text in (given, wanted))
    return hmac.compare_digest(*(each.digest() for each in hashes))


@dataclass(frozen=True, slots=True)
class Door:
    """What has to be shown to be let in; with neither, anybody is."""

    token: str = ""
    user: str = ""
    password: str = ""

    @property
    def open(self) -> bool:
        """Whether anybody may look."""
        return not (self.token or self.password)

    def takes_token(self, given: str) -> bool:
        """Whether this is the token."""
        return bool(self.token) and _same(given, self.token)

    def takes_header(self, authorization: str) -> bool:
        """Whether the header ``Authorization`` lets in: a token as Bearer, or Basic."""
        scheme, _, value = authorization.partition(" ")
        if scheme.lower() == "bearer":
            return self.takes_token(value.strip())
        if scheme.lower() != "basic" or not self.password:
            return False
        try:
            user, _, password = base64.b64decode(value, validate=True).decode().partition(":")
        except ValueError:
            return False
        return _same(user, self.user) & _same(password, self.password)


class Sessions:
    """The browsers that are known. Those that gave the token are forgotten with the process."""

    def __init__(self) -> None:
        self._secret = secrets.token_bytes(32)
        self._admitted: dict[str, float] = {}

    @staticmethod
    def fresh() -> str:
        """The cookie of a browser that was not seen before."""
        return secrets.token_urlsafe(32)

    def admit(self, now: float) -> str:
        """A new cookie for a browser that gave the token; what it had before admits nobody."""
        while len(self._admitted) >= MOST:
            del self._admitted[next(iter(self._admitted))]
        cookie = self.fresh()
        self._admitted[cookie] = now + LASTS
        return cookie

    def admitted(self, cookie: str, now: float) -> bool:
        """Whether this browser gave the token, not too long ago."""
        return self._admitted.get(cookie, 0.0) > now

    def end(self, cookie: str) -> None:
        """Forget that it did."""
        self._admitted.pop(cookie, None)

    def form_token(self, cookie: str) -> str:
        """What forms on this browser's pages carry, and those on anybody else's cannot."""
        return hmac.new(self._secret, cookie.encode(), "sha256").hexdigest()

    def is_form_token(self, cookie: str, given: str) -> bool:
        """Whether a form was on one of this browser's pages."""
        return _same(given, self.form_token(cookie))


# Failed logins

DELAYED = 20
"""Failed logins whose answers wait at once: a tenth of the requests that may be under way."""

DELAYED_OF_ONE = 4
"""Likewise, from one source."""


def source_of(host: str) -> str:
    """Whom an address stands for: of IPv6 everybody has all of a /64.

    What a proxy says of others is not believed: anybody can say so.
    """
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return host
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return str(address.ipv4_mapped)
        return str(ipaddress.IPv6Network((address, 64), strict=False))
    return str(address)


class FailedLogins:
    """The failed logins whose answers wait now; nothing is kept of those that are over.

    A right token never waits, whatever others send from wherever: behind a proxy all of them have
    one source.
    """

    def __init__(self) -> None:
        self._waiting: Counter[str] = Counter()

    def begin(self, source: str) -> bool:
        """Have one more wait; False: there are too many, so it should be answered at once."""
        if self._waiting.total() >= DELAYED or self._waiting[source] >= DELAYED_OF_ONE:
            return False
        self._waiting[source] += 1
        return True

    def end(self, source: str) -> None:
        """One has waited."""
        self._waiting[source] -= 1
        if not self._waiting[source]:
            del self._waiting[source]


# Whether a request is meant


def is_loopback(host: str) -> bool:
    """Whether nobody but this machine reaches a host that is listened on."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def is_from_us(headers: Mapping[str, str]) -> bool:
    """Whether a browser says that a request comes from one of our own pages.

    Over TLS and on loopback it says so by itself; else the page's origin has to be our host. Its
    scheme may differ, as TLS may end before us.
    """
    site = headers.get("sec-fetch-site")
    if site is not None and site != "same-origin":
        return False
    origin = headers.get("origin")
    if origin is None:
        return site == "same-origin"
    host = headers.get("host", "")
    return bool(host) and origin in (f"http://{host}", f"https://{host}")
