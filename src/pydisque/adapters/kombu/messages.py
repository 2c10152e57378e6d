"""What a message of kombu is as a job, and back.

A job's body is the message as JSON, as in kombu's other transports. A message of Celery that is not
to run yet says so in a header; the node keeps it until then. Nothing here sends anything or looks
at a clock.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from datetime import datetime
from math import floor
from typing import Any

from pydisque.protocol.addresses import parse_addresses

YEAR = 365 * 86400
DEFAULT_PORT = 7711


@dataclass(frozen=True, slots=True)
class Options:
    """What ``broker_transport_options`` may say; what is there for other transports is ignored."""

    retry: int = 60
    """Seconds after which a message comes again whose worker is gone. 0: it does not."""
    ttl: int = YEAR
    """Seconds after which a message is dropped, from when it may be delivered."""
    replicate: int | None = None
    """Copies in a cluster of Disque's own nodes."""
    dead_letters: bool = True
    """Whether what a worker rejects becomes a dead letter; else it is dropped."""
    max_additional_deliveries: int | None = 20
    """A message delivered so many times more without an answer is a dead letter; None: never."""
    delivery_limit: int | None = 20
    """A message that was requeued by its workers after so many deliveries, counted by the node's
    nacks, is a dead letter; None: it is requeued without a limit."""
    paused_wait: float = 10
    """Seconds for which a task waits to send something into a queue that is paused in input; then
    what it sends becomes a dead letter. Who is no task is told of the pause at once."""
    client: Mapping[str, Any] = field(default_factory=dict)
    """Further arguments of `Client`."""

    def __post_init__(self) -> None:
        for name, least in (("delivery_limit", 1), ("max_additional_deliveries", 0)):
            limit = getattr(self, name)
            if limit is not None and not (type(limit) is int and limit >= least):
                raise ValueError(
                    f"{name} (broker_transport_options): {limit!r} is not allowed; "
                    f"expected an int from {least}, or None for no limit"
                )

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> Options:
        """Those that are given; the others are as above."""
        known = {each.name for each in fields(cls)}
        return cls(**{name: value for name, value in given.items() if name in known})

    def with_client(self, ssl: Mapping[str, Any], deadline: float | None) -> Options:
        """The same, where its own arguments of `Client` win over these."""
        usual = {**ssl, **({"deadline": deadline} if deadline else {})}
        return replace(self, client={**usual, **self.client})


def encode(message: Mapping[str, Any]) -> bytes:
    """A message as the body of a job."""
    return json.dumps(message, separators=(",", ":")).encode()


def decode(body: bytes) -> dict[str, Any]:
    """The body of a job as a message.

    Raises:
        ValueError: It is none.
    """
    message = json.loads(body)
    if not isinstance(message, dict):
        raise ValueError("it is no JSON object")  # noqa: TRY004 - of what it says
    for name, kind in _NEEDED.items():
        if not isinstance(message.get(name), kind):
            raise ValueError(f"it has no {name}")  # noqa: TRY004
    for parts, kinds in ((message, _OPTIONAL), (message["properties"], _PROPERTIES)):
        for name, kind in kinds.items():
            if not isinstance(parts.get(name), kind | None):
                raise ValueError(f"its {name} is none")  # noqa: TRY004
    return message


# What kombu and Celery take for granted; where it is not so they find out late, and may end.
_NEEDED = {"properties": dict, "body": str}
_OPTIONAL = {"headers": dict, "content-type": str, "content-encoding": str}
_PROPERTIES = {"delivery_info": dict, "body_encoding": str}


def job_options(
    message: Mapping[str, Any], options: Options, now: float, longest: int | None = None
) -> dict[str, Any]:
    """What ADDJOB is to be given for a message.

    Args:
        message: The message.
        options: Those of the transport.
        now: Unix time in seconds.
        longest: Seconds that it may live by what is said of its queue.
    """
    delay = delay_of(message, now)
    life = min(life_of(message, options.ttl), longest or options.ttl)
    given: dict[str, Any] = {
        "retry": options.retry,
        "ttl": life + delay,
        "replicate": options.replicate if options.retry else 1,
    }
    return given | {"delay": delay} if delay else given


def requeues_too_often(nacks: int, options: Options) -> str | None:
    """Why a message that is to be requeued is a dead letter instead, if so."""
    limit = options.delivery_limit
    if limit is None or nacks + 1 < limit:
        return None
    return f"requeued after each of {nacks + 1} deliveries, where delivery_limit is {limit}"


def delay_of(message: Mapping[str, Any], now: float) -> int:
    """Whole seconds until Celery's ETA; what is left of a second the worker waits itself."""
    eta = (message.get("headers") or {}).get("eta")
    if not isinstance(eta, str):
        return 0
    try:
        due = datetime.fromisoformat(eta)
    except ValueError:
        return 0
    if due.tzinfo is None:  # whose time that is only the worker knows
        return 0
    return max(0, floor(due.timestamp() - now))


def life_of(message: Mapping[str, Any], ttl: int) -> int:
    """Seconds that a message may live: what it says of itself, which is in milliseconds.

    A task of Celery that expires is dropped by its worker, which tells so. Its job lives on: no
    lease is renewed when half of a life is over, and a task may run for long.
    """
    if (message.get("headers") or {}).get("expires"):
        return ttl
    try:
        return max(1, int(message["properties"]["expiration"]) // 1000)
    except (KeyError, TypeError, ValueError):
        return ttl


def life_in(arguments: Mapping[str, Any]) -> int | None:
    """Seconds that messages of a queue live by what it was declared with, which is in milliseconds.

    A queue that expires takes its messages with it, some time after its consumer is gone. No node
    knows of consumers, and has them live as long from when they are sent. Those of remote control
    and of events are declared like this, as nobody wants them later.
    """
    for name in ("x-message-ttl", "x-expires"):
        if arguments.get(name):
            return max(1, int(arguments[name]) // 1000)
    return None


def priority_of(message: Mapping[str, Any]) -> int:
    """As in AMQP: the higher the more important; 0 if it says nothing."""
    try:
        return max(0, int(message["properties"]["priority"]))
    except (KeyError, TypeError, ValueError):
        return 0


def growing(seconds: float, first: float = 0.1, longest: float = 1.0) -> Iterator[float]:
    """Pauses, each twice as long as the one before, until they are so many seconds together."""
    pause = first
    while seconds > 0:
        yield min(pause, seconds)
        seconds -= pause
        pause = min(2 * pause, longest)


def nodes_of_connection(connection: Any) -> list[str]:
    """The nodes of a connection of kombu's."""
    urls = connection.alt or [connection.hostname or "localhost"]
    return nodes_of(urls, connection.port or DEFAULT_PORT)


def nodes_of(urls: Iterable[str], port: int) -> list[str]:
    """The nodes of URLs as kombu has them, where localhost may be left out."""
    return [_node_of(url, port) for url in urls]


def _node_of(url: str, port: int) -> str:
    scheme, separator, rest = url.partition("://")
    if separator:
        return url if rest.strip("/") else f"{scheme}://localhost"
    return url if ":" in url else f"{url}:{port}"


def safe_url(nodes: Iterable[str], mask: str) -> str:
    """The nodes as one URL without a password."""
    addresses = parse_addresses(nodes)
    first = addresses[0]
    scheme = "disques" if first.tls else "disque"
    login = f"{first.username or ''}:{mask}@" if first.password is not None else ""
    return f"{scheme}://{login}{','.join(map(str, addresses))}/"
