"""What all connections of one node share, and what is known of each.

`Node` holds the store, the line of waiting clients, the configuration and the counters. `Session`
is one connected client as commands see it. Neither knows sockets: the server makes sessions that
can send and close, and tells the time.
"""

from __future__ import annotations

import logging
import sys
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple, TypeVar

from pydisque.errors import (
    DisqueError,
    LeavingError,
    MisconfError,
    NoAuthError,
    NoPermError,
    OOMError,
)
from pydisque.node.config.parameters import Config
from pydisque.node.config.users import Refusals, User, Users
from pydisque.node.engine.job import Job
from pydisque.node.engine.queue import QueueState
from pydisque.node.state.asked_queues import AskedQueues
from pydisque.node.state.group_commit import Commits
from pydisque.node.state.output_limits import NOTED_FROM, Backlog
from pydisque.node.state.turns import Turns
from pydisque.node.store.base import LocalStore, Store, new_node_id
from pydisque.node.store.deferred import Answer, Later, combined
from pydisque.node.store.wait_queue import Waiting
from pydisque.node.wire import arguments, resp
from pydisque.node.wire.deferred_reply import Reply
from pydisque.service.log_limit import Seldom

logger = logging.getLogger("pydisque.node")

T = TypeVar("T")

BASE_MEMORY = 1_000_000
"""What an empty node takes, about; the base of `used_memory`."""

MONITOR_BACKLOG = 32 * 1024 * 1024
"""Bytes a MONITOR client may leave unread; one that does not keep up is cut off."""

_WRITE_TOO = (b"pause", b"cluster", b"debug")
"""Commands that Disque does not call writing, though there is something to be kept after them."""

Run = Callable[["Session", list[bytes]], bytes | Reply | None]
"""A command's handler: session and arguments, name first, to the reply's bytes, now or later.

None when the client now waits for its reply. Raises `DisqueError` for an error reply.
"""


class Command:
    """One command of one node, and how often and how long it ran."""

    __slots__ = (
        "admin", "arity", "calls", "flags", "least", "most", "name", "run", "seconds", "writes",
    )  # fmt: skip

    def __init__(
        self,
        name: bytes,
        arity: int,
        flags: bytes,
        run: Run,
        *,
        most: int | None = None,
        admin: bytes = b"",
    ) -> None:
        """Describe it.

        Args:
            name: lower case.
            arity: as COMMAND tells it: how many arguments with the name, negative for at least.
            flags: words as COMMAND tells them.
            run: the handler.
            most: when it takes more arguments than `arity` tells, up to how many.
            admin: which subcommands are for admins alone, commas between them; ``*`` for all.
        """
        self.name = name
        self.arity = arity
        self.flags = flags.split()
        self.run = run
        self.writes = b"write" in self.flags or name in _WRITE_TOO
        """Whether its reply may tell of something that has to be kept first."""
        self.least = abs(arity)
        self.most = most or (arity if arity > 0 else sys.maxsize)
        self.admin = frozenset(admin.split(b",")) if admin else frozenset()
        self.reset()

    def reset(self) -> None:
        """Forget calls and time."""
        self.calls = 0
        self.seconds = 0.0

    def check_user(self, user: User, args: list[bytes]) -> None:
        """Refuse to run for who is no admin, if it takes one."""
        if not self.admin or user.admin:
            return
        shown = self.name
        if b"*" not in self.admin:
            words = [arg.lower() for arg in args[1:3]]
            if self.admin.isdisjoint((b"".join(words[:1]), b" ".join(words))):
                return
            shown += b"|" + words[0]
        raise NoPermError(f"this user has no permissions to run the '{shown.decode()}' command")

    def arity_error(self) -> DisqueError:
        """What a client hears that sent too few or too many arguments."""
        return DisqueError(f"wrong number of arguments for '{self.name.decode()}' command")


class SlowCommand(NamedTuple):
    """An entry of SLOWLOG."""

    serial: int
    when: int
    microseconds: int
    args: list[bytes]


