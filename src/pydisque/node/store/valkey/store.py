"""The store of a node that keeps nothing itself: each verb is asked of the shard it concerns.

What concerns several shards is asked of each and put together here. Nothing here waits: answers
come `Later`.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import time
from collections.abc import Awaitable, Callable, Iterable
from functools import partial
from typing import Any, TypeVar

from pydisque.errors import DisqueError, NoJobError, NoReplError, TooLateError
from pydisque.node.engine.job import Job, JobState, check_ids
from pydisque.node.engine.queue import QueueState
from pydisque.node.store.base import Fellow, Lengths, new_node_id
from pydisque.node.store.deferred import Later, joined
from pydisque.node.store.valkey import keys
from pydisque.node.store.valkey.batch import (
    ADD,
    OTHER,
    REFUSALS,
    REMOVE,
    Operation,
    command,
    giving_back,
    nobody,
)
from pydisque.node.store.valkey.connection import Line
from pydisque.node.store.valkey.due_timer import Alarm
from pydisque.node.store.valkey.job_ids import Births
from pydisque.node.store.valkey.keys import Layout
from pydisque.node.store.valkey.membership import Fellows
from pydisque.node.store.valkey.multi_queue import Gathering
from pydisque.node.store.valkey.replication import Told
from pydisque.node.store.valkey.scan import Scan
from pydisque.node.store.valkey.shard import Shard
from pydisque.node.store.valkey.topology import System
from pydisque.node.store.valkey.url import Place
from pydisque.node.store.wait_queue import Waiting

logger = logging.getLogger("pydisque.node")

T = TypeVar("T")

PAUSES = (b"none", b"in", b"out", b"all")
"""What is paused, by its flags."""

UNUSED_AT_ONCE = 500
"""Queues that one call looks at to drop those that nobody uses."""

CLOCKS_EVERY = 60
"""Seconds after which the clocks of all servers are compared again."""


class ValkeyStore:
    """The verbs of `Store`, on a Valkey."""

    durable = False
    failure = ""
    memory = 0
    """Here; the jobs take Valkey's."""

    def __init__(
        self, place: Place, patience: float, *, copies: int = 1, synced: bool = False
    ) -> None:
        """Prepare it; `start` finds the servers.

        Args:
            place: where the Valkey is.
            patience: seconds after which a server that does not answer is given up.
            copies: in how many of its servers a change has to be before it is answered, besides
                the replicas that may be promoted; with 0 these need not have it.
            synced: whether it has to be on their disks.
        """
        self.closed: Callable[[], Awaitable[None]] = _nothing
        """What is to be done in the end."""
        self._wanted = copies
        self._synced = synced
        self.ready: set[bytes] = set()  # stays empty: Valkey says by itself who is to be served
        self.asker: object = None
        self._fellows = Fellows()
        self._alarm = Alarm(lambda: self._fellows.before(self.node_id))
        self._loop = asyncio.get_running_loop()
        self._wall = time.time() * 1000 - self._loop.time() * 1000
        self.tick()
        self._patience = patience
        self._system = System(
            place,
            patience,
            copies=copies,
            synced=synced,
            published=self._published,
            placed=self._placed,
        )
        self._shards: list[Shard] = []
        self._layout: Layout
        self._by_channel: dict[bytes, Shard] = {}
        self._reply_size = sys.maxsize
        self._hand_out: Callable[[bytes, list[Job]], list[Job]] = lambda _name, jobs: jobs
        self._waiting: Waiting[Any] = Waiting()
        self._births: Births
        self._seconds = 0
        self._dropping: set[Shard] = set()
        self._comparing: asyncio.Task[None] | None = None
        self._clocks_due = 0
        self.node_id = new_node_id()

    async def start(self) -> None:
        """Find the servers and get ready.

        Raises:
            LineLostError: no server can be reached.
            WrongPlaceError: it cannot be used.
        """
        await self._system.start(self._make_shards)
        ready = self._loop.create_future()
        joined([self._operate(shard, [b"tick", 0], bool) for shard in self._shards], bool).then(
            ready.set_result, ready.set_exception
        )
        await ready
        self._compare_clocks()

    def _make_shards(self, made: Layout) -> list[Shard]:
        self._layout = made
        self._births = Births(made, self.node_id)
        self._shards = self._alarm.shards = [
            Shard(number, tag, heard=self._alarm.heard, stale=self._system.stale)
            for number, tag in enumerate(made.tags)
        ]
        self._by_channel = {shard.tag + b":due": shard for shard in self._shards}
        for shard in self._shards:
            shard.short = partial(self._drop_unused, shard)
        if self._wanted or self._synced:
            for shard in self._shards:
                shard.confirm = partial(self._confirm, shard)
        return self._shards

    async def aclose(self) -> None:
        """Take leave of the other nodes and hang up."""
        self._alarm.stop()
        if self._comparing:
            self._comparing.cancel()
        if self._shards and self._shards[0].line:
            gone = self._loop.create_future()
            later = self._operate(self._shards[0], self._fellows.leave_taking(self.node_id), str)
            later.then(lambda _: gone.set_result(None), lambda _: gone.set_result(None))
            await asyncio.wait([gone], timeout=1)
        await self._system.aclose()
        for shard in self._shards:
            shard.close(DisqueError("this node stops"))
        await self.closed()

    # Time

    def tick(self) -> None:
        """Take the time, which is about this node's clients; a job's is by its primary's clock.

        A primary that is replaced by one with another clock must not make clients look idle.
        """
        self.now = int(self._loop.time() * 1000 + self._wall)

    catch_up = tick

    def next_due(self) -> int | None:
        """Never: what is due is looked after here."""
        return None

    # What Valkey says by itself

    def _published(self, line: Line, push: list[Any]) -> None:
        if push[0] == b"smessage":
            if shard := self._by_channel.get(push[1]):
                self._alarm.come_again(shard, int(push[2]))
                return
            tag, _, token = push[1].rpartition(b"@")
            clients, _, name = push[2].partition(b" ")
            for shard in self._shards:
                if (shard.tag, shard.token) == (tag, token):
                    self._woken(shard, int(clients), name)
        elif (
            push[0] == b"sunsubscribe"
            and (shard := self._by_channel.get(push[1]))
            and self._system.hears(shard, line)
        ):
            self._system.stale(shard, "slot moved")

    def _woken(self, shard: Shard, clients: int, name: bytes) -> None:
        words = [b"take", 0, clients, self._reply_size, name]
        take = Operation(
            words, keys.given, Later(), again=False, patient=True, bound=True,
            asker=name, jobs=clients, limit=self._reply_size,
        )  # fmt: skip
        token = shard.token

        def hand_out(jobs: list[Job]) -> None:
            left = self._hand_out(name, jobs)
            if left:
                self.put_back(left)
            # At that place as many fewer are in line as there were jobs, at a new one no fewer.
            change = len(left) - (0 if shard.token == token else len(jobs))
            if change:
                shard.tell([b"stand", 0, change, name], bound=True)

        self._do(shard, take).then(hand_out, nobody)

    def attend(
        self,
        hand_out: Callable[[bytes, list[Job]], list[Job]],
        waiting: Waiting[Any],
    ) -> None:
        """Say who takes jobs for clients in line, and which clients these are."""
        self._hand_out = hand_out
        self._waiting = waiting

    def _placed(self, shard: Shard) -> None:
        """All in line stand where the shard is now, and what was due may be so since long."""
        self._clocks_due = self._seconds
        shard.tell([b"tick", 0])
        for name, clients in self._waiting.counts():
            if self._shard(name) is shard:
                shard.ask_first(command([b"stand", 0, clients, name], bound=True))

    # Asking

    def _shard(self, name: bytes) -> Shard:
        return self._shards[self._layout.shard_of_queue(name)]

    def _operate(
        self,
        shard: Shard,
        words: list[Any],
        read: Callable[[Any], T],
        *,
        again: bool = True,
        grows: bool = False,
        patient: bool = False,
        writes: bool = False,
    ) -> Later[T]:
        later: Later[T] = Later()
        operation = Operation(words, read, later, again, grows, patient, writes, asker=self.asker)
        shard.open(self.asker, OTHER).operate(operation)
        return later

    def _look(
        self, shard: Shard, words: list[Any], read: Callable[[Any], T], jobs: int, limit: int
    ) -> Later[T]:
        """A read that changes nothing, of so many jobs at most, and of such size."""
        later: Later[T] = Later()
        look = Operation(
            words, read, later, again=True, writes=False, asker=self.asker, jobs=jobs, limit=limit
        )
        return self._do(shard, look)

    @staticmethod
    def _do(shard: Shard, operation: Operation) -> Later[Any]:
        shard.open(operation.asker, operation.stage).operate(operation)
        return operation.answer

    def _confirm(self, shard: Shard, line: Line, told: Told) -> None:
        self._system.copied(shard, self._wanted, self._patience, told, line)

    # Jobs

    def set_node_id(self, node_id: bytes) -> None:
        """Put this node's mark on the IDs of the jobs to come."""
        self.node_id = node_id
        self._births = Births(self._layout, node_id)

    def add(
        self, name: bytes, body: bytes, ttl: int, retry: int, delay: int, maxlen: int | None
    ) -> Later[bytes]:
        """As `Engine.add`."""
        if self._wanted > 1 and self.copies(name) < self._wanted:
            self._system.look_at_replicas()  # perhaps it is back
            raise NoReplError
        shard, id_, head = self._new(name, ttl, retry, delay)
        if maxlen is not None:
            return self._fit(shard, maxlen, head, id_, body)
        later: Later[bytes] = Later()
        shard.open(self.asker, ADD).add(id_, head, body, later)
        return later

    def add_at_once(
        self, name: bytes, body: bytes, ttl: int, retry: int, delay: int, maxlen: int | None
    ) -> Later[bytes]:
        """The same without waiting for copies."""
        shard, id_, head = self._new(name, ttl, retry, delay)
        most = sys.maxsize if maxlen is None else maxlen
        return self._fit(shard, most, head, id_, body, writes=False)

    def _fit(
        self,
        shard: Shard,
        maxlen: int,
        head: bytes,
        id_: bytes,
        body: bytes,
        *,
        writes: bool = True,
    ) -> Later[bytes]:
        words = [b"fit", 0, maxlen, head, id_, body]
        read = partial(_fitted, id_)
        return self._operate(shard, words, read, again=False, grows=True, writes=writes)

    def _new(self, name: bytes, ttl: int, retry: int, delay: int) -> tuple[Shard, bytes, bytes]:
        """Where a new job goes, its ID, and its head."""
        number, id_, head = self._births.new(name, ttl, retry, delay)
        return self._shards[number], id_, head

    def copies(self, name: bytes) -> int:
        """How many copies of a queue's jobs there could be: the primary's and its replicas'."""
        line = self._shard(name).line
        return 1 + (line.replicas if line else 0)

    def copied(self, id_: Later[bytes] | bytes, copies: int, timeout: int) -> Later[bytes] | bytes:
        """The ID of a job once it has so many copies; else the job is removed."""
        if copies <= max(1, self._wanted) or isinstance(id_, bytes):
            return id_
        answer: Later[bytes] = Later()

        def done(added: bytes) -> None:
            shard = self._shards[self._layout.shard_of_job(added)]

            def told(error: DisqueError | None) -> None:
                if error is None:
                    answer.done(added)
                else:
                    shard.tell([b"remove", 1, 1, added])
                    answer.failed(error)

            self._system.copied(shard, copies, timeout / 1000, told)

        id_.then(done, answer.failed)
        return answer

    def get(
        self, names: list[bytes], count: int = 1, size: int = sys.maxsize, *, wait: bool = False
    ) -> Later[list[Job]]:
        """As `Engine.get`."""
        self._reply_size = size
        shard = self._shard(names[0])
        if len(names) > 1 and any(self._shard(name) is not shard for name in names):
            get = partial(self._get_from, asker=self.asker, patient=wait)
            offered = partial(self._offered, asker=self.asker, patient=wait)
            return Gathering(get, offered, self._stand).get(names, count, size, wait=wait)
        return self._get(shard, names, count, size, self.asker, wait=wait, patient=wait)

    def _get(
        self,
        shard: Shard,
        names: list[bytes],
        count: int,
        size: int,
        asker: object,
        *,
        wait: bool = False,
        patient: bool,
    ) -> Later[list[Job]]:
        words = [b"get", 0, int(wait), count, size, len(names), *names]
        operation = Operation(
            words, keys.given, Later(), again=True, patient=patient,
            asker=asker, jobs=count, limit=size,
        )  # fmt: skip
        return self._do(shard, operation)

    def _get_from(
        self, name: bytes, count: int, size: int, *, asker: object, patient: bool
    ) -> Later[list[Job]]:
        return self._get(self._shard(name), [name], count, size, asker, patient=patient)

    def _offered(self, name: bytes, *, asker: object, patient: bool) -> Later[int]:
        offered = Operation(
            [b"offered", 0, name], int, Later(),
            again=True, patient=patient, writes=False, asker=asker,
        )  # fmt: skip
        return self._do(self._shard(name), offered)

    def _stand(self, names: Iterable[bytes], clients: int) -> None:
        for name in names:
            self._shard(name).tell([b"stand", 0, clients, name], bound=True)

    def leave(self, names: Iterable[bytes]) -> None:
        """A client stands in line for these queues no longer."""
        self._stand(dict.fromkeys(names), -1)

    def _by_shard(self, ids: list[bytes]) -> Iterable[tuple[Shard, list[bytes]]]:
        check_ids(ids)
        of = self._layout.shard_of_job
        if len(ids) < 2 or self._layout.shards == 1:
            return [(self._shards[of(ids[0]) if ids else 0], ids)]
        sorted_: dict[int, list[bytes]] = {}
        for id_ in ids:
            sorted_.setdefault(of(id_), []).append(id_)
        return [(self._shards[number], part) for number, part in sorted_.items()]

    def remove(self, ids: list[bytes]) -> Later[int]:
        """As `Engine.remove`."""
        parts = []
        for shard, part in self._by_shard(ids):
            later: Later[int] = Later()
            shard.open(self.asker, REMOVE).remove(part, later)
            parts.append(later)
        return _sum(parts)

    def _each(
        self, verb: list[Any], ids: list[bytes], *, again: bool = False, grows: bool = False
    ) -> Later[int]:
        parts = []
        for shard, part in self._by_shard(ids):
            words = [*verb, len(part), *part]
            later = self._operate(shard, words, int, again=again, grows=grows, writes=True)
            parts.append(later)
        return _sum(parts)

    def enqueue(self, ids: list[bytes], *, uncounted: bool = False) -> Later[int]:
        """As `Engine.enqueue`."""
        return self._each([b"enqueue", 0, int(uncounted)], ids, grows=not uncounted)

    def put_back(self, jobs: list[Job]) -> None:
        """Queue jobs again that were handed out to nobody, unless something happened to them."""
        of = self._layout.shard_of_job
        for shard in self._shards:
            if mine := [job for job in jobs if of(job.id) == shard.number]:
                for operation in giving_back(mine):
                    shard.open(None, OTHER).operate(operation)

    def nack(self, ids: list[bytes], delay: int = 0) -> Later[int]:
        """As `Engine.nack`."""
        return self._each([b"nack", 0, delay], ids, grows=True)

    def dequeue(self, ids: list[bytes]) -> Later[int]:
        """As `Engine.dequeue`."""
        return self._each([b"dequeue", 0], ids)

    def working(self, id_: bytes) -> Later[int]:
        """As `Engine.working`."""
        [(shard, ids)] = self._by_shard([id_])
        return self._operate(shard, [b"working", 0, *ids], _postponed, writes=True)

    def show(self, id_: bytes) -> Later[JobState | None]:
        """As `Engine.show`."""
        [(shard, ids)] = self._by_shard([id_])
        return self._look(shard, [b"show", 0, *ids], partial(self._shown, shard, id_), 1, 1)

    def _shown(self, shard: Shard, id_: bytes, told: Any) -> JobState | None:
        return keys.shown(id_, told, self._alarm.now(shard)) if told else None

    # Queues

    def length(self, name: bytes) -> Later[int]:
        """As `Engine.length`."""
        return self._operate(self._shard(name), [b"length", 0, name], int)

    def peek(self, name: bytes, count: int, size: int = sys.maxsize) -> Later[list[Job]]:
        """As `Engine.peek`."""
        words = [b"peek", 0, count, size, name]
        return self._look(self._shard(name), words, keys.given, abs(count) or 1, size)

    def stat(self, name: bytes) -> Later[QueueState | None]:
        """As `Engine.stat`."""

        def read(told: list[int] | None) -> QueueState | None:
            if not told:
                return None
            length, age, idle, blocked, jobs_in, jobs_out, flags = told
            return QueueState(name, length, age, idle, jobs_in, jobs_out, PAUSES[flags], blocked)

        return self._operate(self._shard(name), [b"stat", 0, name], read)

    def pause(self, name: bytes, *, to: tuple[bool, bool] | None) -> Later[bytes]:
        """As `Engine.pause`."""
        flags = b"" if to is None else to[0] + 2 * to[1]
        words = [b"pause", 0, flags, name]
        writes = to is not None
        return self._operate(self._shard(name), words, _paused, writes=writes)

    def scan_queues(
        self, cursor: int, limit: int | None, wanted: Lengths, size: int = sys.maxsize
    ) -> Later[tuple[int, list[bytes]]]:
        """As `Engine.scan_queues`."""

        def words(at: int, count: int, rest: int) -> list[Any]:
            return [b"queues", 0, at, count, rest, wanted.low, wanted.high]

        def read(_shard: Shard, names: list[bytes]) -> list[bytes]:
            return names

        return Scan(self._shards, self.asker, limit, words, read, size, len).begin(cursor)

    def scan_jobs(
        self,
        cursor: int,
        limit: int | None,
        name: bytes | None,
        states: Iterable[bytes],
        *,
        size: int | None = None,
    ) -> Later[tuple[int, list[JobState]]]:
        """As `Engine.scan_jobs`; without a size the bodies are empty."""
        searched = frozenset(states)
        of = b"" if name is None else b"=" + name

        def words(at: int, count: int, rest: int) -> list[Any]:
            return [b"jobs", 0, at, count, b"" if size is None else rest, of]

        def read(shard: Shard, told: list[Any]) -> list[JobState]:
            now = self._alarm.now(shard)
            rows = zip(*[iter(told)] * 5, strict=True)
            return [
                keys.shown(id_, (value, due, kind, counts), now)
                for id_, value, due, kind, counts in rows
                if not searched or keys.state_name(kind) in searched
            ]

        shards = self._shards if name is None else [self._shard(name)]
        most = sys.maxsize if size is None else size

        def size_of(state: JobState) -> int:
            return len(state.job.body)

        return Scan(shards, self.asker, limit, words, read, most, size_of).begin(cursor)

    def totals(self) -> Later[tuple[int, int]]:
        """How many jobs and how many queues there are."""
        parts = [self._operate(shard, [b"totals", 0], tuple) for shard in self._shards]
        return joined(
            parts, lambda each: (sum(one[0] for one in each), sum(one[1] for one in each))
        )

    def flush(self) -> Later[None]:
        """Forget all jobs and queues."""
        parts = [self._operate(shard, [b"flush", 0], bool, writes=True) for shard in self._shards]
        return joined(parts, lambda _: None)

    # The node

    def every_second(self) -> None:
        """Say that this node lives, hear of the others, and give up what does not answer."""
        self._system.drop_silent()
        for shard in self._shards:
            shard.lose_patience(self._patience)
        self._say()
        self._system.look_at_replicas()
        self._seconds += 1
        if self._seconds >= self._clocks_due:
            self._clocks_due = self._seconds + CLOCKS_EVERY
            self._compare_clocks()

    def _compare_clocks(self) -> None:
        if self._comparing is None or self._comparing.done():
            self._comparing = self._loop.create_task(self._system.compare_clocks())

    def announce(self, host: str, port: int, *, leaving: bool) -> None:
        """Say where this node is, and whether clients should rather use others; they hear soon."""
        line = self._shards[0].line
        here = line.here if line else ""
        self._fellows.announce((host or here).encode(), port, leaving=leaving)
        self._say()

    def _say(self) -> None:
        if self._shards[0].line:
            sign = self._fellows.sign_of_life(self.node_id)
            later = self._operate(self._shards[0], sign, list)
            later.then(lambda told: self._fellows.meet(told, self.node_id), nobody)

    @property
    def fellows(self) -> list[Fellow]:
        """The other nodes that live."""
        return self._fellows.others

    def uncommitted(self) -> bool:
        """Never: answers come when they are kept."""
        return False

    def commit(self, done: Callable[[str], None]) -> None:
        """Nothing is to be kept here."""
        done("")

    def set_durability(self, durability: str) -> None:
        """That is decided at the start."""

    def compact(self) -> None:
        """Valkey does that by itself."""

    def drop_idle(self, seconds: int, waited_for: Callable[[bytes], bool]) -> None:
        """The functions look after that."""

    def _drop_unused(self, shard: Shard, cursor: int = 0) -> None:
        """Valkey is short of memory: drop the queues that nobody uses."""
        if not cursor and shard in self._dropping:
            return
        self._dropping.add(shard)
        later = self._operate(shard, [b"drop_unused", 0, cursor, UNUSED_AT_ONCE], int)
        later.then(partial(self._dropped_unused, shard), lambda _: self._dropped_unused(shard, 0))

    def _dropped_unused(self, shard: Shard, cursor: int) -> None:
        self._dropping.discard(shard)
        if cursor:
            self._drop_unused(shard, cursor)

    def make_room(self, limit: int) -> bool:
        """Nothing here takes room."""
        return self.memory <= limit

    def evict(self) -> bool:
        """Nothing is given up."""
        return False

    def persistence(self) -> dict[str, object]:
        """What INFO tells of how jobs are kept."""
        place = self._system.place
        return {
            "journal": "valkey",
            "valkey": str(place),
            "valkey_mode": self._system.mode,
            "valkey_servers": ",".join(sorted(map(str, self._system.lines.values()))),
            "valkey_shards": len(self._shards),
            "valkey_promotable_replicas": len(self._system.replicas.names()),
            "valkey_replicas_left_out": " ".join(self._system.replicas.left_out()),
            "valkey_replies_wait_for": " ".join(self._system.held_by()),
            "replicate": self._wanted,
            "durability": "always" if self._synced else "none",
            "may_lose": self._may_lose(),
            "valkey_shards_missing": sum(shard.line is None for shard in self._shards),
            "valkey_clock_difference": f"{self._system.clocks.difference.seconds:.3f}",
        }

    def _may_lose(self) -> str:
        """What INFO says can be lost of what was answered."""
        node = "nothing when a node ends"
        if self._wanted == 0:
            failing = "about a second of changes in a failover of Valkey's primary"
        elif self._system.replicas.names():
            failing = "nothing in a failover to a promotable replica"
        else:
            failing = "what its replicas have not got when Valkey's primary fails"
        disk = "nothing" if self._synced else "what Valkey's appendfsync leaves unwritten"
        return f"{node}; {failing}; {disk} when all machines do"


async def _nothing() -> None:
    """Nothing is to be done."""


def _paused(told: int) -> bytes:
    return PAUSES[told - 1]


def _fitted(id_: bytes, refused: bytes | int) -> bytes:
    if isinstance(refused, bytes):
        raise REFUSALS[refused]
    return id_


def _postponed(retry: int | bytes) -> int:
    if isinstance(retry, int):
        return retry
    raise NoJobError if retry == b"NOJOB" else TooLateError


def _sum(parts: list[Later[int]]) -> Later[int]:
    return parts[0] if len(parts) == 1 else joined(parts, sum)
