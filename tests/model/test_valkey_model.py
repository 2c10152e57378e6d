"""Random commands, clients that wait, and time: on the functions in Valkey and on the engine.

The engine is the reference. Whatever is asked must have the same answer, and all must stand the
same way afterwards. Different by design are the IDs, the time of creation beyond its millisecond,
and when a queue is forgotten that nobody uses.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from pydisque.errors import DisqueError
from pydisque.node.engine.job import STATES, Job, JobState
from pydisque.node.engine.queue import QueueState
from pydisque.node.state.node import Node, jobs_reply
from pydisque.node.store.base import Lengths, LocalStore
from pydisque.node.store.valkey.keys import Layout
from support.engines import NODE_ID
from support.manual_node import PREFIX, Client, HandDriven, outcome
from support.valkeys import ValkeyProcess, valkey

EXAMPLES = int(os.environ.get("PYDISQUE_TEST_EXAMPLES", "60"))
"""Runs of random commands on each number of shards; more of them find more."""

NAMES = [b"a", b"b", b"x"]
"""Of 64 shards the first and the last are in the same one."""

FORGOTTEN = 300_000
"""Milliseconds after which a queue may be forgotten; looked at as often."""

CHUNK = 30
"""So many jobs at most are known at a time: the youngest."""

Check = Callable[[], None]

_name = st.sampled_from(NAMES)
_job = st.integers(0, CHUNK - 1)
_jobs = st.lists(_job, max_size=4)
_seconds = st.one_of(st.integers(1, 40), st.integers(1, 40), st.just(10**9))
_commands = st.one_of(
    st.tuples(
        st.just("add"),
        _name,
        st.binary(max_size=5),
        _seconds,
        st.sampled_from([0, 0, 1, 3, 10, 10**8]),
        st.sampled_from([0, 0, 0, 2, 9]),
        st.sampled_from([None, None, 1, 2, 3, 5]),
    ),
    st.tuples(st.just("get"), st.lists(_name, min_size=1, max_size=1), st.integers(1, 5)),
    st.tuples(st.just("get"), st.lists(_name, min_size=1, max_size=4), st.integers(1, 5)),
    st.tuples(st.just("remove"), st.lists(_job, max_size=2)),
    st.tuples(st.just("enqueue"), _jobs, st.booleans()),
    st.tuples(st.just("nack"), _jobs, st.sampled_from([0, 0, 1, 4, 50])),
    st.tuples(st.just("dequeue"), _jobs),
    st.tuples(st.just("working"), _job),
    st.tuples(st.just("show"), _job),
    st.tuples(st.just("length"), _name),
    st.tuples(st.just("peek"), _name, st.integers(-4, 4)),
    st.tuples(st.just("stat"), _name),
    st.tuples(st.just("pause"), _name, st.none() | st.tuples(st.booleans(), st.booleans())),
)
_OPTIONS = {"enqueue": "uncounted", "pause": "to"}
"""Verbs whose last argument has a name."""


class ValkeyMachine(RuleBasedStateMachine):
    """A node on Valkey, one with the engine, and what is known of both."""

    server: ValkeyProcess
    shards = 1

    def __init__(self) -> None:
        super().__init__()
        self.system = HandDriven(self.server, self.shards)
        self.tested = self.system.add_node()
        self.store = self.tested.store
        self.engine = LocalStore(NODE_ID, clock=lambda: self.system.clock.now / 1000)
        self.node = Node({}, self.engine)
        self.layout = Layout(PREFIX, self.shards)
        self.jobs: list[list[bytes]] = []
        """The IDs of each, the engine's and Valkey's."""
        self.numbers: dict[bytes, int] = {}
        """Where they are in there."""
        self.clients: list[tuple[Client, Client]] = []
        self.steps = 0

    def teardown(self) -> None:
        self.system.close()

    # Asking both

    @rule(commands=st.lists(_commands, min_size=1, max_size=4))
    def ask(self, commands: list[tuple[Any, ...]]) -> None:
        """One client's commands; as many as can go to Valkey in one call."""
        self.store.asker = object()
        known = self.jobs[-CHUNK:]
        somebody_waits = bool(self.clients)
        checks: list[Check] = []
        for verb, *given in commands:
            steps = verb == "get" and self.is_gathered(given[0])
            if steps or somebody_waits:  # who waits is served between two calls
                self.settle(checks)
            words = [self.words(verb, given, [job[side] for job in known]) for side in (0, 1)]
            if all(words):
                checks.append(self.check(verb, *words))
            if steps:
                self.settle(checks)
        self.settle(checks)

    @rule(
        name=_name,
        added=st.integers(2, 5),
        ttl=st.integers(2, 20),
        retry=st.sampled_from([0, 1, 3, 10]),
        taken=st.integers(0, 5),
    )
    def use(self, name: bytes, added: int, ttl: int, retry: int, taken: int) -> None:
        """A queue is in use: there are some jobs, and some are worked on."""
        self.ask([("add", name, b"", ttl, retry, 0, None)] * added)
        if taken:
            self.ask([("get", [name], taken)])

    def words(self, verb: str, given: list[Any], ids: list[bytes]) -> list[Any]:
        """The arguments, numbers of jobs as IDs; none if there is no such job."""
        words = list(given)
        if verb in ("remove", "enqueue", "nack", "dequeue"):
            words[0] = [ids[number % len(ids)] for number in given[0] if ids]
        elif verb in ("working", "show"):
            if not ids:
                return []
            words[0] = ids[given[0] % len(ids)]
        return words

    def check(self, verb: str, of_engine: list[Any], of_store: list[Any]) -> Check:
        """Ask both; what is returned compares the answers, once there are some."""
        options: list[dict[str, Any]] = [{}, {}]
        if name := _OPTIONS.get(verb):
            options = [{name: words[-1]} for words in (of_engine, of_store)]
            of_engine, of_store = of_engine[:-1], of_store[:-1]
        told = outcome(getattr(self.store, verb)(*of_store, **options[1]))
        try:
            answer = getattr(self.engine, verb)(*of_engine, **options[0])
        except DisqueError as error:
            answer = error
        if verb == "add" and isinstance(answer, bytes):
            number = self.numbers[answer] = len(self.jobs)
            self.jobs.append([answer, b""])
        expected = self.plain(answer)
        self.node.serve()

        def compare() -> None:
            found = told()
            if verb == "add" and isinstance(found, bytes) and isinstance(answer, bytes):
                self.numbers[found] = number
                self.jobs[number][1] = found
            assert self.plain(found) == expected, (verb, of_store)

        return compare

    def settle(self, checks: list[Check]) -> None:
        """Let everything come to rest, and compare what was answered and who got what."""
        self.system.settle()
        for check in checks:
            check()
        checks.clear()
        for pair in self.clients:
            known, told = ([self.plain(job) for job in client.taken()] for client in pair)
            assert told == known, "another client was served, or with something else"
        self.clients = [pair for pair in self.clients if pair[0].blocked]
        assert all(tested.blocked for _, tested in self.clients)

    def is_gathered(self, names: list[bytes]) -> bool:
        """Whether these queues are not in one shard."""
        return len({self.layout.shard_of_queue(name) for name in names}) > 1

    def plain(self, value: Any) -> Any:
        """An answer without what is different by design."""
        if isinstance(value, bytes):
            return self.numbers.get(value, value)
        if isinstance(value, DisqueError):
            return type(value), str(value)
        if isinstance(value, Job):
            return (
                self.plain(value.id), value.queue, value.body, value.nacks,
                value.additional_deliveries, value.retry, value.delay, value.etime,
                value.ctime // 1_000_000,
            )  # fmt: skip
        if isinstance(value, JobState):
            return self.plain(value.job), value.job.state, value.job.qtime, *value[1:]
        if isinstance(value, QueueState) and value.blocked is None:
            return value._replace(blocked=self.node.waiting.count(value.name))
        return [self.plain(each) for each in value] if isinstance(value, list) else value

    # Clients that wait

    @rule(name=_name, clients=st.integers(1, 3), counters=st.booleans())
    def wait(self, name: bytes, clients: int, counters: bool) -> None:
        """Some want a job of a queue and wait until there is one."""
        for _ in range(clients):
            self.wait_for_one(name, counters=counters)
        self.settle([])

    @rule(name=_name, clients=st.integers(0, 2))
    def open_again(self, name: bytes, clients: int) -> None:
        """Some wait for jobs of a queue that gives out none, until it does again."""
        self.ask([("pause", name, (False, True))])
        self.wait(name, clients, counters=False)
        self.ask([("pause", name, (False, False))])

    def wait_for_one(self, name: bytes, *, counters: bool) -> None:
        """One client does."""
        reference, tested = Client(self.node), self.tested.client()
        if jobs := self.engine.get([name], wait=True):
            reference.send(jobs_reply(jobs, counters=counters))
        else:
            self.node.wait(reference, [name], 0, counters=counters)
        later = self.store.get([name], 1, wait=True)
        self.tested.node.ask(tested, [name], later, 0, counters=counters)
        self.clients.append((reference, tested))

    @precondition(lambda self: self.clients)
    @rule(number=st.integers(0, 9))
    def hang_up(self, number: int) -> None:
        """Somebody waits no longer."""
        for client in self.clients.pop(number % len(self.clients)):
            client.close()
        self.settle([])

    # Time

    @rule(milliseconds=st.one_of(st.integers(1, 1500), st.integers(1, 15_000)))
    def time_passes(self, milliseconds: int) -> None:
        self.system.pass_time(milliseconds)
        self.engine.catch_up()
        self.node.serve()
        self.settle([])
        self.forget_queues()

    @precondition(lambda self: self.jobs)
    @rule(
        number=_job,
        what=st.sampled_from(["end", "half", "due"]),
        milliseconds=st.sampled_from([-1, 0, 1, 999, 1000, 1001]),
    )
    def something_is_due(self, number: int, what: str, milliseconds: int) -> None:
        """It becomes the time of which something about a job depends, or nearly so."""
        known = self.jobs[-CHUNK:]
        state = self.engine.show(known[number % len(known)][0])
        if state is None:
            return
        when = state.job.etime * 1000
        if what == "half":  # of its life
            when = (when + state.job.ctime // 1_000_000) // 2
        elif what == "due" and state.job.qtime is not None:
            when = state.job.qtime
        if 0 < (wait := when + milliseconds - self.engine.now) < FORGOTTEN:
            self.time_passes(wait)
            if what == "half":
                self.ask([("working", number)])

    @rule()
    def much_time_passes(self) -> None:
        """So much that a queue which nobody uses is forgotten."""
        unused = [name for name in self.engine.queues if self.is_unused(name)]
        self.time_passes(2 * FORGOTTEN)
        assert not any(self.is_unused(name) for name in unused)

    def is_unused(self, name: bytes) -> bool:
        """Whether a queue is there, and may be forgotten."""
        queue = self.engine.queues.get(name)
        return queue is not None and not (
            queue
            or queue.paused_in
            or queue.paused_out
            or self.node.waiting.count(name)
            or self.engine.now - queue.atime < FORGOTTEN
        )

    def forget_queues(self) -> None:
        """Let the engine forget what was forgotten in Valkey, if that was right."""
        told = {name: outcome(self.store.stat(name)) for name in list(self.engine.queues)}
        self.system.settle()
        for name, stat in told.items():
            if stat() is None:
                assert self.is_unused(name)
                self.engine._drop(self.engine.queues[name])

    # Looking at everything

    @rule(
        limit=st.sampled_from([None, 1, 3]),
        name=st.none() | _name,
        states=st.lists(st.sampled_from(STATES), max_size=2),
        size=st.sampled_from([None, 1, 1000]),
    )
    def scan_jobs(
        self, limit: int | None, name: bytes | None, states: list[bytes], size: int | None
    ) -> None:
        """All there are, whatever the steps; the same one may come twice."""
        _, known = self.engine.scan_jobs(0, None, name, states)
        found = self.scanned(
            lambda cursor: self.store.scan_jobs(cursor, limit, name, states, size=size)
        )

        def plain(state: JobState) -> Any:
            """Without a size Valkey's have no bodies."""
            (number, queue, body, *rest), *more = self.plain(state)
            return (number, queue, body if size else b"", *rest, *more)

        assert set(map(plain, found)) == set(map(plain, known))

    @rule(limit=st.sampled_from([None, 1, 3]), low=st.integers(-1, 2), high=st.integers(-1, 3))
    def scan_queues(self, limit: int | None, low: int, high: int) -> None:
        """Likewise."""
        wanted = Lengths(low, high)
        _, known = self.engine.scan_queues(0, None, wanted)
        found = self.scanned(lambda cursor: self.store.scan_queues(cursor, limit, wanted))
        assert set(found) == set(known)

    def scanned(self, step: Callable[[int], Any]) -> list[Any]:
        found: list[Any] = []
        cursor = 0
        while True:
            told = outcome(step(cursor))
            self.system.settle()
            cursor, some = told()
            found += some
            if not cursor:
                return found

    @precondition(lambda self: len(self.jobs) > 60)
    @rule()
    def flush(self) -> None:
        """Everything goes, and who waits is told so."""
        self.node.flush()
        told = outcome(self.tested.node.flush())
        self.settle([])
        assert told() is None

    @invariant()
    def the_alarm_is_set(self) -> None:
        """The node comes no later than something is due, or a job's life ends."""
        _, states = self.engine.scan_jobs(0, None, None, ())
        due = [job.etime * 1000 + 1000 for job, *_ in states]
        due += [job.qtime for job, *_ in states if job.qtime is not None]
        if due:
            assert self.store._alarm.due <= max(min(due), self.engine.now)

    @invariant()
    def all_stand_the_same_way(self) -> None:
        """Looked at after every other step: to look is to call, which may do what is due."""
        self.steps += 1
        if self.steps % 2:
            return
        checks = [self.check("show", [job[0]], [job[1]]) for job in self.jobs[-CHUNK:]]
        for name in NAMES:
            checks += [
                self.check("stat", [name], [name]),
                self.check("length", [name], [name]),
                self.check("peek", [name, 1000], [name, 1000]),
                self.check("peek", [name, -1000], [name, -1000]),
            ]
        if self.shards == 1:
            checks.append(self.check("totals", [], []))
        self.settle(checks)


class ManyShardsMachine(ValkeyMachine):
    """The same where queues are apart."""

    shards = 64


@pytest.fixture(scope="module", autouse=True)
def valkey_server() -> Iterator[None]:
    """A Valkey for this module."""
    with valkey() as ValkeyMachine.server:
        yield


for _machine in (ValkeyMachine, ManyShardsMachine):
    _machine.TestCase.settings = settings(max_examples=EXAMPLES, stateful_step_count=50)
TestValkey = ValkeyMachine.TestCase
TestManyShards = ManyShardsMachine.TestCase
