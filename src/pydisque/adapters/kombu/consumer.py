"""Fetches messages for kombu, keeps their leases and answers for them, in a thread of its own.

It is the worker's own core that does this; what it takes for an executor is a box from which
kombu takes one message after the other, in its own thread and when it likes. So a worker of
Celery that is busy, or cut off for a while, loses nothing. Nothing here knows what a message is.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import os
import socket
import sys
import threading
import weakref
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import replace
from time import monotonic
from typing import Any

import uvloop
from kombu.utils.compat import detect_environment

from pydisque.adapters.kombu.messages import Options
from pydisque.client.connection import input_poll
from pydisque.dead_letters import encoded, queue_for
from pydisque.errors import ConnectionLostError
from pydisque.worker.consumer.config import Plan
from pydisque.worker.consumer.consumer import LAST_ANSWERS, Core
from pydisque.worker.consumer.prefetch import Appetite
from pydisque.worker.executors.base import Report, StaleError
from pydisque.worker.handlers.handler import Backoff, Handler
from pydisque.worker.handlers.job import WorkerJob
from pydisque.worker.handlers.stats import Tally
from pydisque.worker.worker import MONTH

# Messages fetched ahead of a consumer that sets no limit.
UNLIMITED = 500

# How many jobs the core believes to run at once. It gives back what waits beyond those when their
# worker turns out to be slow. Here kombu's prefetch count alone says how many may wait, so there
# are never any beyond.
NEVER_TOO_MANY = sys.maxsize


class Bell:
    """What the engine's thread rings, and a hub or a thread of kombu's waits for."""

    def __init__(self) -> None:
        """Open it: a pair of sockets, which a hub can poll."""
        self._hears, self._rings = socket.socketpair()
        self._hears.setblocking(False)
        self._rings.setblocking(False)
        self._rang = False
        self._poll = input_poll(self._hears)

    def fileno(self) -> int:
        """What to poll."""
        return self._hears.fileno()

    def ring(self) -> None:
        """Called from any thread; once is as good as often."""
        if not self._rang:
            self._rang = True
            with contextlib.suppress(OSError):  # full, which rings as well; or closed
                self._rings.send(b"\0")

    def hush(self) -> None:
        """To be called before one looks what there is."""
        with contextlib.suppress(OSError):
            self._hears.recv(4096)
        self._rang = False

    def wait(self, timeout: float | None) -> None:
        """Until it rings, or so many seconds."""
        self._poll(None if timeout is None else max(0, timeout) * 1000)

    def close(self) -> None:
        """Nobody waits for it any more."""
        self._hears.close()
        self._rings.close()


class Box:
    """What was fetched for one channel: an executor that begins a job when it is asked to."""

    _report: Report
    """Whom to tell how a job ended; the core says so by `start`, before it puts anything in."""

    def __init__(self, bell: Bell) -> None:
        """Ring this bell when there is something in it."""
        self._bell = bell
        self._waiting: deque[WorkerJob] = deque()
        self._taken: set[WorkerJob] = set()

    def __len__(self) -> int:
        return len(self._waiting)

    def take(self) -> WorkerJob | None:
        """The next job, to be answered for; None when there is none."""
        with contextlib.suppress(IndexError):
            while True:
                job = self._waiting.popleft()
                if job.safe_until >= monotonic():
                    self._taken.add(job)
                    return job
                self._report(job, StaleError(), 0.0)
        return None

    def answer(self, job: WorkerJob, outcome: BaseException | None) -> None:
        """How a job ended; called from any thread."""
        self._taken.discard(job)
        self._report(job, outcome, 0.0)

    def forget(self, job: WorkerJob) -> None:
        """It will not be answered for."""
        self._taken.discard(job)

    def let_go(self, job: WorkerJob) -> None:
        """Its consumer stumbled over it: it comes again when its lease is over.

        Were it given back when the consumer ends, no delivery would be counted, and a message that
        ends every consumer would do so for ever.
        """
        job.lost = True

    # What the core asks

    def start(self, report: Report) -> None:
        """Remember whom to tell."""
        self._report = report

    def submit(self, jobs: list[WorkerJob]) -> None:
        """Put jobs in."""
        self._waiting.extend(jobs)
        self._bell.ring()

    def take_back(self) -> list[WorkerJob]:
        """Empty it; kombu may be taking from it at the same time."""
        jobs: list[WorkerJob] = []
        with contextlib.suppress(IndexError):
            while True:
                jobs.append(self._waiting.popleft())
        return jobs

    def lose(self, job: WorkerJob) -> None:
        """Nobody can be told: Celery's tasks know of no lease."""

    def running(self) -> list[WorkerJob]:
        """What kombu has taken and not answered for."""
        return list(self._taken)

    def failure(self) -> BaseException | None:
        """It runs nothing, so nothing can end it."""
        return None

    def cut_short(self) -> None:
        """That is kombu's business."""

    def close(self) -> None:
        """There is nothing to let go of."""


class Prefetch(Appetite):
    """How many messages a channel wants: as many as its prefetch count says."""

    def __init__(self, box: Box) -> None:
        """Begin without a limit."""
        super().__init__(NEVER_TOO_MANY, 0)
        self._box = box
        self.count = 0
        self.wanting = False
        """Whether there is a queue to fetch from."""

    def took(self, seconds: float, jobs: int) -> None:
        """How long messages take does not matter."""

    def room(self, in_hand: int) -> int:
        """How many to ask for."""
        if not self.wanting:
            return 0
        return max(0, self.count - in_hand if self.count else UNLIMITED - len(self._box))


