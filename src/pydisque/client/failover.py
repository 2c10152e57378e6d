"""One batch of commands on its way through the nodes.

A journey goes from node to node in rounds, with a growing pause between them, until every command
has its answer, or no node is left that may get it, or the time is up. Here is decided what may be
sent again where; the sending is done by whoever drives the journey, sync or async::

    while (step := journey.step(now(), random())) is not None:
        if isinstance(step, Node): ...      # visit it, then tell the journey what came of it
        else: ...                           # pause for so many seconds

Nothing here knows a socket or a clock; times are handed in as seconds of any steady clock.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Generic, TypeVar

from pydisque.client.nodes import AVOID, Node, Nodes
from pydisque.errors import (
    FINAL,
    MOVE_ON,
    ConnectionLostError,
    DisqueError,
    LeavingError,
    UnexpectedReplyError,
    UnreachableError,
)
from pydisque.protocol.command import Command, Resend, goes_on, shortened

R = TypeVar("R")

_UNANSWERED: Any = object()


class Patience:
    """How long a client goes on trying: seconds in all, and the first and the longest pause."""

    __slots__ = ("deadline", "first_pause", "longest_pause")

    def __init__(self, deadline: float, backoff: tuple[float, float]) -> None:
        first, longest = backoff
        if deadline < 0:
            raise ValueError(f"deadline must be 0 seconds or more, not {deadline!r}")
        if not 0 <= first <= longest:
            raise ValueError(
                f"backoff must be the first and the longest pause in seconds, not {backoff!r}"
            )
        self.deadline = deadline
        self.first_pause = first
        self.longest_pause = longest

    def pause(self, rounds: int, jitter: float) -> float:
        """The pause after so many rounds; jitter is a random number from 0 to 1."""
        whole: float = min(self.longest_pause, self.first_pause * 2.0 ** min(rounds - 1, 32))
        return whole * (0.5 + jitter / 2)


class Call(Generic[R]):
    """One command, which nodes may have got it, and what came of it."""

    __slots__ = ("_had", "_outcome", "command", "node")

    def __init__(self, command: Command[R]) -> None:
        self.command = command
        self.node: Node | None = None
        """The node that answered."""
        self._had: set[str | None] = set()
        self._outcome: Any = _UNANSWERED

    @property
    def answered(self) -> bool:
        """Whether something came of it, be it an error."""
        return self._outcome is not _UNANSWERED

    @property
    def error(self) -> Exception | None:
        """The error that came of it."""
        return self._outcome if isinstance(self._outcome, Exception) else None

    @property
    def reply(self) -> Any:
        """What came of it as it came, not parsed."""
        return self._outcome

    def may_go_to(self, node: Node) -> bool:
        """Whether this node may get it."""
        return node.id not in self._had

    def sent_to(self, node: Node) -> None:
        """The node may have got it, yet nothing came of it."""
        if self.command.resend is Resend.ONCE_PER_NODE:
            self._had.add(node.id)

    def answer(self, outcome: Any) -> None:
        """Take what came of it: a reply, or an error, which may be an error reply."""
        self._outcome = outcome

    def give_up(self, error: Exception) -> None:
        """Take the journey's error, and tell when a node may nevertheless have the command."""
        if self._had and isinstance(error, UnreachableError):
            error = UnreachableError(f"{error}; {self.command.name} may have been carried out")
            error.sent = True
        self._outcome = error

    def result(self) -> R:
        """The parsed reply; raises the error that came instead."""
        reply = self._outcome
        if isinstance(reply, UnexpectedReplyError):
            raise self.command.misread(reply)
        if isinstance(reply, Exception):
            raise reply
        try:
            return self.command.parse(reply)
        except Exception:  # noqa: BLE001 - parsers raise whatever a wrong reply makes them raise
            raise self.command.misread(reply) from None

    def result_or_error(self) -> R | Exception:
        """The parsed reply, or the error that came instead."""
        try:
            return self.result()
        except Exception as error:  # noqa: BLE001 - the caller's to look at
            return error


