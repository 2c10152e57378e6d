"""Where nodes are, as people write it down.

One text, or a list of them; each may name several nodes separated by commas. Nothing here opens
anything or looks at the environment.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from ipaddress import ip_address
from urllib.parse import quote, unquote

DEFAULT_PORT = 7711

_ALLOWED = (
    "allowed are 'host:port', 'host', '[::1]:7711', 'unix:/path',"
    " 'disque://[user:password@]host:port[,host:port...]' and 'disques://...' for TLS"
)


@dataclass(frozen=True, slots=True)
class Address:
    """How to reach one node; ``str()`` of it holds no secret."""

    host: str
    port: int = DEFAULT_PORT
    path: str | None = None
    tls: bool = False
    username: str | None = None
    password: str | None = field(default=None, repr=False)

    def __str__(self) -> str:
        if self.path is not None:
            return f"unix:{self.path}"
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def url(self) -> str:
        """All of it as text that `parse_addresses` takes, the password too."""
        if self.path is not None:
            return str(self)
        login = ""
        if self.password is not None:
            login = f"{quote(self.username or '', '')}:{quote(self.password, '')}@"
        return f"disque{'s' * self.tls}://{login}{self}"

    def elsewhere(self, host: str, port: int) -> Address:
        """A fellow node of this one, reached in the same way."""
        return replace(self, host=host, port=port, path=None)

    @property
    def is_usable(self) -> bool:
        """Whether a client can be given it; a node may tell of any host and port."""
        return self.path is not None or (is_host(self.host) and 0 < self.port < 65536)

    @property
    def exposure(self) -> int:
        """Where clear text can be read: 0 in the kernel, 1 on this machine, 2 beyond it.

        A port of this machine may be another program's, or a tunnel's end; a file has an owner.
        """
        if self.path is not None:
            return 0
        return 1 if _is_loopback(self.host) else 2


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


_LONGEST_HOST = 255


def is_host(text: str) -> bool:
    """Whether a text can be a host's name or number: no blanks, escapes or parts of a URL."""
    return (
        0 < len(text) <= _LONGEST_HOST
        and text.isprintable()
        and not any(c in text for c in "/@?#, []")
    )


def parse_addresses(nodes: str | Iterable[str]) -> list[Address]:
    """All nodes named, each once, in their order.

    Raises:
        TypeError: It is not a str, or a list of them.
        ValueError: It names no node, or one in a way that is not understood.
    """
    texts = [nodes] if isinstance(nodes, str) else list(nodes)
    found = list(dict.fromkeys(address for text in texts for address in _parse(text)))
    if not found:
        raise ValueError(f"no node is named; {_ALLOWED}")
    return found


def _parse(text: str) -> Iterator[Address]:
    """The addresses of one text; those after a URL's first host share its TLS and password."""
    if not isinstance(text, str):
        raise TypeError(f"a node must be a str, not {text!r}; {_ALLOWED}")
    like = Address("")
    for part in text.split(","):
        scheme, url, rest = part.strip().partition("://")
        if url and scheme != "unix":
            like, part = _parse_url(scheme, rest)  # noqa: PLW2901
        yield _parse_one(part.strip(), like)


def _parse_url(scheme: str, rest: str) -> tuple[Address, str]:
    """What all hosts of a URL share, and its first host."""
    if scheme not in ("disque", "disques"):
        raise ValueError(f"a node cannot be reached by {scheme!r}; {_ALLOWED}")
    credentials, _, host = rest.rpartition("@")
    username, colon, password = credentials.partition(":")
    if not colon:
        username, password = "", credentials
    like = Address(
        "",
        tls=scheme == "disques",
        username=unquote(username) or None,
        password=unquote(password) or None,
    )
    return like, host


def _parse_one(text: str, like: Address) -> Address:
    if text.startswith("unix:"):
        return Address("localhost", path=_path(text))
    host, port = _split_port(text.removesuffix("/"))
    number = int(port) if port.isascii() and port.isdigit() else 0
    if not 0 < number < 65536 or not is_host(host):
        raise ValueError(f"{text!r} is no node; {_ALLOWED}")
    return replace(like, host=host, port=number)


def _path(text: str) -> str:
    path = text.removeprefix("unix:").removeprefix("//")
    if not path:
        raise ValueError(f"{text!r} has no path; {_ALLOWED}")
    return path


def _split_port(text: str) -> tuple[str, str]:
    """Host and port; an IPv6 address needs its brackets, or its last colon would be ambiguous."""
    if text.startswith("["):
        host, bracket, port = text[1:].partition("]")
        sane = bracket and ":" in host and (not port or port.startswith(":"))
        return (host, port[1:] or str(DEFAULT_PORT)) if sane else ("", "")
    host, colon, port = text.partition(":")
    return host, port if colon else str(DEFAULT_PORT)
