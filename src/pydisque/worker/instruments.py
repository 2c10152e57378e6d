"""A worker's figures for OpenTelemetry; needs the extra ``otel``.

For who sends figures on with OpenTelemetry and has no Prometheus to scrape `/metrics`. Names and
units follow its conventions for messaging; what those do not know is named after the worker's
other figures. What the worker counts anyway is read when somebody wants it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from opentelemetry.metrics import CallbackOptions, MeterProvider, Observation, get_meter

from pydisque._version import __version__
from pydisque.service.top_queues import readable
from pydisque.worker.handlers.handler import Drop, Retry
from pydisque.worker.handlers.hooks import Hook
from pydisque.worker.handlers.job import WorkerJob
from pydisque.worker.handlers.policy import kind_of
from pydisque.worker.handlers.stats import together

if TYPE_CHECKING:
    from pydisque.worker.handlers.hooks import WorkerView

# The conventions' bounds in seconds, and some for jobs that take longer.
BOUNDS = (
    *(0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0),
    *(30.0, 60.0, 300.0, 900.0, 3600.0),
)

SYSTEM = "messaging.system"
QUEUE = "messaging.destination.name"
OPERATION = "messaging.operation.name"


class OpenTelemetryMetricsHook(Hook):
    """Figures of the workers that have this hook; given to several, it tells their sums.

    ::

        worker = Worker(hooks=[OpenTelemetryMetricsHook()])

    ``messaging.process.duration`` and ``messaging.client.consumed.messages`` are the conventions';
    ``pydisque.worker.jobs`` tells jobs by what became of them, ``pydisque.worker.in_hand`` those
    fetched and not over, ``pydisque.worker.concurrency`` how many may run at once.
    """

    def __init__(self, meter_provider: MeterProvider | None = None) -> None:
        """Make the instruments, with this provider or the global one."""
        self._workers: dict[WorkerView, list[bytes]] = {}
        meter = get_meter("pydisque", __version__, meter_provider)
        self._seconds = meter.create_histogram(
            "messaging.process.duration",
            "s",
            "How long handlers took, whatever came of it.",
            explicit_bucket_boundaries_advisory=BOUNDS,
        )
        meter.create_observable_counter(
            "messaging.client.consumed.messages",
            [self._fetched],
            "{message}",
            "Deliveries taken from a node.",
        )
        meter.create_observable_counter(
            "pydisque.worker.jobs", [self._ended], "{job}", "Jobs by what became of them."
        )
        for name, unit, text, read in (
            ("in_hand", "{job}", "Jobs fetched and not yet over.", _in_hand),
            ("concurrency", "{job}", "How many jobs run at once, at most.", _concurrency),
        ):
            meter.create_observable_up_down_counter(
                f"pydisque.worker.{name}", [self._sum(read)], unit, text
            )

    def start(self, worker: WorkerView) -> None:
        """Tell what this worker does, from now on."""
        self._workers[worker] = list(worker.course().handlers)

    def after(self, job: WorkerJob, seconds: float) -> None:
        """Note how long it took."""
        self._seconds.record(seconds, _about(job.name, "process"))

    def error(self, job: WorkerJob, error: BaseException, seconds: float) -> None:
        """The same, with the kind of the error unless it is a `Retry` or `Drop`."""
        about = _about(job.name, "process")
        if not isinstance(error, (Retry, Drop)):
            about["error.type"] = kind_of(error)
        self._seconds.record(seconds, about)

    def _together(self) -> tuple[Counter[bytes], Counter[tuple[bytes, str]]]:
        workers = self._workers.copy()
        return together((worker.tally, queues) for worker, queues in workers.items())

    def _fetched(self, _: CallbackOptions) -> Iterable[Observation]:
        fetched, _ended = self._together()
        return [Observation(number, _about(name, "receive")) for name, number in fetched.items()]

    def _ended(self, _: CallbackOptions) -> Iterable[Observation]:
        _fetched, ended = self._together()
        return [
            Observation(number, {SYSTEM: "disque", QUEUE: readable(queue), "outcome": outcome})
            for (queue, outcome), number in ended.items()
        ]

    def _sum(
        self, read: Callable[[WorkerView], int]
    ) -> Callable[[CallbackOptions], Iterable[Observation]]:
        return lambda _: [Observation(sum(map(read, self._workers.copy())), {SYSTEM: "disque"})]


def _in_hand(worker: WorkerView) -> int:
    return worker.tally.in_hand


def _concurrency(worker: WorkerView) -> int:
    return worker.concurrency


def _about(queue: bytes, operation: str) -> dict[str, str]:
    return {SYSTEM: "disque", QUEUE: readable(queue), OPERATION: operation}
