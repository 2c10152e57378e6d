"""Where the Valkey of a node is, as people write it down.

    valkey://[[user]:password@]host[:port][,host[:port]…][/database][?option=value&…]

`redis://` means the same, `valkeys://` and `rediss://` speak TLS. The hosts are one server, a
primary and its replicas, Sentinels or members of a Cluster; which of these, they say themselves.
Pure.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from urllib.parse import parse_qsl, unquote

LOCAL = "valkey"
"""Instead of an address: a Valkey of this node's own."""

_SCHEMES = {"valkey": False, "redis": False, "valkeys": True, "rediss": True}
_PORT = 6379
_OPTIONS = (
    "service", "sentinel_user", "sentinel_password", "shards", "prefix", "ca", "cert", "key",
)  # fmt: skip


@dataclass(frozen=True)
class Place:
    """A system's Valkey; ``str()`` of it holds no secret."""

    hosts: tuple[tuple[str, int], ...]
    tls: bool = False
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    database: int = 0
    service: str = ""
    """What Sentinels call it."""
    sentinel_user: str | None = None
    sentinel_password: str | None = field(default=None, repr=False)
    """What Sentinels want to hear, if it is not what the servers want."""
    shards: int = 0
    """How many a system gets that is new; 0 for what suits the Valkey."""
    prefix: str = "disque"
    """What the names of all keys begin with; systems with different ones do not see each other."""
    ca: str = ""
    cert: str = ""
    key: str = ""

    def __str__(self) -> str:
        if not self.hosts:
            return LOCAL
        hosts = ",".join(written(*host) for host in self.hosts)
        return f"valkey{'s' * self.tls}://{hosts}"


def written(host: str, port: int) -> str:
    """A host and port in one word."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def parse(text: str) -> Place:
    """The place that a text names; one without hosts is a Valkey of the node's own.

    Raises:
        ValueError: it names none; the message repeats nothing that might be a password.
    """
    if text == LOCAL:
        return Place(())
    scheme, found, rest = text.partition("://")
    if not found or scheme not in _SCHEMES:
        raise ValueError(
            "'valkey', or an address as in valkey://host:6379; valkeys:// speaks TLS, redis:// is "
            "the same as valkey://"
        )
    rest, _, query = rest.partition("?")
    credentials, _, rest = rest.rpartition("@")
    hosts, _, database = rest.partition("/")
    user, colon, password = credentials.partition(":")
    options = _options(query)
    return Place(
        tuple(_host(host) for host in hosts.split(",")),
        tls=_SCHEMES[scheme],
        user=unquote(user) or None,
        password=unquote(password) if colon else None,
        database=_number("the database", database or "0", 0, 2**31),
        service=options.get("service", ""),
        sentinel_user=options.get("sentinel_user"),
        sentinel_password=options.get("sentinel_password"),
        shards=_number("shards", options.get("shards", "0"), 0, 64),
        prefix=options.get("prefix", "disque"),
        ca=options.get("ca", ""),
        cert=options.get("cert", ""),
        key=options.get("key", ""),
    )


def _options(query: str) -> dict[str, str]:
    try:
        options = dict(parse_qsl(query, keep_blank_values=True, strict_parsing=bool(query)))
    except ValueError:
        raise ValueError("options after ? as in service=name&prefix=disque") from None
    for name in options:
        if name not in _OPTIONS:
            raise ValueError(f"options are {', '.join(_OPTIONS)}; there is no {name!r}")
    if "{" in options.get("prefix", "") or "}" in options.get("prefix", ""):
        raise ValueError("a prefix without braces")
    return options


def _host(text: str) -> tuple[str, int]:
    host, colon, port = text.rpartition(":")
    if not colon or "]" in port:
        host, port = text, str(_PORT)
    host = host.removeprefix("[").removesuffix("]")
    if not host:
        raise ValueError("a host, as in valkey://host:6379")
    return host, _number("the port", port, 1, 65535)


def _number(what: str, text: str, low: int, high: int) -> int:
    if not (text.isascii() and text.isdigit() and low <= int(text) <= high):
        raise ValueError(f"{what} as a whole number from {low} to {high}")
    return int(text)