class Journey:
    """The way of some calls through the nodes."""

    def __init__(
        self,
        nodes: Nodes,
        calls: Iterable[Call[Any]],
        patience: Patience,
        started: float,
        here: Node | None = None,
    ) -> None:
        """Begin a journey.

        Args:
            nodes: All nodes known; those learnt on the way are visited too.
            calls: What is to be answered.
            patience: When to give up, how long to pause.
            started: When the calls were made.
            here: The node to visit first, if not the first in order.
        """
        self._nodes = nodes
        self._pending = list(calls)
        self._patience = patience
        self._started = started
        self._asked = started
        self._give_up_at: float | None = started + patience.deadline
        self._here = here
        self._rounds = 1
        self._visited: set[Node] = set()
        self._failures: dict[Node, Exception] = {}

    def step(self, now: float, jitter: float) -> Node | float | None:
        """The node to visit, or the seconds to pause, or None when every call has its outcome.

        Args:
            now: The clock.
            jitter: A random number from 0 to 1.
        """
        self._pending = [call for call in self._pending if not call.answered]
        if not self._pending:
            return None
        node = next(self._unvisited(), None)
        if node is not None:
            self._visited.add(node)
            return node
        if self._is_over(now):
            self._give_up()
            return None
        self._visited.clear()
        self._rounds += 1
        return self._patience.pause(self._rounds - 1, jitter)

    def postpone(self, node: Node) -> bool:
        """Whether to leave a node that would serve, as it is leaving and another may be found."""
        if not node.avoided or all(other.avoided for other in self._unvisited()):
            return False
        self._visited.discard(node)
        if node is self._here:  # it was to come first; now it takes its place in the order
            self._here = None
        return True

    def calls_for(self, node: Node, now: float) -> list[tuple[Call[Any], Command[Any]]]:
        """What to send to a node: the calls that may go there, each with its command as of now."""
        elapsed = now - self._started
        self._asked = now
        may_go = (call for call in self._pending if not call.answered and call.may_go_to(node))
        return [(call, shortened(call.command, elapsed)) for call in may_go]

    def answered(
        self, node: Node, calls: Sequence[Call[Any]], replies: Sequence[Any], now: float = 0.0
    ) -> DisqueError | None:
        """Take the node's replies to the first of these calls.

        Args:
            node: The node.
            calls: What it was sent.
            replies: What it answered.
            now: The clock.

        Returns:
            The reply that sends a call to another node, if there is one.
        """
        refusal = None
        for call, reply in zip(calls, replies, strict=False):
            if isinstance(reply, MOVE_ON):
                refusal = reply
                call.sent_to(node)
            elif reply is None and goes_on(call.command, self._asked, self._started, now):
                self.go_on(node, call)
            else:
                call.answer(reply)
                call.node = node
        if refusal is not None:
            self.failed(node, refusal)
        if isinstance(refusal, LeavingError):
            node.priority = AVOID
        return refusal

    def go_on(self, node: Node, call: Call[Any]) -> None:
        """A slice of a wait is over: this node is visited again at once."""
        self._here = node
        self._visited.discard(node)
        self._wait_for(call.command.wait)

    def broke(self, node: Node, calls: Iterable[Call[Any]], error: Exception) -> None:
        """The connection broke when the node may have got these calls and had not answered."""
        self.failed(node, error)
        for call in calls:
            call.sent_to(node)
            if call.command.resend is Resend.NEVER:
                text = f"{node.address}: {error}; {call.command.name} may have been carried out"
                call.answer(ConnectionLostError(text, sent=True))
            elif call.command.resend is Resend.ALWAYS:
                self._wait_for(call.command.wait)

    def failed(self, node: Node, error: Exception) -> None:
        """The node cannot be used now; nothing was sent to it, or it has refused what was."""
        self._visited.add(node)
        self._failures[node] = error

    def _unvisited(self) -> Iterator[Node]:
        """The nodes yet to be visited in this round that may get at least one call."""
        first = () if self._here is None else (self._here,)
        for node in (*first, *self._nodes.in_order()):
            if node not in self._visited and any(call.may_go_to(node) for call in self._pending):
                yield node

    def _wait_for(self, wait: float | None) -> None:
        """A wait that has begun is the caller's own; what breaks on the way does not end it."""
        if wait is None:
            self._give_up_at = None
        elif self._give_up_at is not None:
            longest = self._started + wait + self._patience.deadline
            self._give_up_at = max(self._give_up_at, longest)

    def _is_over(self, now: float) -> bool:
        return (
            (self._give_up_at is not None and now >= self._give_up_at)
            or all(isinstance(error, FINAL) for error in self._failures.values())
            or not any(call.may_go_to(node) for call in self._pending for node in self._nodes)
        )

    def _give_up(self) -> None:
        error = self._final_error()
        for call in self._pending:
            call.give_up(error)

    def _final_error(self) -> Exception:
        """The nodes' own answer when that is all there is, or what became of each node."""
        errors = list(self._failures.values())
        if errors and all(isinstance(error, DisqueError) for error in errors):
            return errors[-1]
        tried = "; ".join(f"{node.address}: {error}" for node, error in self._failures.items())
        error = UnreachableError(f"no node answered ({tried})")
        error.__cause__ = errors[-1] if errors else None
        return error
