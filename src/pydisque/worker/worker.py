"""The worker people use: it knows handlers and settings, starts the core, and ends with grace.

What it does with jobs stands in `core` and the files beside it.
"""

from __future__ import annotations

import asyncio
import json
import logging
import threading
from collections.abc import Callable, Iterable, Mapping
from math import inf
from time import monotonic
from typing import TYPE_CHECKING, Any, Self, TypeVar

from redis.exceptions import RedisError

from pydisque.dead_letters import queue_for
from pydisque.worker.consumer.config import Plan
from pydisque.worker.consumer.consumer import Core
from pydisque.worker.executors import selection
from pydisque.worker.executors.base import Executor, ExecutorError
from pydisque.worker.executors.selection import EXECUTORS, ExecutorName
from pydisque.worker.handlers.handler import Backoff, Handler
from pydisque.worker.handlers.hooks import Course, Hook, LogHook, logged_trace
from pydisque.worker.handlers.policy import text_of
from pydisque.worker.handlers.stats import Tally
from pydisque.worker.signals import on_signals

if TYPE_CHECKING:
    from pydisque.service.http_server import Door

F = TypeVar("F", bound=Callable[[Any], Any])

MONTH = 30 * 86400

# Seconds after which who waits for the end looks whether a signal has come: one that comes just
# before the wait begins, or to another thread, ends no wait by itself.
LOOK_UP = 0.5

logger = logging.getLogger("pydisque.worker")


