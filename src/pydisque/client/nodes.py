"""Which nodes there are, and in which order to try them.

The nodes given come first, in their order; then those learnt from HELLO, the better priority
first. Nodes that failed come after these, and those that are leaving last of all; but they do come,
so that a node that came back is used again. `Following` says when to move to where the jobs are
made. All of this is decided from what the client reports; nothing here opens, sends, waits or looks
at a clock.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from pydisque.protocol.addresses import Address, is_host

# A node's own or its fellows' word that it is failed or leaving (HELLO's fourth column).
AVOID = 100


class Node:
    """One node: where it is, who it is, and how it was last heard to be."""

    __slots__ = ("address", "failing", "id", "priority")

    def __init__(self, address: Address, node_id: str | None = None, priority: int = 1) -> None:
        self.address = address
        self.id = node_id
        self.priority = priority
        self.failing = False

    @property
    def avoided(self) -> bool:
        """Whether another node is to be preferred, whatever its place."""
        return self.priority >= AVOID

    @property
    def prefix(self) -> str | None:
        """What the IDs of jobs made on this node begin with, after ``D-``."""
        return self.id and self.id[:8]

    def __repr__(self) -> str:
        return f"<Node {self.address}>"


class Nodes:
    """All nodes known to one client."""

    def __init__(
        self,
        given: Iterable[Address],
        *,
        discover: bool = True,
        secret: bool = False,
        tls: bool = False,
    ) -> None:
        """Begin with the nodes given.

        Args:
            given: Their addresses.
            discover: Whether others are used that these name.
            secret: Whether every node gets a password, whatever its address says.
            tls: Whether every node on TCP is reached by TLS, likewise.
        """
        self._given = [Node(address) for address in given]
        self._discover = discover
        self._secret = secret
        self._tls = tls
        self._learnt: list[Node] = []

    def __iter__(self) -> Iterator[Node]:
        return iter([*self._given, *self._learnt])

    def in_order(self) -> list[Node]:
        """Every node once, the one to try first in front."""
        learnt = sorted(self._learnt, key=lambda node: node.priority)
        return sorted([*self._given, *learnt], key=lambda node: (node.avoided, node.failing))

    def forgive(self) -> None:
        """Forget who failed, so that the nodes given come first again."""
        for node in self:
            node.failing = False

    def learn(self, node: Node, hello: Sequence[Any]) -> None:
        """Take in what a node said of itself and of the others it knows.

        Args:
            node: The node that answered.
            hello: Its reply to HELLO: ``[1, own ID, [ID, ip, port, priority], ...]``.
        """
        node.id = _text(hello[1])
        node.priority = 1
        # Given as a name, learnt as a number: now that it has said who it is, keep one of the two.
        self._learnt = [other for other in self._learnt if other is node or other.id != node.id]
        for entry in hello[2:]:
            node_id, ip, port, priority = (_text(part) for part in entry)
            if node_id == node.id:
                node.priority = int(priority)
            else:
                self._heard_of(node, node_id, ip, int(port), int(priority))

    def _heard_of(self, by: Node, node_id: str, ip: str, port: int, priority: int) -> None:
        address = by.address.elsewhere(ip, port)
        known = self._find(node_id, address)
        if known is not None:
            known.id, known.priority = node_id, priority
        elif self._discover and port and priority < AVOID and self._may_use(by.address, address):
            self._learnt.append(Node(address, node_id, priority))

    def _may_use(self, by: Address, to: Address) -> bool:
        """Whether a node's word is enough to use another one.

        A password is not sent in the clear to where more can read it than on the way that the user
        chose: from a Unix socket to no port, from loopback (perhaps a tunnel) to no other host.
        """
        if not is_host(to.host):
            return False
        if self._tls or to.tls or not (self._secret or to.password):
            return True
        return to.exposure <= by.exposure

    def _find(self, node_id: str, address: Address) -> Node | None:
        """A node known by its ID; or by its address, for a node being joined has a passing ID."""
        by_id = (node for node in self if node.id == node_id)
        by_address = (node for node in self if node.address == address)
        return next(by_id, None) or next(by_address, None)


class Following:
    """Where the jobs come from, and whether to move there.

    A job's ID begins with its maker's, so counting received IDs tells which node to ask. Old
    counts fade, and a move must be worth it, or two equal nodes would send the client to and fro.
    """

    def __init__(self, every: int = 100, margin: float = 1.5) -> None:
        """Decide once in so many jobs; move to a node that is better by this factor."""
        self._every = every
        self._margin = margin
        self._since = 0
        self._counts: Counter[str] = Counter()

    def received(self, job_ids: Iterable[bytes | str]) -> bool:
        """Count jobs; True when it is time to `choose`."""
        prefixes = [_text(job_id[2:10]) for job_id in job_ids]
        self._counts.update(prefixes)
        self._since += len(prefixes)
        return self._since >= self._every

    def choose(self, nodes: Iterable[Node], here: Node) -> Node | None:
        """The node to move to, or None to stay; begins the next count."""
        scores = {node: self._score(node) for node in nodes}
        self._since = 0
        self._counts = Counter({p: count // 2 for p, count in self._counts.items() if count > 1})
        best = max(scores, key=lambda node: scores[node], default=here)
        return best if scores.get(best, 0) > self._margin * scores.get(here, 0) else None

    def _score(self, node: Node) -> float:
        """Jobs received from it, worth less on a node that is not at its best."""
        if node.avoided or node.prefix is None:
            return 0.0
        return self._counts[node.prefix] / max(1, node.priority)


def _text(value: Any) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)