class Session(ABC):
    """One connected client."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self.id = node.new_session_id()
        self.address = b"?:0"
        self.fd = -1
        self.unix = False
        self.name = b""
        self.user: User | None = None
        self.resp3 = False
        self.reply_mode = b"on"
        self.monitoring = False
        self.counters = False
        """Whether the GETJOB that waits asked for WITHCOUNTERS."""
        self.asked: Later[list[Job]] | None = None
        """The jobs that it waits for and that may come without its standing in line."""
        self.gone = False
        """Nothing that is done for it reaches anybody any more."""
        self.guarded = False
        """Something about this session wants a closer look at each of its commands."""
        self.created = self.last_used = self.stranger_since = node.store.now
        self.last_command: Command | None = None

    def admit(self, user: User | None) -> None:
        """Know who this is; None for somebody who may only log in, if that is wanted."""
        self.user = user
        self.stranger_since = self.node.store.now
        self.limit(short=self.node.users.wanted and user is None)

    @property
    @abstractmethod
    def blocked(self) -> bool:
        """Whether a command waits for its reply."""

    @abstractmethod
    def limit(self, *, short: bool) -> None:
        """Take short requests only, or all."""

    @abstractmethod
    def send(self, data: bytes) -> None:
        """Put bytes on the wire, after what is there already."""

    @abstractmethod
    def close(self) -> None:
        """Hang up once what was sent is on its way."""

    @abstractmethod
    def abort(self) -> None:
        """Hang up at once, whatever is still unsent."""

    @abstractmethod
    def hush(self) -> None:
        """Take nothing more from the client; what came already is still answered."""

    @abstractmethod
    def in_hand(self) -> bool:
        """Whether there is something left that can be answered."""

    @abstractmethod
    def block(self, milliseconds: int) -> None:
        """Let no further command of this client run until `unblock`, or for that long (0: ever)."""

    @abstractmethod
    def suspend(self) -> None:
        """Let no further command of this client run, and read nothing, until `unblock`."""

    @abstractmethod
    def time_out(self, milliseconds: int) -> None:
        """Let the blocked command end without a job after this long, counted from now."""

    @abstractmethod
    def unblock(self, reply: bytes) -> None:
        """Answer the blocked command and go on with the client's next one."""

    @abstractmethod
    def settle(self, commit: int, failure: str) -> None:
        """The commits up to this one are over: send what waited for them, or `failure` instead."""

    @abstractmethod
    def resume(self) -> None:
        """Run what was held back, as far as nothing else stands in its way."""

    @property
    def is_reading(self) -> bool:
        """Whether the client takes what it is sent; what waits for other replies does not count."""
        return True

    @abstractmethod
    def buffers(self) -> tuple[int, int]:
        """Bytes received and not run yet, bytes to be sent yet."""

    @abstractmethod
    def memory(self) -> int:
        """Bytes of memory that the client's requests and replies take, in all."""