class Engine:
    """The thread in which all intakes of a transport run."""

    def __init__(self) -> None:
        """Start it.

        Raises:
            RuntimeError: Threads are greenlets here, which its loop would stop for good.
        """
        detect: Any = detect_environment  # it has no types
        patched = detect()
        if patched != "default":
            raise RuntimeError(
                f"messages cannot be consumed from Disque under {patched}; "
                "use Celery's pool threads, prefork or solo"
            )
        self.bell = Bell()
        self._loop = uvloop.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="pydisque-kombu", daemon=True)
        self._thread.start()
        _ENGINES.add(self)

    def spawn(self, work: Coroutine[Any, Any, Any]) -> concurrent.futures.Future[Any]:
        """Begin something in the thread."""
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    def call(self, function: Callable[..., object], *args: Any) -> None:
        """Call something in the thread, soon."""
        with contextlib.suppress(RuntimeError):  # it is over
            self._loop.call_soon_threadsafe(function, *args)

    def close(self) -> None:
        """End the thread."""
        self.call(self._loop.stop)
        self._thread.join(LAST_ANSWERS)
        self.bell.close()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()
        tasks = asyncio.all_tasks(self._loop)
        for task in tasks:
            task.cancel()
        self._loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
        self._loop.run_until_complete(self._loop.shutdown_default_executor())
        self._loop.close()


_ENGINES: weakref.WeakSet[Engine] = weakref.WeakSet()
_OF_PARENTS: list[Engine] = []


def _after_fork() -> None:
    """Keep what is the parent's: collecting it would take sockets out of the parent's loop."""
    _OF_PARENTS.extend(_ENGINES)


os.register_at_fork(after_in_child=_after_fork)


class Intake:
    """The messages of one channel."""

    def __init__(self, engine: Engine, nodes: list[str], options: Options) -> None:
        """Begin, with nothing wanted."""
        self._engine = engine
        self._options = options
        self.box = Box(engine.bell)
        self._prefetch = Prefetch(self.box)
        self._queues: dict[str, list[bytes]] = {}
        self._handlers: dict[bytes, Handler] = {}
        self._plan = Plan(
            nodes, options.client, self._handlers, (),
            strict=False, concurrency=NEVER_TOO_MANY, ahead=0, grace=0.0, fast_ack=False,
        )  # fmt: skip
        self._core = Core(self._plan, self.box, Tally(), self._prefetch)
        self._done = engine.spawn(self._core.run())
        self._done.add_done_callback(lambda _: engine.bell.ring())

    def check(self) -> None:
        """Raise an error if it has ended.

        Raises:
            ConnectionLostError: With what has ended it; kombu will make a new connection.
        """
        if self._done.done():
            error = self._done.exception()
            raise ConnectionLostError(f"fetching has ended: {error}", sent=False) from error

    def want(self, queue: str, names: Sequence[str]) -> None:
        """Fetch messages of a queue, which goes by these names, the most important first."""
        self._queues[queue] = [encoded(name) for name in names]
        for name in names:
            self._handlers[encoded(name)] = self._handler(name)
        self._engine.call(self._follow, self._new_plan())

    def want_no_more(self, queue: str) -> None:
        """Fetch none of a queue; those that kombu has not taken go back."""
        names = self._queues.pop(queue, [])
        self._engine.call(self._follow, self._new_plan())
        self._engine.spawn(self._sort_out(names))

    def limit(self, count: int) -> None:
        """Have at most so many in hand; 0: no limit."""
        self._engine.call(self._limit, count)

    def give_back(self, job: WorkerJob) -> None:
        """Put back a message that nobody wants any more, as if it had not been fetched."""
        self.box.forget(job)
        self._engine.spawn(self._core.put_back([job]))

    def close(self) -> None:
        """Give back what is not answered for, and wait until the node was told of the rest."""
        self._engine.call(self._core.stop)
        self._engine.call(self._core.hurry)
        concurrent.futures.wait([self._done], LAST_ANSWERS * 2)

    def _new_plan(self) -> Plan:
        """By queue there are names, here the names are needed by importance."""
        queues = list(self._queues.values())
        deepest = max(map(len, queues), default=0)
        levels = [
            [names[-depth] for names in queues if len(names) >= depth]
            for depth in range(deepest, 0, -1)
        ]
        sources = [name for level in levels for name in level]
        self._plan = replace(self._plan, sources=sources, levels=levels, strict=deepest > 1)
        return self._plan

    def _handler(self, name: str) -> Handler:
        """The limits of a queue; it is kombu that calls something for its messages."""
        options = self._options
        return Handler(
            _nothing,
            name,
            max_attempts=None,
            max_additional_deliveries=options.max_additional_deliveries,
            backoff=Backoff(),
            timeout=None,
            dead_queue=queue_for(name) if options.dead_letters else None,
            dead_ttl=MONTH,
        )

    # In the engine's thread

    def _follow(self, plan: Plan) -> None:
        self._prefetch.wanting = bool(plan.sources)
        self._core.follow(plan)

    def _limit(self, count: int) -> None:
        self._prefetch.count = count
        self._core.look_again()

    async def _sort_out(self, names: Sequence[bytes]) -> None:
        """Of what waits, give back what came from these queues."""
        jobs = self.box.take_back()
        unwanted = [job for job in jobs if job.name in names]
        self.box.submit([job for job in jobs if job.name not in names])
        await self._core.put_back(unwanted)


def _nothing(_: Any) -> None:
    """No handler is called here."""
