"""The nodes whose jobs are moved, each of them asked itself.

A `Client` goes to another node when one fails; but which jobs are in which queue is for each node
to tell. Nothing here sends anything twice, and nothing here knows what is sent.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Self

from redis.exceptions import RedisError

from pydisque.client.failover import Patience
from pydisque.client.nodes import Node
from pydisque.client.requeue import putting_back
from pydisque.client.transport import Transport
from pydisque.errors import DisqueError, UnreachableError
from pydisque.protocol import commands
from pydisque.protocol.addresses import Address
from pydisque.protocol.command import Command
from pydisque.protocol.replies import Job


class SourceNode:
    """One node that is asked itself, and none in its place."""

    def __init__(self, address: Address) -> None:
        self.address = address
        self._node = Node(address)
        self._transport = Transport(
            [address], Patience(0, (0, 0)), {}, resend_add=False, discover=False
        )

    def run(self, batch: Sequence[Command[Any]]) -> list[Any]:
        """Send commands once; their results in order, errors in their places.

        Raises:
            UnreachableError: It does not answer; what it has carried out is not known.
        """
        try:
            return self._transport.run_at(self._node, batch)
        except DisqueError:
            raise
        except RedisError as error:
            raise UnreachableError(f"{self.address}: {error}") from error

    def ask(self, *batch: Command[Any]) -> list[Any]:
        """The same; the first error is raised."""
        results = self.run(batch)
        for result in results:
            if isinstance(result, Exception):
                raise result
        return results

    def scan(self, page: Callable[[Any], Command[list[Any]]]) -> Iterator[list[Any]]:
        """What a scan finds, page by page."""
        cursor: Any = 0
        while True:
            [(cursor, found)] = self.ask(page(cursor))
            yield list(dict.fromkeys(found))
            if int(cursor) == 0:
                return

    def put_back(self, ids: Iterable[bytes]) -> None:
        """Put jobs back into their queues that were taken out here."""
        steps = putting_back([Job((b"", job_id, b"")) for job_id in ids])
        try:
            batch = next(steps)
            while True:
                batch = steps.send(self.run(batch))
        except StopIteration:
            return

    def close(self) -> None:
        """Close its connections."""
        self._transport.close()


def _shares(node: SourceNode) -> bool:
    """Whether a node has fellows that have the same jobs: ours have any only on a Valkey."""
    [info] = node.ask(commands.info())
    return "pydisque_version" in info


class Source:
    """All nodes whose jobs are to be moved: those given, and those they know of."""

    def __init__(self, given: Iterable[Address]) -> None:
        """Connect to them.

        Raises:
            UnreachableError: None answers as it should.
        """
        self.nodes: dict[bytes, SourceNode] = {}
        """By their IDs."""
        self._same: set[bytes] = set()  # nodes that have the jobs of one that is asked already
        self._silent: dict[Address, tuple[bytes | None, str]] = {}
        heard: deque[tuple[Address, bytes | None]] = deque((address, None) for address in given)
        while heard:
            address, node_id = heard.popleft()
            if address not in self._silent and node_id not in self.nodes:
                heard.extend(self._meet(address, node_id))
        if not self.nodes:
            raise UnreachableError(f"no node answered ({'; '.join(self.silent)})")

    @property
    def silent(self) -> list[str]:
        """What became of nodes that could not be asked; their jobs are not moved."""
        return [text for node_id, text in self._silent.values() if node_id not in self.nodes]

    def _meet(
        self, address: Address, node_id: bytes | None
    ) -> Iterator[tuple[Address, bytes | None]]:
        """Ask a node which others there are."""
        node = SourceNode(address)
        try:
            [[_, own_id, *known]] = node.ask(commands.hello())
        except RedisError as error:
            node.close()
            where = "" if isinstance(error, UnreachableError) else f"{address}: "
            self._silent[address] = node_id, f"{where}{error}"
            return
        if own_id in self._same or self.nodes.setdefault(own_id, node) is not node:
            node.close()
            return
        others = [other for other in known if other[0] != own_id]
        if others and _shares(node):
            self._same |= {other_id for other_id, *_ in others}
            return
        for other_id, host, port, _ in others:
            other = address.elsewhere(host.decode(), int(port))
            if other.is_usable:
                yield other, other_id
            else:
                self._silent[other] = other_id, f"{other}: no host and port"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        for node in self.nodes.values():
            node.close()