class Node:
    """One node: its store and everything about it that is not a job."""

    def __init__(
        self,
        commands: dict[bytes, Command],
        store: Store | None = None,
        config: Config | None = None,
        users: Iterable[User] = (),
    ) -> None:
        self.store: Store = store or LocalStore()
        self.run_id = new_node_id().decode()
        self.commands = commands
        self.spellings = commands | {name.upper(): command for name, command in commands.items()}
        """The commands by their names as nearly everybody spells them."""
        self.commits = Commits(self.store, self.check_guard)
        self.config = config or Config()
        self._further_users = list(users)
        self.refusals = Refusals()
        self.backlog = Backlog(self.config)
        self.turns = Turns()
        self.other_protocols = Seldom()
        self.waiting: Waiting[Session] = Waiting()
        self.asked_queues = AskedQueues()
        self.store.attend(self.hand_out, self.waiting)
        self.sessions: dict[int, Session] = {}
        self.monitors: dict[Session, None] = {}
        self.leaving = False
        self.held = False
        """No command of any client runs: CLIENT PAUSE."""
        self._held_until = 0.0
        self.started = time.time()
        self.guarded = False
        """Something about this node wants a closer look at every command."""
        self.multiplexing_api = "none"
        self.stop: Callable[[], None]
        """What SHUTDOWN does; the server sets this and the next two."""
        self.schedule: Callable[[], None]
        """See to it that the store ticks when its next job is due."""
        self.call_later: Callable[[float, Callable[[], None]], object]
        """Call something in so many seconds."""
        self._last_session = 0
        self.slow_commands = 0
        """How many ever came into SLOWLOG."""
        self.reset_statistics()
        self.slow: deque[SlowCommand] = deque()
        self.latency: dict[bytes, deque[tuple[int, int]]] = {}
        self.peak_memory = 0
        self.configure()

    def reset_statistics(self) -> None:
        """Start counting anew: CONFIG RESETSTAT."""
        for command in self.commands.values():
            command.reset()
        self.connections = self.rejected = 0
        self.received_bytes = self.sent_bytes = 0
        self._sampled = (time.monotonic(), 0, 0, 0)
        self.rates = (0, 0.0, 0.0)
        """Commands a second, KiB a second in and out, over the last second or so."""

    def new_session_id(self) -> int:
        """A number no other client of this node has had."""
        self._last_session += 1
        return self._last_session

    @property
    def processed(self) -> int:
        """Commands run so far."""
        return sum(command.calls for command in self.commands.values())

    @property
    def id(self) -> bytes:
        """Who it is: 40 hex digits."""
        return self.store.node_id

    def renew_id(self) -> None:
        """Take a new node ID, also for the jobs to come: CLUSTER RESET HARD."""
        self.store.set_node_id(new_node_id())

    # Admission

    def configure(self) -> None:
        """Take note of parameters that the hot path looks at."""
        config = self.config
        password = config["requirepass"].encode("utf-8", "surrogateescape")
        self.users = Users(password, self._further_users)
        self.slow_after = config.number("slowlog-log-slower-than") / 1e6
        threshold = config.number("latency-monitor-threshold")
        if threshold:
            self.slow_after = min(self.slow_after, threshold / 1e3)
        self.store.set_durability(config["durability"])
        self.reply_jobs, self.reply_size = config.number("reply-jobs"), config.number("reply-size")
        limit = config.number("maxmemory")
        self.memory_high = limit // 100 * 75 - BASE_MEMORY
        self.memory_full = limit // 100 * 95 - BASE_MEMORY if limit else sys.maxsize
        if not isinstance(self.store, LocalStore):  # jobs take no memory of this node
            self.memory_high = self.memory_full = sys.maxsize
        self.check_guard()

    def check_guard(self) -> None:
        """Decide whether commands run straight away or after a closer look."""
        full = self.store.memory > self.memory_full
        self.guarded = bool(self.users.wanted or self.monitors or full or self.store.failure)

    def check_journal(self, command: Command) -> None:
        """Refuse with -MISCONF what changes something, as long as nothing can be kept."""
        failure = self.store.failure
        if failure and (b"write" in command.flags or command.name in (b"pause", b"ping")):
            raise MisconfError(f"{MisconfError.text}: {failure}")

    def check_access(self, session: Session, command: Command, args: list[bytes]) -> None:
        """Refuse what this client may not run.

        Raises:
            NoAuthError: it has to log in first.
            NoPermError: its user is no admin.
        """
        if session.user:
            command.check_user(session.user, args)
        elif command.name != b"auth" and (command.name != b"hello" or len(args) == 1):
            raise NoAuthError

    @property
    def used_memory(self) -> int:
        """Bytes that the node's jobs and queues take, and the node itself."""
        return BASE_MEMORY + self.store.memory

    def check_memory(self) -> None:
        """Refuse with -OOM above 95 % of maxmemory, if there is nothing to give up."""
        store = self.store
        if store.memory <= self.memory_full or store.make_room(self.memory_full):
            return
        if self.config["maxmemory-policy"] == "acks":
            while store.memory > self.memory_full and store.evict():
                pass
        if store.memory > self.memory_full:
            raise OOMError

    def no_copy_reason(self) -> str:
        """Why this node may not keep another job, or nothing."""
        if self.leaving:
            return "I'm leaving the cluster"
        return "I'm out of memory" if self.store.memory > self.memory_high else ""

    def end_turn(self) -> None:
        """Do what follows after commands have run or time has passed."""
        self.schedule()
        if self.store.durable:
            self.commits.end_turn()

    # Blocked clients

    def wait(self, session: Session, queues: list[bytes], timeout: int, *, counters: bool) -> None:
        """Put a client in line for a job of these queues, for so many milliseconds (0: for ever).

        Raises:
            LeavingError: this node is leaving, so nobody may wait here.
        """
        if self.leaving:
            raise LeavingError
        session.block(timeout)  # first, as a client with too many queues is closed at once
        session.counters = counters
        self.asked_queues.ask(queues, self.store.now)
        self._stand_in_line(session, queues)

    def _stand_in_line(self, session: Session, queues: list[bytes]) -> None:
        self.waiting.add(session, queues)
        if self.waiting.memory(session) >= NOTED_FROM:
            self.backlog.note(session, self.store.now)

    def ask(
        self,
        session: Session,
        queues: list[bytes],
        jobs: Later[list[Job]],
        timeout: int,
        *,
        counters: bool,
    ) -> None:
        """Let a client wait for jobs that may come, and stand in line if they do not.

        Its timeout starts once the store has none; a store that returns nothing is given
        `store-timeout` more.

        Args:
            session: the client's.
            queues: where they are from.
            jobs: what the store was asked for it.
            timeout: milliseconds that it waits, 0 for ever.
            counters: whether it wants to hear how often they failed.
        """
        session.block(timeout and timeout + self.config.number("store-timeout") * 1000)
        session.counters = counters
        session.asked = jobs

        def done(found: list[Job]) -> None:
            if not found:
                self.asked_queues.ask(queues, self.store.now)
            if session.asked is not jobs:  # it has been answered, or is gone
                if found:
                    self.store.put_back(found)
                else:
                    self.store.leave(queues)
            elif found:
                session.unblock(jobs_reply(found, counters=counters))
            elif self.leaving:
                self.store.leave(queues)
                session.unblock(resp.error(LeavingError().reply))
            else:
                session.asked = None
                self._stand_in_line(session, queues)
                if timeout:
                    session.time_out(timeout)

        def failed(error: DisqueError) -> None:
            if session.asked is jobs:
                session.unblock(resp.error(error.reply))

        jobs.then(done, failed)

    def suspend(self, session: Session, answer: Later[T], shape: Callable[[T], bytes]) -> None:
        """Do nothing else for a client until an answer of several steps is there."""
        session.suspend()

        def done(value: T) -> None:
            if session.id in self.sessions:
                session.unblock(shape(value))

        def failed(error: DisqueError) -> None:
            if session.id in self.sessions:
                session.unblock(resp.error(error.reply))

        answer.then(done, failed)

    def leave_line(self, session: Session, *, served: bytes | None = None) -> None:
        """A client stands in line no longer, perhaps as it was served with a job of a queue."""
        session.asked = None
        if names := self.waiting.remove(session):
            self.store.leave(name for name in names if name != served)

    def hand_out(self, name: bytes, jobs: list[Job]) -> list[Job]:
        """Give jobs that the store took for the clients in line to them, one each.

        Returns:
            Those that are left, as clients went meanwhile.
        """
        for i, job in enumerate(jobs):
            session = self.waiting.first(name)
            if session is None:
                return jobs[i:]
            self.leave_line(session, served=name)
            session.unblock(jobs_reply([job], counters=session.counters))
        return []

    def forget(self, session: Session) -> None:
        """A client is gone."""
        session.gone = True
        self.leave_line(session)
        self.backlog.forget(session)
        self.sessions.pop(session.id, None)
        self.monitors.pop(session, None)
        self.check_guard()

    def hold(self, milliseconds: int) -> None:
        """Run no command for so long: CLIENT PAUSE."""
        self._held_until = time.monotonic() + milliseconds / 1000
        if not self.held:
            self.held = True
            self._go_on()

    def _go_on(self) -> None:
        if (left := self._held_until - time.monotonic()) > 0:
            self.call_later(left, self._go_on)
            return
        self.store.tick()
        self.held = False
        for session in list(self.sessions.values()):
            session.resume()

    def serve(self) -> None:
        """Hand jobs of the ready queues to the clients in line, one each."""
        ready = self.store.ready
        if not self.waiting:
            ready.clear()
        while ready and not self.store.failure:
            name = ready.pop()
            while (session := self.waiting.first(name)) and (jobs := self.store.get([name])):
                assert not isinstance(jobs, Later)  # noqa: S101 - such a store names no queues
                self.leave_line(session, served=name)
                session.unblock(jobs_reply(jobs, counters=session.counters))

    def release(self, reply: bytes) -> None:
        """Answer every client in line with this."""
        for session in list(self.waiting.queues):
            self.leave_line(session)
            session.unblock(reply)

    def announce(self) -> None:
        """Tell other nodes of the system where this one is, and whether it stays."""
        host, _, port = self.config["announce"].rpartition(":")
        host = host.removeprefix("[").removesuffix("]")
        if not host:
            bound = self.config["bind"].split(",")[0]
            host = "" if bound in ("0.0.0.0", "::", "*") else bound  # noqa: S104 - not to bind it
        self.store.announce(host, int(port or self.config["port"]), leaving=self.leaving)

    def set_leaving(self, *, leaving: bool) -> None:
        """Start or stop leaving: while leaving nobody waits here and no job is added."""
        self.leaving = leaving
        self.announce()
        if leaving:
            self.release(resp.error(LeavingError().reply))

    def flush(self) -> Answer[None]:
        """Forget all jobs and queues; those in line get the nil array."""
        answer = self.store.flush()
        self.asked_queues.clear()
        self.release(resp.NIL_ARRAY)
        return answer

    # Queues that clients only asked for

    def only_asked(self) -> Answer[list[bytes]]:
        """The names of remembered queues that the store does not have."""
        names = self.asked_queues.names()

        def missing(states: list[QueueState | None]) -> list[bytes]:
            return [name for name, state in zip(names, states, strict=True) if state is None]

        return combined([self.store.stat(name) for name in names], missing)

    def totals(self) -> Answer[tuple[int, int]]:
        """How many jobs and how many queues there are, queues that were only asked for included."""

        def count(found: list[Any]) -> tuple[int, int]:
            (jobs, queues), asked = found
            return jobs, queues + len(asked)

        return combined([self.store.totals(), self.only_asked()], count)

    # Watching

    def show_monitors(self, session: Session, args: list[bytes]) -> None:
        """Tell the MONITOR clients of a command that is about to run."""
        source = b"unix:" + self.config["unixsocket"].encode() if session.unix else session.address
        now = time.time()
        if self.users.wanted or args[0].lower() != b"auth":  # else it can be no password
            args = arguments.without_secrets(args)
        words = b" ".join(map(resp.quote, arguments.shortened(args, 64, 1024)))
        line = b"+%d.%06d [%b] %b\r\n" % (int(now), int(now % 1 * 1e6), source, words)
        for monitor in list(self.monitors):
            if monitor.buffers()[1] > MONITOR_BACKLOG:
                monitor.abort()
            else:
                monitor.send(line)

    def record_slow(self, seconds: float, command: bytes, args: list[bytes]) -> None:
        """Note a command that took long, for SLOWLOG and LATENCY."""
        config = self.config
        microseconds = int(seconds * 1e6)
        if microseconds >= config.number("slowlog-log-slower-than"):
            self.slow_commands += 1
            shown = arguments.shortened(arguments.without_secrets(args), 32, 128)
            entry = SlowCommand(self.slow_commands - 1, int(time.time()), microseconds, shown)
            self.slow.appendleft(entry)
        while len(self.slow) > config.number("slowlog-max-len"):
            self.slow.pop()
        threshold = config.number("latency-monitor-threshold")
        if threshold and seconds * 1000 >= threshold:
            history = self.latency.setdefault(command, deque(maxlen=160))
            history.append((int(time.time()), int(seconds * 1000)))

    def every_second(self) -> None:
        """Housekeeping: idle queues, rates, memory."""
        store = self.store
        store.every_second()
        self.peak_memory = max(self.peak_memory, self.used_memory)
        idle = 300 if store.memory <= self.memory_high else 10
        if store.memory > self.memory_full:
            idle = 2
        self._drop_idle_clients()
        self.backlog.every_second(store.now)
        store.drop_idle(idle, lambda name: self.waiting.count(name) > 0)
        self.asked_queues.drop_idle(store.now - idle * 1000)
        self.check_guard()
        since, processed, received, sent = self._sampled
        now = time.monotonic()
        seconds = max(0.001, now - since)
        self.rates = (
            max(0, round((self.processed - processed) / seconds)),
            (self.received_bytes - received) / seconds / 1024,
            (self.sent_bytes - sent) / seconds / 1024,
        )
        self._sampled = (now, self.processed, self.received_bytes, self.sent_bytes)

    def _drop_idle_clients(self) -> None:
        """Hang up on those that send nothing, and on those that do not say who they are."""
        now = self.store.now
        limit = self.config.number("timeout") * 1000
        patience = self.config.number("auth-timeout") * 1000 if self.users.wanted else 0
        for session in list(self.sessions.values()) if limit or patience else ():
            if session.blocked:
                continue
            if limit and now - session.last_used > limit:
                session.close()
            elif patience and session.user is None and now - session.stranger_since > patience:
                session.abort()


def jobs_reply(jobs: list[Job], *, counters: bool = False) -> bytes:
    """Jobs as GETJOB and QPEEK give them."""
    if counters:
        return resp.array([_counted(job) for job in jobs])
    items = [
        b"*3\r\n$%d\r\n%b\r\n$40\r\n%b\r\n$%d\r\n%b\r\n"
        % (len(job.queue), job.queue, job.id, len(job.body), job.body)
        for job in jobs
    ]
    return b"*%d\r\n%b" % (len(items), b"".join(items))


def _counted(job: Job) -> bytes:
    return resp.array([
        *map(resp.bulk, (job.queue, job.id, job.body, b"nacks")),
        resp.integer(job.nacks),
        resp.bulk(b"additional-deliveries"),
        resp.integer(job.additional_deliveries),
    ])  # fmt: skip