class Worker:
    """Runs functions on the jobs of queues.

    ::

        worker = Worker(["127.0.0.1:7711"], concurrency=16)

        @worker.handler("emails", max_attempts=5)
        def send_email(job):
            deliver(**job.json())

        worker.run()

    A job whose handler returns is acknowledged; one whose handler raises is tried again later, and
    after its last attempt it becomes a dead letter. See docs/worker.md.
    """

    def __init__(
        self,
        nodes: str | Iterable[str] | None = None,
        *,
        concurrency: int = 16,
        executor: ExecutorName | None = None,
        queues: Iterable[str] | Mapping[str, int] | None = None,
        strict: bool = False,
        grace: float = 30.0,
        prefetch: int = 500,
        fast_ack: bool = False,
        http: str | None = None,
        hooks: Iterable[Hook] = (),
        **options: Any,
    ) -> None:
        """Make a worker; it connects when it runs.

        Args:
            nodes: Where the nodes are, as for `Client`; one is used, the others when it fails.
            concurrency: How many jobs run at once.
            executor: Where they run: ``"threads"``, ``"asyncio"`` tasks or ``"processes"``.
                Default: asyncio if any handler is a coroutine function, else threads.
            queues: The queues to work on, of those that have handlers; a mapping gives each its
                weight: how many jobs of it are taken in one turn. Default: all, one each.
            strict: Take jobs of a queue only when those before it are empty.
            grace: Seconds that running jobs get to end when the worker stops.
            prefetch: The most jobs to fetch before there is room to run them. Only short jobs are
                fetched ahead, so many as begin within a twentieth of a second.
            fast_ack: Acknowledge with FASTACK: cheaper in a cluster, and less certain.
            http: Where to serve ``/health`` and ``/metrics``: ``"host:port"``, ``"[::1]:port"``, or
                ``":port"`` for loopback alone. Port 0 is any free one, see `http_address`.
            hooks: Called around every job, in this order, after the one that logs.
            **options: What `AsyncClient` takes, but for ``decode_responses``: bodies are bytes.

        Raises:
            ValueError, TypeError: An argument is not as described.
        """
        _check(concurrency, executor, prefetch, grace, options)
        self.nodes = nodes
        self.concurrency = concurrency
        self.executor: ExecutorName | None = executor
        self.queues = _weights(queues)
        self.strict = strict
        self.grace = grace
        self.prefetch = prefetch
        self.fast_ack = fast_ack
        self.options = options
        self.tally = Tally()
        self.hooks: list[Hook] = [LogHook(), *hooks]
        self.handlers: dict[str, Handler] = {}
        self._door: Door | None = None
        self.http = http
        self._core: Core | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._lock = threading.RLock()
        self._stops = 0
        self._cut = 0
        self._failure: BaseException | None = None

    def handler(
        self,
        queue: str,
        *,
        max_attempts: int | None = 10,
        max_additional_deliveries: int | None = 5,
        backoff: Backoff | float = Backoff(),  # noqa: B008 - it is immutable
        timeout: float | None = None,
        dead_queue: str | None = "",
        dead_ttl: int = MONTH,
        decode: Callable[[bytes], Any] = json.loads,
    ) -> Callable[[F], F]:
        """Make a function the handler of a queue's jobs; it is called with a `WorkerJob`.

        Args:
            queue: The queue's name.
            max_attempts: After so many failures the job is dead; None: never. The server counts
                them, as nacks.
            max_additional_deliveries: A job that was delivered so many times more without any
                answer is dead, and not run again: it may be what ends the workers. None: no limit.
            backoff: How long to wait before the next attempt, or the seconds of the first wait.
            timeout: Seconds a job may take. Not with threads, which nothing can stop.
            dead_queue: Where dead letters go. Default: the queue's name and ``:dead``; None: they
                are acknowledged, and only logged.
            dead_ttl: Seconds after which a dead letter is dropped. Default: thirty days.
            decode: Makes ``job.value`` of the body, such as ``msgpack.unpackb``. Default: JSON.

        Raises:
            ValueError, TypeError: An argument is not as described, or the queue has a handler.
        """
        if queue in self.handlers:
            raise ValueError(f"queue {queue!r} has a handler already")
        pause = backoff if isinstance(backoff, Backoff) else Backoff(backoff, max(backoff, 600))

        def register(function: F) -> F:
            self.handlers[queue] = Handler(
                function,
                queue,
                max_attempts,
                max_additional_deliveries,
                pause,
                timeout,
                queue_for(queue) if dead_queue == "" else dead_queue,
                dead_ttl,
                decode,
            )
            return function

        return register

    # Run

    def run(self) -> int:
        """Work until SIGTERM, SIGINT or `stop`; how many jobs were cut short, 0 after a clean end.

        The first signal begins the end: nothing more is fetched, what was fetched and not begun
        goes back at once, running jobs get `grace` seconds. The second ends it now. Handlers for
        these signals that the app has set are called too, and are in their place again afterwards.

        Raises:
            ValueError: There is no handler, or one does not fit the executor.
            NoAuthError, UnreachableError: No node lets in who logs in like this, from the start.
            ExecutorError: What runs the jobs has failed; those in hand were given back.
        """
        with self._lock:
            self._stops = 0
        with on_signals(self.stop):
            self._start()
            return self.join()

    def start(self, ready: Callable[[], None] | None = None) -> None:
        """Begin to work in the background; see `stop` and `join`.

        Args:
            ready: Called in the worker's own loop once that runs.

        Raises:
            ValueError: As for `run`.
            OSError: The address to serve HTTP on is taken, or not ours.
        """
        with self._lock:
            self._stops = 0
        self._start(ready)

    def _start(self, ready: Callable[[], None] | None = None) -> None:
        with self._lock:
            if self._thread is not None:
                raise RuntimeError("this worker runs already")
            plan, executor = self._prepare()
            self._cut, self._failure = 0, None
            self.tally.wanting_since, self.tally.in_hand = None, 0
            self.tally.last_beat = self.tally.failure = None
            if self._door is not None:
                self._door.open()
            try:
                self.start_hooks()
            except BaseException:
                self._close_door()
                raise
            begun = threading.Event()
            args = (plan, executor, begun, ready)
            self._thread = threading.Thread(
                target=self._run, args=args, name="pydisque-worker", daemon=True
            )
            self._thread.start()
        begun.wait()
        with self._lock:  # a signal may have come before there was anything to stop
            if self._stops:
                self._pass_on_stop()

    def stop(self) -> None:
        """Begin the end, as the first signal does; called again: end now. Returns at once."""
        with self._lock:
            self._stops += 1
            self._pass_on_stop()

    def _pass_on_stop(self) -> None:
        core, loop = self._core, self._loop
        if core is None or loop is None or loop.is_closed():
            return
        loop.call_soon_threadsafe(core.stop)
        if self._stops > 1:
            loop.call_soon_threadsafe(core.hurry)

    @property
    def http(self) -> str | None:
        """Where `/health` and `/metrics` are to be served, from the next start."""
        return None if self._door is None else self._door.listen

    @http.setter
    def http(self, listen: str | None) -> None:
        if listen is None:
            self._door = None
            return
        from pydisque.worker.health import door_of  # noqa: PLC0415 - most need no HTTP

        self._door = door_of(self, listen)

    @property
    def stopping(self) -> bool:
        """Whether the end has begun."""
        return self._stops > 0

    @property
    def http_address(self) -> str | None:
        """Where ``/health`` and ``/metrics`` are served now, as ``host:port``."""
        return self._door.address if self._door else None

    def join(self, timeout: float | None = None) -> int:
        """Wait for the end; how many jobs were cut short.

        Raises:
            TimeoutError: The worker did not end within so many seconds.
        """
        thread = self._thread
        if thread is None:
            return self._cut
        until = inf if timeout is None else monotonic() + timeout
        while thread.is_alive() and (left := until - monotonic()) > 0:
            thread.join(min(left, LOOK_UP))
        if thread.is_alive():
            raise TimeoutError(f"the worker did not end within {timeout:g} s")
        self._thread = None
        self._close_door()
        if self._failure is not None:
            raise self._failure
        return self._cut

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()
        self.join()

    # Within

    def start_hooks(self) -> None:
        """Call every hook's `start`."""
        for hook in self.hooks:
            try:
                hook.start(self)
            except (SystemExit, GeneratorExit) as error:  # would look like an end that was meant
                text = f"{type(hook).__name__}.start raised {text_of(error)}"
                raise RuntimeError(text) from error

    def course(self) -> Course:
        """The handlers with the hooks around them, by the queues to work on."""
        return Course(self._by_name(), self.hooks)

    def _by_name(self) -> dict[bytes, Handler]:
        chosen = self.queues or dict.fromkeys(self.handlers, 1)
        for queue in chosen:
            if queue not in self.handlers:
                raise ValueError(f"queue {queue!r} has no handler")
        if not chosen:
            raise ValueError("a worker needs a handler: @worker.handler(queue)")
        return {_encoded(queue): self.handlers[queue] for queue in chosen}

    def _prepare(self) -> tuple[Plan, Executor]:
        course = self.course()
        weights = self.queues or dict.fromkeys(self.handlers, 1)
        sources = [_encoded(queue) for queue, weight in weights.items() for _ in range(weight)]
        plan = Plan(
            self.nodes,
            self.options,
            course.handlers,
            list(dict.fromkeys(sources)) if self.strict else sources,
            self.strict,
            self.concurrency,
            self.prefetch,
            self.grace,
            self.fast_ack,
        )
        return plan, selection.choose(self.executor, course, self.concurrency)

    def _run(
        self,
        plan: Plan,
        executor: Executor,
        begun: threading.Event,
        ready: Callable[[], None] | None,
    ) -> None:
        import uvloop  # noqa: PLC0415 - who imports this may be no worker

        try:
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                self._core = Core(plan, executor, self.tally)
                self._loop = runner.get_loop()
                self._loop.call_soon(begun.set)
                if ready is not None:
                    self._loop.call_soon(ready)
                self._cut = runner.run(self._core.run())
        except BaseException as error:  # noqa: BLE001 - join raises it
            self._fail(error)
        else:
            self._close_door()
        finally:
            begun.set()

    def _fail(self, error: BaseException) -> None:
        """Keep why the worker has ended, for `join` and `/health`, which is served until then."""
        text = text_of(error)
        if not isinstance(error, ExecutorError):  # which the core has logged
            trace = "" if isinstance(error, RedisError) else f"\n{logged_trace(error)}"
            logger.critical("the worker failed: %s%s", text, trace)
        self.tally.failure = self.tally.failure or text
        if isinstance(error, Exception):
            self._failure = error
        else:  # raised by join, it would end the process as if that were meant
            self._failure = RuntimeError(f"the worker failed: {text}")
            self._failure.__cause__ = error

    def _close_door(self) -> None:
        if self._door is not None:
            self._door.close()


