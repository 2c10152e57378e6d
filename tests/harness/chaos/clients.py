"""Producers and workers at full speed, who write down all they are told and nothing else."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

from hiredis import ReplyError

from harness.chaos.crowd import Crowd, Member
from harness.chaos.history import Fate, History, Job, LostGet
from support.resp_peer import Peer, pack

QUEUES = (b"often", b"later", b"once")
BACKLOG = 2000
"""Queued jobs at which producers wait for workers."""

Held = list[tuple[Job, bytes]]
"""Jobs that a worker has, with their IDs."""


class World(Crowd):
    """What all clients of a run share."""

    def __init__(self, address: str, history: History) -> None:
        super().__init__(history)
        self.address = address
        self.syncs_fail = False
        """What is refused now may be there after a crash: it may stand in a file all the same."""

    def fate(self, reply: object) -> Fate:
        """How a request went that was answered with this."""
        if not isinstance(reply, ReplyError):
            return Fate.CONFIRMED
        if not str(reply).startswith("MISCONF"):
            raise AssertionError(f"the node answered {reply}")
        self.history.add_count("requests refused")
        return Fate.UNKNOWN if self.syncs_fail else Fate.REFUSED


class Client(Member):
    """One thread with one connection, made again whenever it breaks."""

    def __init__(self, world: World, name: str, seed: str) -> None:
        super().__init__(world, name, seed)
        self.world = world
        self._refused = False  # something was, so there is no hurry

    def step(self, peer: Peer) -> None:
        """Do some work; `EOFError` and `ConnectionError` end the connection."""
        raise NotImplementedError

    def work(self) -> None:
        """Work on one connection after the other."""
        while self.wanted():
            try:
                with Peer(self.world.address) as peer:
                    while self.wanted():
                        self.step(peer)
                        if self._refused:
                            self._refused = False
                            time.sleep(0.02)
            except (EOFError, ConnectionError):
                self.world.history.add_count("connections lost or refused")
                time.sleep(0.02)

    def ask(
        self, peer: Peer, requests: list[bytes], hear: Callable[[int, Any, float, float], None]
    ) -> None:
        """Send requests in one go; `hear` is told which, its reply or None, sent when, told when.

        None stands for a reply that does not come any more.
        """
        heard = 0
        sent = time.monotonic()
        try:
            peer.raw(b"".join(requests))
            while heard < len(requests):
                reply = peer.read()
                heard += 1
                hear(heard - 1, reply, sent, time.monotonic())
        except (EOFError, ConnectionError):
            for number in range(heard, len(requests)):
                hear(number, None, sent, time.monotonic())
            raise

    def note(self, job: Job, what: str, reply: object, sent: float, told: float) -> Fate:
        """Write down how this went."""
        fate = Fate.UNKNOWN if reply is None else self.world.fate(reply)
        self._refused = self._refused or isinstance(reply, ReplyError)
        job.note(what, sent, told, fate, self.name)
        self.world.history.add_count(f"{what}s {fate.value}")
        return fate


class Producer(Client):
    """Adds jobs of all kinds, some at a time."""

    def wanted(self) -> bool:
        return self.world.producing

    def step(self, peer: Peer) -> None:
        if self.random.random() < 0.1 and peer.ask("QLEN", QUEUES[0]) > BACKLOG:
            time.sleep(0.05)
            return
        jobs = [self._job() for _ in range(self.random.choice((1, 1, 1, 3, 20)))]

        def hear(number: int, reply: Any, sent: float, told: float) -> None:
            job = jobs[number]
            if self.note(job, "add", reply, sent, told) is Fate.CONFIRMED:
                job.id = reply

        self.ask(peer, [_add(job) for job in jobs], hear)

    def _job(self) -> Job:
        choose = self.random
        size = choose.choice((0, 10, 10, 100, 100, 1000, choose.randrange(30_000)))
        queue = choose.choices(QUEUES, (8, 1, 1))[0]
        retry = 0 if queue == b"once" else choose.choice((1, 1, 2))
        delay = 1 if queue == b"later" else 0
        return self.world.history.new_job(queue, retry, delay, size)


def _add(job: Job) -> bytes:
    delay = ("DELAY", job.delay) if job.delay else ()
    return pack("ADDJOB", job.queue, job.body, 0, "TTL", 36000, "RETRY", job.retry, *delay)


class Worker(Client):
    """Fetches jobs, and acknowledges most of them at once, some late, twice or never."""

    def __init__(self, world: World, name: str, seed: str) -> None:
        self._unsure: Held = []  # acknowledged, but the reply was lost
        self._late: Held = []
        super().__init__(world, name, seed)

    def wanted(self) -> bool:
        return self.world.working

    def step(self, peer: Peer) -> None:
        unsure, self._unsure = self._unsure, []
        self._ack(peer, unsure)
        if len(self._late) > 20:
            late, self._late = self._late, []
            self._ack(peer, late)
        held = self._fetch(peer)
        if not held:
            time.sleep(0.002)
        elif self.world.draining:
            self._ack(peer, held)
        else:
            self._work(peer, held)

    def _fetch(self, peer: Peer) -> Held:
        choose = self.random
        queues = (b"once",) if choose.random() < 0.2 else QUEUES[:2]
        count = choose.choice((1, 5, 50))
        wait = ("NOHANG",) if choose.random() < 0.8 else ("TIMEOUT", 30)
        sent = time.monotonic()
        try:
            peer.raw(pack("GETJOB", *wait, "COUNT", count, "FROM", *queues))
            reply = peer.read()
        except (EOFError, ConnectionError):
            self._lose(queues, count)
            raise
        if isinstance(reply, list):
            return list(self._take(reply, sent, time.monotonic()))
        if reply is not None and self.world.fate(reply) is Fate.UNKNOWN:
            self._lose(queues, count)
        return []

    def _lose(self, queues: tuple[bytes, ...], count: int) -> None:
        """No answer came: so many jobs may have been handed out to nobody."""
        self.world.history.lost_gets += [LostGet(queue, count) for queue in queues]

    def _take(
        self, reply: list[list[bytes]], sent: float, told: float
    ) -> Iterator[tuple[Job, bytes]]:
        history = self.world.history
        for _, id_, body in reply:
            if (job := history.delivered(body)) is None:
                continue
            again = any(event.what == "delivery" for event in job.events)
            history.add_count("redeliveries" if again else "first deliveries")
            job.note("delivery", sent, told, Fate.CONFIRMED, self.name)
            yield job, id_

    def _work(self, peer: Peer, held: Held) -> None:
        done: Held = []
        failed: Held = []
        for job, id_ in held:
            dice = self.random.random()
            if dice < 0.85:
                done.append((job, id_))
            elif dice < 0.92:
                failed.append((job, id_))
            elif dice < 0.95:
                self._late.append((job, id_))
            elif dice < 0.97 and job.retry:
                self._go_on_working(peer, job, id_)
        self._nack(peer, failed)
        self._ack(peer, done)

    def _go_on_working(self, peer: Peer, job: Job, id_: bytes) -> None:
        def hear(_: int, reply: Any, sent: float, told: float) -> None:
            if not str(reply).startswith("NOJOB"):  # somebody else was done with it
                self.note(job, "working", reply, sent, told)

        self.ask(peer, [pack("WORKING", id_)], hear)

    def _nack(self, peer: Peer, failed: Held) -> None:
        def hear(number: int, reply: Any, sent: float, told: float) -> None:
            self.note(failed[number][0], "nack", reply, sent, told)

        self.ask(peer, [pack("NACK", id_) for _, id_ in failed], hear)

    def _ack(self, peer: Peer, done: Held) -> None:
        """Acknowledge these, all with one command or each with its own."""
        size = max(1, len(done)) if self.random.random() < 0.5 else 1
        parts = [done[start : start + size] for start in range(0, len(done), size)]
        command = self.random.choice(("ACKJOB", "ACKJOB", "FASTACK", "DELJOB"))

        def hear(number: int, reply: Any, sent: float, told: float) -> None:
            for job, id_ in parts[number]:
                if self.note(job, "ack", reply, sent, told) is Fate.UNKNOWN:
                    self._unsure.append((job, id_))

        self.ask(peer, [pack(command, *(id_ for _, id_ in part)) for part in parts], hear)
