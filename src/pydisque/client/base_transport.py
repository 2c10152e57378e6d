"""What every transport knows and decides: the nodes, the lines to them, the line in use.

A transport adds the sending, for threads that block or for an event loop; here is what both do
with what came of it, so that both choose, leave and count alike. Nothing here opens, sends or
waits, and nothing here knows what the commands mean.
"""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from typing import Any, Generic, Protocol, TypeVar

from pydisque.client.connection import packer
from pydisque.client.failover import Call, Journey, Patience
from pydisque.client.nodes import Following, Node, Nodes
from pydisque.errors import ConnectionLostError, DisqueError, UnreachableError
from pydisque.protocol import commands
from pydisque.protocol.addresses import Address
from pydisque.protocol.command import Command, Resend

R = TypeVar("R")

DEFAULT_TIMEOUT = 5.0

# A piece small enough to fit the buffers on the way, so that a node which stops reading until its
# replies are fetched cannot keep us from fetching them.
PIECE_BYTES = 32768
PIECE_COMMANDS = 256

# Options of redis-py that log in.
_SECRETS = ("password", "credential_provider")

# Takes the node that answered a command, for who wants to know.
Origin = list["Node | None"]

logger = logging.getLogger("pydisque")


class AnyLine(Protocol):
    """All connections to one node, of whichever kind."""

    node: Node
    redis: Any
    was_open: bool


LineT = TypeVar("LineT", bound=AnyLine)
SeenT = TypeVar("SeenT")


class Routing(ABC, Generic[LineT, SeenT]):
    """The lines of one client, of one kind; ``SeenT`` is how users see a node."""

    def __init__(
        self,
        addresses: Iterable[Address],
        patience: Patience,
        options: dict[str, Any],
        *,
        resend_add: bool,
        discover: bool,
    ) -> None:
        self._timeout: float | None = options.get("socket_timeout", DEFAULT_TIMEOUT)
        timeouts = {"socket_timeout": self._timeout, "socket_connect_timeout": self._timeout}
        self._options = timeouts | options
        self._pack = packer(options)
        self._patience = patience
        self._resend_add = resend_add
        self._following = Following()
        secret = any(options.get(name) for name in _SECRETS)
        tls = bool(options.get("ssl"))
        self._nodes = Nodes(addresses, discover=discover, secret=secret, tls=tls)
        self._lines: dict[Node, LineT] = {}
        self._line: LineT | None = None
        for node in self._nodes:
            self._line_to(node)

    @abstractmethod
    def _make_line(self, node: Node) -> LineT:
        """A line to a node, nothing on it opened yet."""

    @abstractmethod
    def _seen(self, node_id: Any, host: str, port: int, connection: Any) -> SeenT:
        """A node as users see it."""

    @abstractmethod
    def run(self, command: Command[Any], origin: Origin | None = None) -> Any:
        """Send a command to whichever node answers and return its parsed reply."""

    @abstractmethod
    def run_and_follow(self, command: Command[Any], origin: Origin | None = None) -> Any:
        """As `run`; in between move to the node that makes most of the jobs received."""

    # What users ask

    @property
    def connected(self) -> SeenT | None:
        """The node in use."""
        line = self._line
        return None if line is None else self._record(line)

    def nodes(self) -> dict[str, SeenT | None]:
        """Every node known by its address; None for one that was never reached."""
        lines = {str(node.address): self._lines.get(node) for node in self._nodes}
        return {
            name: self._record(line) if line and line.was_open else None
            for name, line in lines.items()
        }

    def _record(self, line: LineT) -> SeenT:
        node_id: Any = line.node.id or ""
        if not self._options.get("decode_responses"):
            node_id = node_id.encode()
        address = line.node.address
        return self._seen(node_id, address.path or address.host, address.port, line.redis)

    # The journeys

    def _call(self, command: Command[R]) -> Call[R]:
        if command.resend is Resend.ONCE_PER_NODE and not self._resend_add:
            command = command._replace(resend=Resend.NEVER)
        return Call(command)

    def _journey(self, calls: list[Call[Any]], started: float) -> Journey:
        line = self._line
        here = None if line is None else line.node
        return Journey(self._nodes, calls, self._patience, started, here)

    def _first_round(self, started: float) -> tuple[Journey, Call[Any]]:
        """The journey of `connect`: to each node once, in the order given."""
        self._line = None
        self._nodes.forgive()
        hello = Call(commands.hello())
        return Journey(self._nodes, [hello], Patience(0, (0, 0)), started), hello

    def _take(
        self, journey: Journey, line: LineT, calls: list[Call[Any]], replies: list[Any], now: float
    ) -> bool:
        """Give the calls their replies; false if the node sends any elsewhere."""
        refusal = journey.answered(line.node, calls, replies, now)
        if refusal is not None:
            self._leave(line, refusal)
        return refusal is None

    def _parsed(self, command: Command[R], reply: Any, line: LineT, origin: Origin | None) -> R:
        """The result of a command that was answered."""
        if origin is not None:
            origin.append(line.node)
        try:
            return command.parse(reply)
        except Exception:  # noqa: BLE001 - see Command.misread
            raise command.misread(reply) from None

    def _pieces(
        self, pairs: Iterable[tuple[Call[Any], Command[Any]]]
    ) -> Iterator[tuple[list[Call[Any]], bytes, float | None]]:
        """Calls in pieces to be sent at once, each with its bytes and the longest wait in it."""
        calls: list[Call[Any]] = []
        request = bytearray()
        wait: float | None = 0.0
        for call, command in pairs:
            packed = self._pack(command.args)
            full = len(request) + len(packed) > PIECE_BYTES or len(calls) == PIECE_COMMANDS
            if calls and full:
                yield calls, bytes(request), wait
                calls, request, wait = [], bytearray(), 0.0
            calls.append(call)
            request += packed
            wait = None if wait is None or command.wait is None else max(wait, command.wait)
        if calls:
            yield calls, bytes(request), wait

    # The lines

    def _line_to(self, node: Node) -> LineT:
        line = self._lines.get(node)
        if line is None:  # another thread may be faster
            line = self._lines.setdefault(node, self._make_line(node))
        return line

    def _use(self, line: LineT) -> None:
        line.node.failing = False
        if self._line is not line:
            self._line = line
            logger.info("using node %s", line.node.address)

    def _leave(self, line: LineT, error: Exception) -> None:
        if self._line is line:
            self._line = None
        if not line.node.failing:  # say it once, not in every round
            line.node.failing = True
            logger.warning("node %s: %s", line.node.address, error)


def first_answer(hello: Call[Any]) -> None:
    """Raise `UnreachableError` if no node answered in the first round."""
    if isinstance(hello.error, DisqueError):
        raise UnreachableError(f"no node answered as it should ({hello.error})") from hello.error
    hello.result()


def ids_in(jobs: Any) -> list[Any]:
    """The IDs of jobs; none of what is something else, as a reply to words that users chose."""
    rows = jobs if isinstance(jobs, list) else []
    return [
        row[1]
        for row in rows
        if isinstance(row, (list, tuple)) and len(row) > 1 and isinstance(row[1], (bytes, str))
    ]


def closed_meanwhile() -> ConnectionLostError:
    """What a command gets that was under way when its client was closed."""
    return ConnectionLostError("the client was closed meanwhile")
