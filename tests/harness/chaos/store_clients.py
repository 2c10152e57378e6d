"""Producers and consumers on several nodes that serve the same jobs; they write down what they are
told, and nothing else.

Each has a `Client` of its own, with the addresses of all nodes.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from redis.exceptions import ConnectionError, RedisError  # noqa: A004

from harness.chaos.crowd import Crowd, Member
from harness.chaos.history import Fate, History, Job
from pydisque.client import Client, ReceivedJob
from pydisque.errors import DisqueError, MisconfError, NoJobError, NoReplError

QUEUES = tuple(b"work-%d" % number for number in range(12))
"""Enough for them to be in several shards, where there are several."""
RETRIES = (2, 2, 2, 3, 0)
"""Seconds after which a job is delivered again; 0 is at most once."""
TTL = 36000

RESEND = "sure"
"""What producers are called whose clients send a job again if it may not be there."""


class World(Crowd):
    """What all clients of a run share."""

    def __init__(self, history: History, replicate: int) -> None:
        super().__init__(history)
        self.replicate = replicate
        """Copies without which nothing is answered; of single jobs there may be more."""
        self.errors: list[Exception] = []

    def refused(self, error: Exception, doing: str, sent: float) -> Fate:
        """What an error tells of a request that was sent then."""
        self.errors.append(error)
        if isinstance(error, NoReplError):
            self.history.refusals.append((sent, time.monotonic()))
        self.history.add_count(f"error: {doing}: {kind(error)}")
        return Fate.REFUSED if isinstance(error, MisconfError) else Fate.UNKNOWN


def kind(error: Exception) -> str:
    """What an error is, without what is different each time."""
    name = type(error).__name__
    return name if isinstance(error, ConnectionError) else f"{name} {str(error)[:38]}"


class Busy(Member):
    """One thread with a client."""

    def __init__(self, world: World, name: str, nodes: list[str], seed: str) -> None:
        super().__init__(world, name, seed)
        self.world = world
        self.client = Client(
            self.random.sample(nodes, len(nodes)),
            resend_add=name.startswith(RESEND),
            deadline=4,
            socket_timeout=3,
        )

    def step(self) -> None:
        """Do some work."""
        raise NotImplementedError

    def work(self) -> None:
        """Work with the client."""
        with self.client:
            while self.wanted():
                self.step()

    def ask(self, doing: str, request: Callable[[], Any]) -> tuple[Any, Fate | None, float, float]:
        """The reply or nothing, what became of a request that failed, sent when, told when."""
        sent = time.monotonic()
        reply, fate = None, None
        try:
            reply = request()
        except NoJobError:
            fate = Fate.ABSENT
        except RedisError as error:
            fate = self.world.refused(error, doing, sent)
        return reply, fate, sent, time.monotonic()


class Producer(Busy):
    """Adds some jobs at a time."""

    def wanted(self) -> bool:
        return self.world.producing

    def step(self) -> None:
        choose = self.random
        count = choose.choice((1, 1, 1, 3, 10))
        queue, retry = choose.choice(QUEUES), choose.choice(RETRIES)
        copies = self._copies() if retry else self.world.replicate
        delay = choose.choice((0, 0, 0, 1))
        jobs = [
            self.world.history.new_job(queue, retry, delay, choose.choice((0, 10, 100, 5000)))
            for _ in range(count)
        ]
        for job in jobs:
            job.resent, job.copies = self.name.startswith(RESEND), copies
        options = {
            "retry": retry,
            "ttl": TTL,
            "delay": delay or None,
            "timeout": 3000,
            "replicate": copies if copies > self.world.replicate else None,
        }
        self._add(queue, jobs, options)
        time.sleep(choose.uniform(0, 0.05) * count)

    def _copies(self) -> int:
        """At times more than is asked for of all."""
        return max(self.world.replicate, self.random.choice((1, 2)))

    def _add(self, queue: bytes, jobs: list[Job], options: dict[str, Any]) -> None:
        bodies = [job.body for job in jobs]
        replies, fate, sent, told = self.ask(
            "add", lambda: self.client.add_jobs(queue, bodies, **options)
        )
        for number, job in enumerate(jobs):
            reply = replies[number] if replies else None
            became = fate or Fate.CONFIRMED
            if isinstance(reply, Exception):
                assert isinstance(reply, (DisqueError, ConnectionError)), reply
                became, reply = self.world.refused(reply, "add", sent), None
            job.note("add", sent, told, became, self.name, reply or b"")
            self.world.history.add_count(f"adds {became.value}")
        if any(job.add.fate is not Fate.CONFIRMED for job in jobs):
            time.sleep(0.1)


class Consumer(Busy):
    """Fetches jobs, and acknowledges most of them at once, some late, some never this time."""

    def __init__(self, world: World, name: str, nodes: list[str], seed: str) -> None:
        self._late: list[tuple[Job, ReceivedJob]] = []
        super().__init__(world, name, nodes, seed)

    def wanted(self) -> bool:
        return self.world.working

    def step(self) -> None:
        if len(self._late) > 5:
            late, self._late = self._late, []
            self._do("ack", late)
        held = self._fetch()
        if self.world.draining:
            self._do("ack", held)
        else:
            self._work(held)

    def _fetch(self) -> list[tuple[Job, ReceivedJob]]:
        queues = self.random.sample(QUEUES, self.random.choice((1, 4, 12)))
        count, wait = self.random.choice((1, 5, 20)), self.random.choice((100, 100, 700))
        found, fate, sent, told = self.ask(
            "get", lambda: self.client.get_jobs(queues, timeout=wait, count=count)
        )
        if fate:
            time.sleep(0.05)
        return [(job, got) for got in found or () if (job := self._take(got, sent, told))]

    def _take(self, got: ReceivedJob, sent: float, told: float) -> Job | None:
        history = self.world.history
        body = got.body if isinstance(got.body, bytes) else got.body.encode()
        if (job := history.delivered(body)) is None:
            return None
        again = any(event.what == "delivery" for event in job.events)
        history.add_count("redeliveries" if again else "first deliveries")
        job.note("delivery", sent, told, Fate.CONFIRMED, self.name, got.id)
        return job

    def _work(self, held: list[tuple[Job, ReceivedJob]]) -> None:
        acked, nacked = [], []
        for job, got in held:
            dice = self.random.random()
            if dice < 0.1:
                self._do("show", [(job, got)])
            if dice < 0.85:
                acked.append((job, got))
            elif dice < 0.9:
                nacked.append((job, got))
            elif dice < 0.93:
                self._late.append((job, got))
            elif dice < 0.96:
                self._do("working", [(job, got)])
        self._do("nack", nacked)
        if self.random.random() < 0.3:
            time.sleep(self.random.uniform(0, 0.02))
        self._do("ack", acked)

    def _do(self, what: str, held: list[tuple[Job, ReceivedJob]]) -> None:
        """Ask for the same of each."""
        command = {
            "ack": self.client.ack_job,
            "nack": self.client.nack_job,
            "working": self.client.working,
            "show": self.client.show,
        }[what]
        for job, got in held:
            reply, fate, sent, told = self.ask(what, lambda got=got: command(got.id))
            became = fate or (Fate.CONFIRMED if reply else Fate.ABSENT)
            job.note(what, sent, told, became, self.name, got.id)
            self.world.history.add_count(f"{what}s {became.value}")