def _check(
    concurrency: int, executor: str | None, prefetch: int, grace: float, options: dict[str, Any]
) -> None:
    if type(concurrency) is not int or concurrency < 1:
        raise ValueError(f"concurrency must be an int from 1, not {concurrency!r}")
    if executor is not None and executor not in EXECUTORS:
        raise ValueError(f"executor must be one of {', '.join(EXECUTORS)}, not {executor!r}")
    if type(prefetch) is not int or prefetch < 0:
        raise ValueError(f"prefetch must be an int from 0, not {prefetch!r}")
    if not grace >= 0:
        raise ValueError(f"grace must be 0 seconds or more, not {grace!r}")
    if options.get("decode_responses"):
        raise ValueError("decode_responses is not for workers: job.body is bytes, job.queue a str")


def _weights(queues: Iterable[str] | Mapping[str, int] | None) -> dict[str, int] | None:
    if queues is None:
        return None
    if isinstance(queues, str):
        raise TypeError(f"queues must be several names or a mapping, not the str {queues!r}")
    weights = dict(queues) if isinstance(queues, Mapping) else dict.fromkeys(queues, 1)
    for queue, weight in weights.items():
        if type(weight) is not int or not 1 <= weight <= 100:
            raise ValueError(f"the weight of queue {queue!r} must be 1 to 100, not {weight!r}")
    return weights


def _encoded(queue: str) -> bytes:
    return queue.encode("utf-8", "surrogateescape")
