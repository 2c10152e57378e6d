"""What a node tells those who watch it: is it well, and its figures, as they are at one moment.

For the node's own thread, which it never holds up: what it tells is bounded however many jobs and
queues there are. Figures of single queues are of a few only, found by looking at some each second.
On a Valkey queues are the system's, which every node would tell again: there are none of them then.
"""

from __future__ import annotations

import time
from typing import Any, NamedTuple

from pydisque._version import __version__
from pydisque.node.engine.engine import Tally
from pydisque.node.engine.queue import Queue
from pydisque.node.state.node import Node
from pydisque.node.store.base import LocalStore, Store
from pydisque.node.store.deferred import Later
from pydisque.node.store.durable.store import DurableStore
from pydisque.service.top_queues import Foremost, NodeRow, QueueRow, load

LOOKED_AT = 2000
"""Queues that are looked at in a second, for those with most to do: about a millisecond's work."""


class JobFigures(NamedTuple):
    """All jobs of a node that has its own."""

    queued: int
    jobs_in: int
    jobs_out: int
    added: int
    tally: Tally


class CommandFigures(NamedTuple):
    """One command."""

    name: str
    calls: int
    seconds: float


class JournalFigures(NamedTuple):
    """The journal of a node that has one."""

    commits: int
    seconds: float
    """That they took in all."""
    failures: int
    size: int
    needed: int


class ValkeyFigures(NamedTuple):
    """The Valkey of a node that has one."""

    shards: int
    missing: int
    answers: int
    seconds: float
    """That they took in all."""
    clock_difference: float
    """Seconds between the clocks of its servers."""
    promotable: int
    """Replicas that a failover could promote."""
    awaited: int
    """Those of them for which replies wait now."""


class Snapshot(NamedTuple):
    """A node at one moment."""

    version: str
    store: str
    """``memory``, ``journal`` or ``valkey``."""
    node_id: str
    trouble: str
    leaving: bool
    max_clients: int
    memory_limit: int
    slow: int
    row: NodeRow
    commands: list[CommandFigures]
    jobs: JobFigures | None
    queues: list[QueueRow]
    journal: JournalFigures | None
    valkey: ValkeyFigures | None


class Watch:
    """Keeps an eye on one node."""

    def __init__(self, node: Node, *, queues: int) -> None:
        """Watch this node, and so many of its queues."""
        self._node = node
        self._foremost = Foremost(queues)
        self._cursor = 0
        self._answers = 0
        self._seconds = 0.0
        self._asked = False

    def every_second(self) -> None:
        """Look at some more queues; ask Valkey something, to see how long it takes."""
        store = self._node.store
        if isinstance(store, LocalStore):
            self._look_on(store)
        elif not self._asked:
            self._ask_valkey()

    def _look_on(self, store: LocalStore) -> None:
        now = store.now

        def found(name: bytes) -> float | None:
            queue = store.find_queue(name)
            return None if queue is None else _load(queue, now)

        self._cursor, queues = store.queues_from(self._cursor, LOOKED_AT)
        self._foremost.refresh(found)
        self._foremost.consider([(queue.name, _load(queue, now)) for queue in queues])

    def _ask_valkey(self) -> None:
        store = self._node.store
        store.asker = None
        begun = time.perf_counter()

        def done(_: int) -> None:
            self._asked = False
            self._answers += 1
            self._seconds += time.perf_counter() - begun

        def failed(_: object) -> None:
            self._asked = False

        answer = store.length(b"")
        if isinstance(answer, Later):
            self._asked = True
            answer.then(done, failed)

    def trouble(self) -> str:
        """Why clients had better use another node, or nothing."""
        return trouble(self._node, self._node.store.persistence())

    def snapshot(self) -> Snapshot:
        """All figures, now."""
        node = self._node
        store = node.store
        kept = store.persistence()
        return Snapshot(
            version=__version__,
            store=_kind(store),
            node_id=node.id.decode(),
            trouble=trouble(node, kept),
            leaving=node.leaving,
            max_clients=node.config.number("maxclients"),
            memory_limit=node.config.number("maxmemory"),
            slow=node.slow_commands,
            row=_row(node),
            commands=[
                CommandFigures(command.name.decode(), command.calls, command.seconds)
                for command in node.commands.values()
            ],
            jobs=_jobs(store) if isinstance(store, LocalStore) else None,
            queues=self._queues(store) if isinstance(store, LocalStore) else [],
            journal=_journal(store, kept) if isinstance(store, DurableStore) else None,
            valkey=self._valkey(kept) if "valkey_shards" in kept else None,
        )

    def _queues(self, store: LocalStore) -> list[QueueRow]:
        now = time.time()
        names = sorted(self._foremost.loads)
        queues = [queue for name in names if (queue := store.find_queue(name)) is not None]
        return [
            QueueRow(
                queue.name,
                len(queue),
                queue.jobs_in,
                queue.jobs_out,
                self._node.waiting.count(queue.name),
                queue.pause,
                next((max(0.0, now - job.ctime / 1e9) for job in queue.oldest(1)), None),
            )
            for queue in queues
        ]

    def _valkey(self, kept: dict[str, Any]) -> ValkeyFigures:
        return ValkeyFigures(
            kept["valkey_shards"],
            kept["valkey_shards_missing"],
            self._answers,
            self._seconds,
            float(kept["valkey_clock_difference"]),
            kept["valkey_promotable_replicas"],
            len(kept["valkey_replies_wait_for"].split()),
        )


def trouble(node: Node, kept: dict[str, Any]) -> str:
    """Why clients had better use another node, or nothing; `kept` is what INFO tells of it."""
    if node.leaving:
        return "it is leaving"
    if node.store.failure:
        return f"nothing can be kept: {node.store.failure}"
    if missing := kept.get("valkey_shards_missing"):
        return f"{missing} of {kept['valkey_shards']} shards cannot be reached in Valkey"
    return ""


def _load(queue: Queue, now: int) -> float:
    return load(len(queue), queue.jobs_in, (now - queue.ctime) / 1000)


def _kind(store: Store) -> str:
    if isinstance(store, DurableStore):
        return "journal"
    return "memory" if isinstance(store, LocalStore) else "valkey"


def _row(node: Node) -> NodeRow:
    local = node.store if isinstance(node.store, LocalStore) else None
    return NodeRow(
        jobs=None if local is None else local.count,
        queues=None if local is None else local.queue_count(),
        connected=len(node.sessions),
        blocked=len(node.waiting),
        memory=node.used_memory,
        uptime=time.time() - node.started,
        commands=node.processed,
        connections=node.connections,
        rejected=node.rejected,
        received=node.received_bytes,
        sent=node.sent_bytes,
    )


def _jobs(store: LocalStore) -> JobFigures:
    tally = store.tally
    added = store.added()
    jobs_in = added - tally.delayed + tally.queued_again
    return JobFigures(
        store.waiting_jobs(),
        jobs_in,
        tally.handed_out,
        added,
        tally,
    )


def _journal(store: DurableStore, kept: dict[str, Any]) -> JournalFigures:
    journal = store.journal
    return JournalFigures(
        journal.commits,
        journal.seconds,
        journal.failures,
        kept["aof_current_size"],
        kept["aof_base_size"],
    )
